"""`recr1 serve-retriever`: one index in memory for every process and machine that asks."""

from __future__ import annotations

import argparse
from typing import NoReturn

from recr1.cli.arguments import add_recipe
from recr1.cli.listening import add_listening, check_libraries, end_at_sigterm, listener, token_of
from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    add_listening(parser, "searches", full="refused", max_mb=64)


def run(args: argparse.Namespace) -> NoReturn:
    """Serve the retriever of a recipe over its catalog until SIGTERM or Ctrl-C; see `retrievers.service.app`.

    Raises `UserError` for what the user can fix, before the index is built.
    """
    from recr1.config.build import build
    from recr1.errors import UserError
    from recr1.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.retriever.type == "service":
        what = "retriever.type: 'service' is the client of this command"
        raise UserError(f"{what}: name the retriever to serve, such as 'retriever={{type: bm25}}'")
    token = token_of(args.host, args.token_env)
    check_libraries("recr1 serve-retriever")
    from retrievers.abilities import retriever_fingerprint
    from retrievers.service.app import SearchService, Served
    from retrievers.service.paths import Limits
    from retrievers.service.server import serving

    socket = listener(args.host, args.port)
    limits = Limits(window=args.window / 1000, waiting=args.queue, bytes=args.max_mb * 2**20)
    service = SearchService(token=token, limits=limits)
    end_at_sigterm()
    with socket, serving(service, socket) as running:
        say(f"{args.recipe}: opening the index; {running.address}/readyz says when it is ready")
        catalog = build("task", recipe.task).catalog
        retriever = build("retriever", recipe.retriever, catalog)
        fingerprint = retriever_fingerprint(recipe.retriever.to_dict(), catalog, retriever)
        service.serve(Served(catalog, retriever, fingerprint))
        what = f"{len(catalog)} items (catalog {catalog.fingerprint}, retriever {fingerprint})"
        say(f"{args.recipe}: {recipe.retriever.type} over {what} at {running.address}")
        running.ended.wait()  # until a signal ends the command from within
    raise RuntimeError("the service ended without a signal; what it wrote before says why")
