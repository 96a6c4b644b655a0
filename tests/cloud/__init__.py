"""What a person does in the cloud, done on a local AWS: deploy, run, look, destroy, and all that can go wrong.

The modules share one deployed stage, and run in the order of their names.
"""
