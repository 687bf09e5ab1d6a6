"""What the commands that serve over HTTP share: where to listen, the token of clients, limits, and how they end."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address

from recr1.cli.arguments import at_least

SERVICE = ("fastapi", "uvicorn", "prometheus_client", "httpx", "tenacity", "pybreaker")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Where to listen, and the token."""
    parser.add_argument("--host", metavar="H", default="127.0.0.1", help="where to listen (default: this machine only)")
    text = "the port; 0 for a free one (default: 8080)"
    parser.add_argument("--port", metavar="P", type=at_least(0), default=8080, help=text)
    text = "the environment variable with the token that clients must send"
    parser.add_argument("--token-env", metavar="NAME", help=text)


def add_listening(parser: argparse.ArgumentParser, what: str, *, full: str, max_mb: int) -> None:
    """All arguments; `what` waits in a queue, and `full` is what becomes of more."""
    add_address(parser)
    text = f"milliseconds to wait for more {what} to join the first (default: 2)"
    parser.add_argument("--window", metavar="MS", type=at_least(0), default=2, help=text)
    text = f"{what} that may wait; more are {full} (default: 256)"
    parser.add_argument("--queue", metavar="N", type=at_least(1), default=256, help=text)
    text = f"the largest request, and the largest answer (default: {max_mb})"
    parser.add_argument("--max-mb", metavar="MB", type=at_least(1), default=max_mb, help=text)


def check_libraries(command: str, libraries: Sequence[str] = SERVICE, extra: str = "service") -> None:
    """Raise `MissingLibrary` where one is missing."""
    from recr1.errors import MissingLibrary

    for library in libraries:
        if find_spec(library) is None:
            raise MissingLibrary(library, extra, command)


def end_at_sigterm() -> None:
    """Leave as Ctrl-C does, with `finally` blocks run; status 0, because a request to stop is not a failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def token_of(host: str, token_env: str | None) -> str | None:
    """The token that clients must send; raises `UserError` where other machines could come without one."""
    from recr1.errors import UserError

    if token_env is not None:
        token = os.environ.get(token_env, "").strip()
        if not token:
            raise UserError(f"--token-env: the environment variable {token_env} is not set: put a token in it")
        return token
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        loopback = False
    if not loopback:
        raise UserError(f"--host {host} can be reached from other machines: name a token with --token-env NAME")
    return None


def listener(host: str, port: int) -> socket.socket:
    """The bound socket, before anything is loaded; raises `UserError` for a port that is taken."""
    from recr1.errors import UserError

    if port >= 2**16:
        raise UserError(f"--port {port}: ports end at {2**16 - 1}; 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # Python's message repeats the address; unknown host names have their own numbers.
        number = None if isinstance(error, socket.gaierror) else error.errno
        why = str(error) if number is None else os.strerror(number)
        raise UserError(f"{host}:{port} cannot be served on: {why} (choose another --port)") from error
