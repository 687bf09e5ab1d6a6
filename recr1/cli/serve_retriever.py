"""`recr1 serve-retriever`: one index in memory for every process and machine that asks."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from importlib.util import find_spec
from ipaddress import ip_address
from typing import NoReturn

from recr1.cli.arguments import add_recipe, at_least
from recr1.terminal import say

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "httpx", "tenacity", "pybreaker")


def add(parser: argparse.ArgumentParser) -> None:
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
    from recr1.config.build import build
    from recr1.errors import MissingLibrary, UserError
    from recr1.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.retriever.type == "service":
        what = "retriever.type: 'service' is the client of this command"
        raise UserError(f"{what}: name the retriever to serve, such as 'retriever={{type: bm25}}'")
    token = _token(args.host, args.token_env)
    for library in LIBRARIES:
        if find_spec(library) is None:
            raise MissingLibrary(library, "service", "recr1 serve-retriever")
    from retrievers.abilities import retriever_fingerprint
    from retrievers.service.app import Limits, SearchService, Served
    from retrievers.service.server import serving

    listener = _listener(args.host, args.port)
    limits = Limits(window=args.window / 1000, waiting=args.queue, bytes=args.max_mb * 2**20)
    service = SearchService(token=token, limits=limits)
    # Leave as Ctrl-C does, with `finally` blocks run; status 0, because a request to stop is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with listener, serving(service, listener) as running:
        say(f"{args.recipe}: opening the index; {running.address}/readyz says when it is ready")
        catalog = build("task", recipe.task).catalog
        retriever = build("retriever", recipe.retriever, catalog)
        fingerprint = retriever_fingerprint(recipe.retriever.to_dict(), catalog, retriever)
        service.serve(Served(catalog, retriever, fingerprint))
        what = f"{len(catalog)} items (catalog {catalog.fingerprint}, retriever {fingerprint})"
        say(f"{args.recipe}: {recipe.retriever.type} over {what} at {running.address}")
        running.ended.wait()  # until a signal ends the command from within
    raise RuntimeError("the service ended without a signal; what it wrote before says why")


def _token(host: str, token_env: str | None) -> str | None:
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


def _listener(host: str, port: int) -> socket.socket:
    """The bound socket, before anything is loaded: a port that is taken is reported at once."""
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
