"""`recr1 serve`: rewrites of a bundle over HTTP, in time whatever the model does."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import NoReturn

from recr1.cli.arguments import at_least
from recr1.cli.listening import add_listening, check_libraries, end_at_sigterm, listener, token_of
from recr1.cli.rewrite import add_engine, add_table, engine_options
from recr1.terminal import say

HASTE = {"attempts": 1, "timeout": 10.0}
"""Options of the engine `openai`: what is asked again and again comes too late."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that recr1 export wrote")
    add_table(parser)
    text = "a file that keeps what the model writes, for the next start (default: in memory alone)"
    parser.add_argument("--cache", metavar="FILE", type=Path, help=text)
    add_engine(parser)
    text = "milliseconds after which a need is searched as it came (default: 150)"
    parser.add_argument("--deadline", metavar="MS", type=at_least(1), default=150, help=text)
    text = "needs that the model rewrites together (default: 32)"
    parser.add_argument("--batch", metavar="N", type=at_least(1), default=32, help=text)
    add_listening(parser, "needs", full="searched as they came", max_mb=1)


def run(args: argparse.Namespace) -> NoReturn:
    """Serve a bundle until SIGTERM or Ctrl-C; see `recr1.serve.app`.

    Raises `UserError` for what the user can fix.
    """
    from recr1.errors import UserError
    from recr1.serve.bundle import Bundle
    from recr1.serve.table import Table

    token = token_of(args.host, args.token_env)
    check_libraries("recr1 serve")
    from recr1.serve.app import RewriteService
    from recr1.serve.model import RewriteLimits
    from retrievers.service.server import serving

    options = {**(HASTE if args.engine == "openai" else {}), **engine_options(args)}
    socket = listener(args.host, args.port)
    bundle = Bundle.open(args.bundle)
    table = Table.load(args.table, bundle=bundle.id) if args.table else None
    limits = RewriteLimits(
        window=args.window / 1000,
        waiting=args.queue,
        bytes=args.max_mb * 2**20,
        deadline=args.deadline / 1000,
        batch=args.batch,
    )
    load = {"engine": args.engine, "gate": not args.no_gate, "options": options}
    service = RewriteService(bundle, table=table, cache=args.cache, load=load, token=token, limits=limits)
    end_at_sigterm()
    gc.collect()
    gc.freeze()  # a table of a million rows would be looked through, for tens of milliseconds, again and again
    with socket, serving(service, socket) as running:
        rows = f" with a table of {len(table.entries):,} rows" if table else ""
        say(f"bundle {bundle.id}{rows} at {running.address}; {running.address}/readyz says when its model is loaded")
        while not running.ended.wait(0.2):  # a signal ends the command from within
            if service.model.refused:
                raise UserError(service.model.refused)
    raise RuntimeError("the service ended without a signal; what it wrote before says why")
