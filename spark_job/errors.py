"""The errors that end a command, each with one sentence for the person who gave it.

::

    Exception
    ├── UserError                       the user can correct it: exit code 2
    │   └── WeightsUnavailableError     in network/weights.py
    └── RunError                        the run failed: exit code 1
"""


class UserError(Exception):
    """The command cannot be carried out as it was given."""


class RunError(Exception):
    """The command was correct, but the run failed."""
