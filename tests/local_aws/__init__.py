"""AWS on this machine: the emulator MiniStack, and in `plugin` what MiniStack lacks for this stack.

``emulator``
    starts and stops the local AWS
``cdk``
    deploys to it
``yarn``, ``jars``, ``processes``
    start a YARN of real processes, and take its nodes away
``ports``
    finds ports for servers
``integration_calls``
    lists the integrations of Step Functions that the state machines use

The modules of ``plugin`` run in the process of the emulator:

``__main__``
    serves two ports: TLS for people and services, plain HTTP on the loopback interface for nodes
``control``
    is how tests inject faults and let hours pass, and how the others replace functions of MiniStack
``roles``
    lets services assume roles according to their trust policies, and checks permissions
``integrations``
    calls the API of a service for a Task state, with the role of the state machine
``events``
    starts the target of an EventBridge rule, with the role of the rule
``emr``, ``steps``
    start clusters, run their steps and end the clusters
``on_yarn``, ``local_mode``
    run a step on a real YARN, with Hadoop's own connector to S3, or in one process
``node``, ``metadata``
    give a step what it finds on its node: configuration, and credentials by IMDSv2
``cloudformation``
    adds the resource types that MiniStack lacks
``network``
    refuses to delete subnets, security groups and networks that are in use
"""
