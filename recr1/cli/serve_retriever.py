"""`recr1 serve-retriever`: one index in memory for every process and machine that asks."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from importlib.util import find_spec
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from recr1.cli.arguments import add_recipe, at_least

if TYPE_CHECKING:
    from recr1.config.build import Part
    from recr1.recipe import Recipe
    from retrievers.service.app import Served

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "httpx", "tenacity", "pybreaker")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_recipe(parser)
    parser.add_argument("--host", metavar="H", default="127.0.0.1", help="where to listen (default: this machine only)")
    text = "the port; 0 for a free one (default: 8080)"
    parser.add_argument("--port", metavar="P", type=at_least(0), default=8080, help=text)
    text = "the environment variable with the token that clients must send"
    parser.add_argument("--token-env", metavar="NAME", help=text)
    text = "milliseconds to wait for more searches to join the first (default: 2)"
    parser.add_argument("--window", metavar="MS", type=at_least(0), default=2, help=text)
    text = "searches that may wait; more are refused (default: 256)"
    parser.add_argument("--queue", metavar="N", type=at_least(1), default=256, help=text)
    text = "the largest request, and the largest answer (default: 64)"
    parser.add_argument("--max-mb", metavar="MB", type=at_least(1), default=64, help=text)


def run(args: argparse.Namespace) -> NoReturn:
    """Serve the retriever of a recipe over its catalog until SIGTERM or Ctrl-C; see `retrievers.service.app`.

    Raises `UserError` for what the user can fix, before the index is built.
    """
    from recr1.errors import MissingLibrary
    from recr1.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    _check(recipe.retriever)
    token = _token(args.host, args.token_env)
    for library in LIBRARIES:
        if find_spec(library) is None:
            raise MissingLibrary(library, "service", "recr1 serve-retriever")
    from retrievers.service.app import Limits, SearchService, serving

    listener = _listener(args.host, args.port)
    limits = Limits(window=args.window / 1000, waiting=args.queue, bytes=args.max_mb * 2**20)
    service = SearchService(token=token, limits=limits)
    signal.signal(signal.SIGTERM, _stop)
    with listener, serving(service, listener) as running:
        _say(f"{args.recipe}: opening the index; {running.address}/readyz says when it is ready")
        served = _opened(recipe)
        service.serve(served)
        what = f"{len(served.catalog)} items (catalog {served.catalog.fingerprint}, retriever {served.fingerprint})"
        _say(f"{args.recipe}: {recipe.retriever.type} over {what} at {running.address}")
        running.ended.wait()  # until a signal ends the command from within
    raise RuntimeError("the service ended without a signal; what it wrote before says why")


def _check(retriever: Part) -> None:
    from recr1.errors import UserError

    if retriever.type == "service":
        raise UserError(
            "retriever.type: 'service' is the client of this command: name the retriever to serve, such as "
            "'retriever={type: bm25}'"
        )


def _token(host: str, token_env: str | None) -> str | None:
    from recr1.errors import UserError

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
    except ValueError:  # a name, which may lead anywhere
        return False


def _listener(host: str, port: int) -> socket.socket:
    """The bound socket, before anything is loaded: a port that is taken is reported at once."""
    from recr1.errors import UserError

    if port >= 2**16:
        raise UserError(f"--port {port}: ports end at {2**16 - 1}; 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be served on: {_why(error)} (choose another --port)") from error


def _why(error: OSError) -> str:
    """The reason without the address, which Python's message repeats; unknown host names have their own numbers."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error)
    return os.strerror(error.errno)


def _opened(recipe: Recipe) -> Served:
    from recr1.config.build import build
    from retrievers.abilities import retriever_fingerprint
    from retrievers.service.app import Served

    catalog = build("task", recipe.task).catalog
    retriever = build("retriever", recipe.retriever, catalog)
    return Served(catalog, retriever, retriever_fingerprint(recipe.retriever.to_dict(), catalog, retriever))


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave as Ctrl-C does, with `finally` blocks run; status 0, because a request to stop is not a failure."""
    raise SystemExit(0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
