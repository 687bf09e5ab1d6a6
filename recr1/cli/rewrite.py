"""`recr1 rewrite`: the head table, rewrites of many queries before they come."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.env import Environment
    from recr1.serve.bundle import Bundle
    from recr1.serve.rewriter import Rewriter


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that recr1 export wrote")
    text = "a text file with a query in each line, or a table (CSV, TSV, JSONL, Parquet) with a column query"
    parser.add_argument("queries", metavar="QUERIES", type=Path, help=text)
    text = "the table, .jsonl or .parquet; an interrupted call is resumed, a finished table is written again"
    parser.add_argument("--out", metavar="TABLE", type=Path, required=True, help=text)
    text = "columns with other names, such as query=text,count=n"
    parser.add_argument("--columns", metavar="R=C,...", help=text)
    add_engine(parser)


def add_table(parser: argparse.ArgumentParser) -> None:
    text = "a head table that recr1 rewrite wrote with this bundle"
    parser.add_argument("--table", metavar="TABLE", type=Path, help=text)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what writes the queries of a bundle."""
    text = "what computes: transformers, ctranslate2 (8 bits, of a bundle with --int8), openai (default: the bundle's)"
    parser.add_argument("--engine", choices=("transformers", "ctranslate2", "openai"), help=text)
    text = "the address of a server with the API of OpenAI, such as http://127.0.0.1:8000/v1, for --engine openai"
    parser.add_argument("--url", metavar="URL", help=text)
    parser.add_argument("--model", metavar="NAME", help="the name of the model on that server")
    text = "the environment variable with the key that this server wants"
    parser.add_argument("--api-key-env", metavar="NAME", help=text)
    parser.add_argument("--no-gate", action="store_true", help="rewrite every need, although the bundle has a gate")


def engine_options(args: argparse.Namespace) -> dict[str, str]:
    """The options of the engine that the arguments name; raises `UserError` for one without the other."""
    from recr1.errors import UserError

    given = {name: value for name in ("url", "model") if (value := getattr(args, name)) is not None}
    if args.engine == "openai" and len(given) < 2:
        raise UserError("--engine openai: name the address of the server with --url, and its model with --model")
    if args.api_key_env:
        given["api_key"] = f"${{{args.api_key_env}}}"
    if given and args.engine != "openai":
        raise UserError(f"--{next(iter(given)).replace('api_key', 'api-key-env')}: is for --engine openai")
    return given


def opened(args: argparse.Namespace, bundle: Bundle, env: Environment | None = None) -> Rewriter:
    """The bundle with what the arguments say of its table, gate and engine; `env` is for a gate that searches."""
    from recr1.serve.rewriter import Rewriter

    table, options = getattr(args, "table", None), engine_options(args)
    return Rewriter.load(bundle, engine=args.engine, table=table, gate=not args.no_gate, env=env, options=options)


def run(args: argparse.Namespace) -> int:
    """Rewrite all queries of a file and write the table; prints what became of them."""
    from recr1.judgements.formats import named_columns
    from recr1.serve.bundle import Bundle
    from recr1.serve.rewriter import GATED, REWRITTEN
    from recr1.serve.table import read_queries, write_table

    queries = read_queries(args.queries, named_columns(args.columns) if args.columns else {})
    table = write_table(opened(args, Bundle.open(args.bundle)), queries, args.out)
    searches = sum(count for _, count in queries.values())
    say(f"wrote {args.out}: {len(table.entries):,} different queries of {searches:,}, by the bundle {table.bundle}")
    counts = Counter(
        REWRITTEN if entry.used else GATED if entry.gate is False else entry.evidence["reason"]
        for entry in table.entries
    )
    for reason, count in counts.most_common():
        say(f"counted     {reason}{'' if reason == REWRITTEN else ', searched as it came'}: {count:,}")
    return 0
