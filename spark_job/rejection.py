"""Why a photo is rejected: the storage, the file or its name can be the reason."""

import errno
from enum import StrEnum

from spark_job.storage.base import ArchivedError, BadNameError, UnavailableError

_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that say nothing about the photo that was read, such as too many open files."""


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
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    CHANGED = "changed"


class RejectedPhotoError(Exception):
    """A photo cannot be used: the reason, and a sentence with the details."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def rejection(error: OSError) -> RejectedPhotoError:
    """Return what a storage's error means for the photo that was read; raise the error if it means nothing for it."""
    if error.errno in _OF_THE_MACHINE:
        raise error
    match error:
        case FileNotFoundError():
            reason, detail = Reason.MISSING, "it was listed, but it was gone when the job read it"
        case FileExistsError():
            reason, detail = Reason.CHANGED, "its archive was replaced while the job read it; run again"
        case ArchivedError():
            reason, detail = Reason.ARCHIVED, str(error)
        case PermissionError():
            reason, detail = Reason.DENIED, str(error)
        case UnavailableError(retries=retries):
            reason = Reason.UNAVAILABLE
            detail = f"the storage did not deliver it in {retries + 1} attempts: {error}"
        case BadNameError():
            reason, detail = Reason.BAD_NAME, str(error)
        case _:
            reason, detail = Reason.UNREADABLE, f"reading failed: {error}"
    return RejectedPhotoError(reason, detail)
