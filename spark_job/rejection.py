"""Why a photo is rejected: the storage, the file or its name can be the reason."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a photo is rejected: the values of the column ``reason``."""

    EMPTY = "empty"
    TOO_LARGE = "too large"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    BAD_NAME = "bad name"
    MISSING = "missing"
    DENIED = "denied"
    ARCHIVED = "archived"
    UNAVAILABLE = "unavailable"


class RejectedPhotoError(Exception):
    """A photo cannot be used: the reason, and a sentence with the details."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
