"""`recr1 serve-retriever`: one index in memory for every rank and machine that asks."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from recr1.config.build import Part, build
from recr1.errors import MissingLibrary, UserError
from recr1.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from retrievers.service.app import Served

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "httpx", "tenacity", "pybreaker")


def serve_retriever(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    host: str,
    port: int,
    token_env: str | None,
    window_ms: float,
    queue: int,
    max_mb: int,
) -> NoReturn:
    """Serve a recipe's retriever over its task's catalog until SIGTERM or Ctrl-C; see `retrievers.service.app`.

    Raises `UserError` for what the user can put right, before the index is built.
    """
    loaded = load_recipe(recipe, overrides)
    _check(loaded.retriever)
    token = _token(host, token_env)
    for library in LIBRARIES:
        if find_spec(library) is None:
            raise MissingLibrary(library, "service", "recr1 serve-retriever")
    from retrievers.service.app import Limits, SearchService, serving

    listener = _listener(host, port)
    service = SearchService(token=token, limits=Limits(window=window_ms / 1000, waiting=queue, bytes=max_mb * 2**20))
    signal.signal(signal.SIGTERM, _stop)
    with listener, serving(service, listener) as running:
        _say(f"{recipe}: opening the index; {running.address}/readyz says when it is there")
        served = _opened(loaded)
        service.serve(served)
        what = f"{len(served.catalog)} items (catalog {served.catalog.fingerprint}, retriever {served.fingerprint})"
        _say(f"{recipe}: {loaded.retriever.type} over {what} at {running.address}")
        running.ended.wait()  # for good: a signal ends the command from within
    raise RuntimeError("the service ended without being told to; what it wrote before says why")


def _check(retriever: Part) -> None:
    if retriever.type == "service":
        raise UserError(
            "retriever.type: 'service' is the client of this command: name the retriever to serve, such as "
            "'retriever={type: bm25}'"
        )


def _token(host: str, token_env: str | None) -> str | None:
    if token_env is not None:
        token = os.environ.get(token_env, "").strip()
        if not token:
            raise UserError(f"--token-env: the environment variable {token_env} is not set: put a token in it")
        return token
    if not _is_loopback(host):
        raise UserError(f"--host {host} can be reached from other machines: name a token with --token-env NAME")
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name; where it leads is not ours to know
        return False


def _listener(host: str, port: int) -> socket.socket:
    """The bound socket, before anything is loaded: a port that is taken is said at once."""
    if port >= 2**16:
        raise UserError(f"--port {port}: ports end at {2**16 - 1}; 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be served on: {_why(error)} (choose another --port)") from error


def _why(error: OSError) -> str:
    """Without the address, which Python's message repeats; a name that leads nowhere has numbers of its own."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error)
    return os.strerror(error.errno)


def _opened(recipe: Recipe) -> Served:
    from retrievers.fingerprint import retriever_fingerprint
    from retrievers.service.app import Served

    catalog = build("task", recipe.task).catalog
    retriever = build("retriever", recipe.retriever, catalog)
    return Served(catalog, retriever, retriever_fingerprint(recipe.retriever.to_dict(), catalog, retriever))


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave as Ctrl-C does, with what runs brought to its end; status 0, because to be told to stop is no failure."""
    raise SystemExit(0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
