"""The server of the service: it answers on a socket, from a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn

from retrievers.service.connections import HEAD, Connections
from retrievers.service.paths import HTTPService

GRACE = 30
"""Seconds for running requests to end when the service is stopped."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than a client keeps one, so that the client closes it."""
WAITING = 2048
"""Connections that the system holds until they are accepted."""


class Serving(NamedTuple):
    """A running service; `ended` is set when it stops."""

    address: str
    ended: threading.Event


@contextmanager
def serving(service: HTTPService, listener: socket.socket) -> Iterator[Serving]:
    """Answers on a bound socket from a thread of its own. On exit it finishes its requests and takes no more."""
    seconds: dict[str, Any] = {"timeout_keep_alive": KEEP_ALIVE, "timeout_graceful_shutdown": GRACE}
    # The same parser and event loop wherever it runs: uvicorn takes others, which bound less, where they are installed.
    connections = Connections(service.limits.connections)
    bounded: Any = {"http": connections, "ws": "none", "loop": "asyncio", "backlog": connections.burst}
    bounded["h11_max_incomplete_event_size"] = HEAD
    quiet: dict[str, Any] = {"log_level": "error", "access_log": False, "server_header": False}
    config = uvicorn.Config(service.api, **bounded, **quiet, **seconds)
    # Connections take this over; else an answer waits up to 40 ms for the client to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(config)
    ended = threading.Event()

    def run() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="service", daemon=True)
    thread.start()
    try:
        while not server.started and not ended.wait(0.005):
            pass
        listener.listen(WAITING)
        host, port = listener.getsockname()[:2]
        yield Serving(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", ended)
    finally:
        server.should_exit = True
        thread.join()
