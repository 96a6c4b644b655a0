"""A small S3 on this machine that can be slow or fail on demand, which ministack cannot.

It implements what the job uses of S3: ListObjectsV2, GET with ranges, conditional PUT and DELETE.
"""

import bisect
import hashlib
import itertools
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Fault(Enum):
    """What can go wrong with one response: a status and S3's code, or what happens to the connection."""

    SLOW_DOWN = (503, "SlowDown")
    INTERNAL = (500, "InternalError")
    DENIED = (403, "AccessDenied")
    LOST = (404, "NoSuchKey")
    ARCHIVED = (403, "InvalidObjectState")
    RESET = "is reset before the response"
    CUT = "is reset in the middle of the body"
    SHORT = "ends after half of the body that the headers announce"
    STUCK = "brings the headers and half of the body, then nothing"
    SILENT = "brings no response"


@dataclass(frozen=True)
class Object:
    """An object: its bytes and when they were stored."""

    data: bytes
    modified: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @cached_property
    def etag(self) -> str:
        """The quoted digest, as S3 returns it."""
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'

    @cached_property
    def listed(self) -> str:
        """What a listing says about the object, except its key."""
        return (
            f"<LastModified>{self.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified><ETag>{escape(self.etag)}</ETag>"
            f"<Size>{len(self.data)}</Size><StorageClass>STANDARD</StorageClass>"
        )


