"""An object of a store as a file, for libraries that want one."""

import io
from typing import TYPE_CHECKING

from spark_job.storage.base import Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BYTES_PER_READ = 8 * 2**20


class _Object(io.RawIOBase):
    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size = store, path, size
        self._position = 0
        self._version: str | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        stored = self._store.read_range(self._path, self._position, stop, self._version)
        self._version = stored.version
        view[: len(stored.data)] = stored.data
        self._position += len(stored.data)
        return len(stored.data)


def open_file(store: Store, path: str, size: int, bytes_per_read: int = _BYTES_PER_READ) -> io.BufferedReader:
    """Return an object as a file that can be read and sought. It reads parts of the object, all of the same version.

    Parameters
    ----------
    store, path
        Where the object is.
    size
        Its size, as listed.
    bytes_per_read
        The size of the parts.

    Raises
    ------
    OSError
        While reading: an error of the store; FileExistsError if the object is replaced meanwhile.
    """
    return io.BufferedReader(_Object(store, path, size), bytes_per_read)
