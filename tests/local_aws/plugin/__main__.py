"""Serves the local AWS, with two doors: TLS for people and services, plain HTTP for the nodes.

The nodes' door counts as TLS, because obstore accepts no certificate but a public authority's; in front of it nothing
but 127.0.0.1 can stand.
"""

import asyncio
import os
import shutil
import signal
import threading
import time
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.local_aws.plugin import patches

patches.check()

from ministack import app as ministack  # noqa: E402 - not before the check
from ministack.core import tls  # noqa: E402

from tests.local_aws.plugin import cloudformation, control, emr, events, integrations, stage  # noqa: E402


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer tests' own requests, and hand on all others."""
    if scope["type"] == "http" and scope["path"].startswith("/_local/"):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status = control.answer(scope["path"], body)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})
        return

    async def send_when_staged(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and scope["method"] in ("PUT", "POST", "DELETE"):
            stage.follow()
        await send(message)

    await ministack.app({**scope, "scheme": "https"}, receive, send_when_staged)


def stop_if_left_alone() -> None:
    """End with whoever started the local AWS, should they be killed before they can stop it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        emr.end_all()
        shutil.rmtree(os.environ["LOCAL_AWS_FOLDER"], ignore_errors=True)
        os.killpg(os.getpid(), signal.SIGKILL)  # with the processes of Lambda functions

    threading.Thread(target=watch, daemon=True).start()


async def main() -> None:
    """Serve until told to stop."""
    stop_if_left_alone()
    os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"] = tls.resolve_tls_material()
    for part in (cloudformation, emr, events, integrations):
        part.install()
    config = Config()
    config.bind = [os.environ["LOCAL_AWS_URL"].removeprefix("https://")]
    config.insecure_bind = [os.environ["LOCAL_AWS_NODES_URL"].removeprefix("http://")]
    config.certfile, config.keyfile = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
    config.keep_alive_timeout, config.graceful_timeout = 75, 0.5
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # it waits for anything
    emr.end_all()
    os._exit(0)  # tasks that were given up on have threads that would be waited for


if __name__ == "__main__":
    asyncio.run(main())
