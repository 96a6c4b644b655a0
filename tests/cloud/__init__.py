"""Tests of what a person does in the cloud, on a local AWS: deploy, run, read results, destroy, and all faults.

The modules share one deployed stage and run in the order of their names.
"""
