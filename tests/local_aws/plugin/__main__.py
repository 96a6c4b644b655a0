"""Serves the local AWS on two ports: TLS for people and services, plain HTTP for the nodes.

obstore accepts only certificates of public authorities, so the nodes use HTTP. Their requests count as TLS. Only
127.0.0.1 can reach the ports.
"""

import asyncio
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import tls

from tests.local_aws import processes
from tests.local_aws.plugin import cloudformation, control, emr, events, integrations, network


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer the requests of tests, and pass on all others."""
    if scope["type"] == "http" and scope["path"].startswith("/_local/"):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status = control.handle(scope["path"], body)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})
        return

    await ministack.app({**scope, "scheme": "https"}, receive, send)


def stop_with_parent() -> None:
    """Stop when the parent process ends. It may be killed before it can stop the local AWS."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        emr.end_all()
        processes.kill_below(Path(os.environ["LOCAL_AWS_FOLDER"], "nodes"))
        shutil.rmtree(os.environ["LOCAL_AWS_FOLDER"], ignore_errors=True)
        os.killpg(os.getpid(), signal.SIGKILL)  # with the processes of Lambda functions

    threading.Thread(target=watch, daemon=True).start()


async def main() -> None:
    """Serve until SIGTERM."""
    stop_with_parent()
    os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"] = tls.resolve_tls_material()
    # Lambda functions in Python answer CloudFormation over TLS, and this may be set to a file without the certificate.
    os.environ["SSL_CERT_FILE"] = tls.ca_bundle_path(os.environ["MINISTACK_SSL_CERT"]) or ""
    for part in (cloudformation, emr, events, integrations, network):
        part.install()
    config = Config()
    config.bind = [os.environ["LOCAL_AWS_URL"].removeprefix("https://")]
    config.insecure_bind = [os.environ["LOCAL_AWS_NODES_URL"].removeprefix("http://")]
    config.certfile, config.keyfile = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
    config.keep_alive_timeout, config.graceful_timeout = 75, 0.5
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # the result is ignored
    emr.end_all()
    os._exit(0)  # a normal exit would wait for the threads of cancelled tasks


if __name__ == "__main__":
    asyncio.run(main())
