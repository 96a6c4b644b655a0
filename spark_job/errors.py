"""The two ways a command ends badly."""


class UserError(Exception):
    """What was asked cannot be done: one sentence for the person who asked (exit code 2)."""


class RunError(Exception):
    """The run was asked for rightly and failed: one sentence (exit code 1)."""
