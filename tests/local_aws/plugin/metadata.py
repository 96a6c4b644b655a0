"""The metadata service of a node, which gives a job the credentials of its role. It supports IMDSv2 only."""

import json
import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_CREDENTIALS = "/latest/meta-data/iam/security-credentials"


class Metadata:
    """A server on a free port of 127.0.0.1.

    Parameters
    ----------
    role
        The name of the instance role.
    credentials
        Returns the credentials of a session of the role.
    """

    def __init__(self, role: str, credentials: Callable[[], dict[str, str]]) -> None:
        token = secrets.token_urlsafe(40)

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer(200 if self.path == "/latest/api/token" else 404, token)

            def do_GET(self) -> None:
                path = self.path.rstrip("/")
                if self.headers.get("x-aws-ec2-metadata-token") != token:
                    self._answer(401, "Unauthorized")
                elif path == _CREDENTIALS:
                    self._answer(200, role)
                elif path == f"{_CREDENTIALS}/{role}":
                    self._answer(200, json.dumps(_document(credentials())))
                else:
                    self._answer(404, "Not Found")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _document(credentials: dict[str, str]) -> dict[str, str]:
    now = time.time()
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": _iso(now),
        "Expiration": _iso(now + 3600),
        "AccessKeyId": credentials["AccessKeyId"],
        "SecretAccessKey": credentials["SecretAccessKey"],
        "Token": credentials["SessionToken"],
    }


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
