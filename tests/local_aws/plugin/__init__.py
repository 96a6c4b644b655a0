"""What MiniStack lacks for this stack; `tests.local_aws` says what is where."""
