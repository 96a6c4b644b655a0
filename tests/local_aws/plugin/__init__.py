"""What MiniStack lacks for this stack. `tests.local_aws` describes the modules."""
