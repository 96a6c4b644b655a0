"""AWS on this machine: the emulator MiniStack, with what it lacks for this stack in :mod:`tests.local_aws.plugin`."""
