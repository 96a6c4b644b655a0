"""Ports for servers that take a number, not a socket."""

import contextlib
import itertools
import random
import socket

#: Below the ports that Linux and macOS give to connections, so no connection can take a port before its server does.
_PORTS = range(10_000, 32_000)


def free(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 that nobody uses."""
    return list(itertools.islice(filter(_is_free, random.sample(_PORTS, len(_PORTS))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
