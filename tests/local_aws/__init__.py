"""AWS on this machine: the emulator MiniStack, and in `plugin` what it lacks for this stack.

``emulator`` starts and stops it, ``cdk`` deploys to it. In ``plugin``, which runs in the emulator's process:

``__main__``
    serves two doors, TLS for people and services, plain HTTP on loopback for nodes
``patches``
    lists every name of MiniStack's that is used, and refuses to start where one is missing
``control``
    takes tests' orders: faults, hours that pass
``roles``
    lets services take roles, by their trust policies, and asks what a role may do
``integrations``
    is what a Task state calls: the service's API, as the state machine's role
``events``
    starts what a rule of EventBridge names, as the rule's role
``emr``, ``steps``
    start clusters, run their steps, end them
``metadata``, ``stage``
    are what a step finds on its node: credentials by IMDSv2, a file system behind ``s3://``
``cloudformation``
    has the types of resources that MiniStack lacks
"""
