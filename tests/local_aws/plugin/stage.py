"""Keeps a folder and a bucket equal, for a Spark without a connector to S3.

An object that is put into the bucket is in the folder before the request is answered. A file that Spark writes into the
folder is in the bucket a moment later.
"""

import hashlib
import threading
from pathlib import Path
from typing import Any

from ministack.services import s3

_PAUSE_SECONDS = 0.1

_open: list["Stage"] = []


def follow() -> None:
    """Update all open stages from their buckets."""
    for stage in _open.copy():
        stage.pull()


class Stage:
    """The folder of one bucket, updated until it is closed.

    Parameters
    ----------
    folder
        The folder.
    bucket
        The name of the bucket.
    client
        The S3 client that uploads what Spark writes.
    """

    def __init__(self, folder: Path, bucket: str, client: Any) -> None:
        self._folder, self._bucket, self._client = folder, bucket, client
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tags: dict[str, str] = {}  # ETags of what both sides have, by key
        self._seen: dict[Path, int] = {}
        self._closed = threading.Event()
        self.pull()
        self._pusher = threading.Thread(target=self._keep_pushing, daemon=True)
        self._pusher.start()
        _open.append(self)

    def pull(self) -> None:
        """Write the objects that are in the bucket but not in the folder."""
        objects = s3._buckets[self._bucket]["objects"]
        for key, found in list(objects.items()):
            if self._tags.get(key) != found["etag"] and not key.endswith("/"):
                self._tags[key] = found["etag"]
                path = self._folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                draft = path.with_name(f".{path.name}")
                draft.write_bytes(s3._read_body(self._bucket, key, found))
                draft.replace(path)

    def close(self, *, push: bool) -> None:
        """Stop the updates. If `push`, upload first what Spark has written."""
        _open.remove(self)
        self._closed.set()
        self._pusher.join()
        if push:
            self._push()

    def _keep_pushing(self) -> None:
        while not self._closed.wait(_PAUSE_SECONDS):
            self._push()

    def _push(self) -> None:
        for path in self._folder.rglob("*"):
            key = path.relative_to(self._folder).as_posix()
            if "_temporary" in key or path.name.startswith(".") or not path.is_file():
                continue  # Spark renames the file when it is complete
            changed = path.stat().st_mtime_ns
            if self._seen.get(path) == changed:
                continue
            self._seen[path] = changed
            data = path.read_bytes()
            tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
            if self._tags.get(key) != tag:
                self._tags[key] = tag
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data)