@dataclass
class StandIn:
    """The objects by ``bucket/key``, and the faults of the next responses for a key.

    ``delay`` is the number of seconds that every request takes. ``faults`` lists the faults of a key's next responses,
    in order; a fault may also be a status and S3's code. ``changes`` holds the object that replaces a key's object at
    its first read. ``requests`` counts the requests by method and by key.
    """

    delay: float = 0.0
    objects: dict[str, Object] = field(default_factory=dict)
    faults: dict[str, list[Fault | tuple[int, str]]] = field(default_factory=dict)
    changes: dict[str, Object] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    _in_order: list[str] | None = None

    def put(self, path: str, stored: bytes | Object) -> None:
        """Store an object under ``bucket/key``."""
        self.objects[path] = stored if isinstance(stored, Object) else Object(stored)
        self._in_order = None

    def delete(self, path: str) -> None:
        """Remove an object, if there is one."""
        self.objects.pop(path, None)
        self._in_order = None

    def keys(self) -> list[str]:
        """Return ``bucket/key`` of all objects in the order of their UTF-8 bytes, which is that of Python's strings."""
        with self.lock:
            if self._in_order is None:
                self._in_order = sorted(self.objects)
            return self._in_order

    @contextmanager
    def serve(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Serve the objects, and yield the URL."""
        handler = type("Handler", (_Handler,), {"s3": self})
        server = _Server(("127.0.0.1", 0), handler)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            self.stop.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    s3: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2**16

    def do_GET(self) -> None:
        self._answer()

    do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815 - http.server requires these names

    def handle_expect_100(self) -> bool:
        """Tell the client at once to send the body; boto3 would wait for a second."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        path = unquote(url.path).removeprefix("/")
        with self.s3.lock:
            self.s3.requests.update([self.command, path])
            waiting = self.s3.faults.get(path)
            fault = waiting.pop(0) if waiting else None
        if self.s3.delay:
            time.sleep(self.s3.delay)
        if isinstance(fault, tuple):
            self._error(*fault)
        elif fault and isinstance(fault.value, tuple):
            self._error(*fault.value)
        elif fault in (Fault.RESET, Fault.SILENT):
            self._break(fault)
        elif self.command == "GET" and "/" not in path.rstrip("/"):
            self._list(path.rstrip("/"), {key: value[0] for key, value in parse_qs(url.query).items()})
        elif self.command == "GET":
            self._get(path, fault)
        elif self.command == "PUT":
            self._put(path, body)
        else:
            with self.s3.lock:
                self.s3.delete(path)
            self._send(204, b"")

    def _get(self, path: str, fault: Fault | None) -> None:
        with self.s3.lock:
            if path in self.s3.changes:
                self.s3.put(path, self.s3.changes.pop(path))
        stored = self.s3.objects.get(path)
        if stored is None:
            return self._error(404, "NoSuchKey")
        head = {"ETag": stored.etag, "Last-Modified": format_datetime(stored.modified, usegmt=True)}
        if self.headers.get("If-Match", stored.etag) != stored.etag:
            return self._error(412, "PreconditionFailed")
        if fault is None and (part := _RANGE.fullmatch(self.headers.get("Range", ""))):
            start, stop = int(part[1]), min(int(part[2]) + 1, len(stored.data))
            head["Content-Range"] = f"bytes {start}-{stop - 1}/{len(stored.data)}"
            return self._send(206, stored.data[start:stop], head)
        if fault is None:
            return self._send(200, stored.data, head)
        self._head(200, len(stored.data), head)
        self.wfile.write(stored.data[: len(stored.data) // 2])
        self.wfile.flush()
        return self._break(fault)

    def _put(self, path: str, body: bytes) -> None:
        with self.s3.lock:
            stored = self.s3.objects.get(path)
            unless, only_if = self.headers.get("If-None-Match"), self.headers.get("If-Match")
            fits = not (unless and stored) and (only_if is None or (stored is not None and stored.etag == only_if))
            if fits:
                self.s3.put(path, body)
        if fits:
            self._send(200, b"", {"ETag": self.s3.objects[path].etag})
        else:
            self._error(412, "PreconditionFailed")

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter, limit = query.get("prefix", ""), query.get("delimiter", ""), int(query.get("max-keys", 1000))
        after = bytes.fromhex(query.get("continuation-token", "")).decode() or query.get("start-after", "")
        keys = self.s3.keys()
        whole = f"{bucket}/{prefix}"
        start = max(bisect.bisect_left(keys, whole), bisect.bisect_right(keys, f"{bucket}/{after}"))
        stop = bisect.bisect_right(keys, whole, start, key=lambda key: key[: len(whole)])
        found = map(keys.__getitem__, range(start, stop))
        entries = (entry for entry, _ in itertools.groupby(found, lambda key: _entry(key, whole, delimiter)))
        page = list(itertools.islice(entries, min(limit, 1000)))
        more = next(entries, None) is not None
        skipped = len(bucket) + 1
        last = page[-1][1][skipped:] + ("\U0010ffff" if page[-1][0] else "") if page else ""
        parts = [f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>"]
        if more:
            parts.append(f"<NextContinuationToken>{last.encode().hex()}</NextContinuationToken>")
        stored = self.s3.objects
        parts += [
            f"<CommonPrefixes><Prefix>{quote(path[skipped:])}</Prefix></CommonPrefixes>"
            if is_prefix
            else f"<Contents><Key>{quote(path[skipped:])}</Key>{stored[path].listed}</Contents>"
            for is_prefix, path in page
        ]
        text = f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>{"".join(parts)}</ListBucketResult>'
        self._send(200, text.encode(), {"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        head = {"x-amz-bucket-region": "us-west-2"}
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), head)

    def _send(self, status: int, body: bytes, head: dict[str, str] | None = None) -> None:
        with suppress(ConnectionError):
            self._head(status, len(body), head or {})
            self.wfile.write(body)

    def _head(self, status: int, length: int, head: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**head, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _break(self, fault: Fault) -> None:
        """End the connection as the fault requires."""
        if fault in (Fault.STUCK, Fault.SILENT):
            self.s3.stop.wait()
        if fault in (Fault.RESET, Fault.CUT):  # with a linger time of 0, closing sends a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _entry(key: str, prefix: str, delimiter: str) -> tuple[bool, str]:
    """Return what a listing shows for a key: whether it is a common prefix, and the prefix or the key."""
    rest = key.removeprefix(prefix)
    if not delimiter or delimiter not in rest:
        return False, key
    return True, prefix + rest.partition(delimiter)[0] + delimiter


def environment(url: str) -> dict[str, str]:
    """Return the variables with which the job uses an S3 at a URL."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",  # this S3 accepts any key
        "AWS_REGION": "eu-west-3",
        "AWS_DEFAULT_REGION": "eu-west-3",
    }
