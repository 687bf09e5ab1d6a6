"""`recr1 handover`: a head table in the form that a search engine has for it, with what that form is worth."""

from __future__ import annotations

import argparse

from recr1.cli.arguments import at_least, parts
from recr1.terminal import say

TARGETS = ("opensearch", "workbench", "synonyms", "querqy", "proxy")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that 'recr1 export' wrote")
    parser.add_argument("engine", metavar="ENGINE", choices=TARGETS, help=", ".join(TARGETS))
    parser.add_argument("--table", metavar="TABLE", required=True, help="a head table that 'recr1 rewrite' wrote")
    parser.add_argument("--out", metavar="DIR", required=True, help="a new folder")
    parser.add_argument("--index", metavar="NAME", default="products", help="the engine's index (default: products)")
    text = "fields of the index that are searched, such as title^2,brand (default: title)"
    parser.add_argument("--fields", metavar="A,B", type=parts, default=["title"], help=text)
    text = "where 'recr1 serve' answers (default: http://127.0.0.1:8080)"
    parser.add_argument("--url", metavar="URL", default="http://127.0.0.1:8080", help=text)
    text = "needs whose rewrites must show a synonym (default: 2)"
    parser.add_argument("--support", metavar="N", type=at_least(1), default=2, help=text)


def run(args: argparse.Namespace) -> int:
    """Write the export, and print what it touches and what it is worth."""
    from recr1.judge.table import print_tables
    from recr1.serve.bundle import Bundle
    from recr1.serve.handover.export import Given, hand_over
    from recr1.serve.table import Table

    bundle = Bundle.open(args.bundle)
    table = Table.load(args.table, bundle=bundle.id)
    given = Given(bundle, table, args.index, args.fields, args.url.rstrip("/"), args.support)
    tables, lines = hand_over(given, args.engine, args.out)
    print_tables(tables, lines)
    say(f"written to {args.out}: begin with {args.out}/README.md")
    return 0
