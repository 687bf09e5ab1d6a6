"""`recr1 judgements`: convert files of judgements, grade clicks, and compare two judges."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.judgements import Judgements

IN, OUT = ("trec", "csv", "quepid", "book", "rre", "ltr", "workbench"), ("trec", "beir", "quepid", "rre", "workbench")


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    one = commands.add_parser("convert", help="from one format to another", allow_abbrev=False)
    one.add_argument("files", metavar="IN", nargs="+", type=Path, help="files of judgements")
    text = "a new file, or for beir a folder; its name may say the format: .trec, .csv, a folder"
    one.add_argument("--out", metavar="OUT", required=True, help=text)
    _add_reading(one)
    one.add_argument("--to", choices=OUT, help="the format of the output")
    text = "grades that are no integers, for trec and beir: nearest (halves up), down or up"
    one.add_argument("--round", choices=("nearest", "down", "up"), help=text)
    one.set_defaults(action=_convert)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    text = "the format of the input (default: the one that fits)"
    parser.add_argument("--from", dest="kind", choices=IN, help=text)
    text = "columns of a table with other names than usual, such as item=sku,grade=stars"
    parser.add_argument("--columns", metavar="R=C,...", help=text)
    parser.add_argument("--queries", metavar="FILE", type=Path, help="a table of query ids and their texts")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; prints what was written, and counts what was left out or changed."""
    return int(args.action(args))


def _convert(args: argparse.Namespace) -> int:
    from recr1.judgements import write_judgements
    from recr1.judgements.written import writer_of

    kind = args.to or writer_of(args.out)
    found = _read(args, args.files)
    files, counts = write_judgements(found, Path(args.out), kind, args.round)
    graded = [row for row in found.rows if row.grade is not None]
    queries = len({row.query for row in graded})
    say(f"wrote {', '.join(map(str, files))} ({kind}): {len(graded):,} judgements of {queries:,} queries")
    _say_counts(counts)
    return 0


def _read(args: argparse.Namespace, paths: list[Path]) -> Judgements:
    from recr1.judgements import read_judgements
    from recr1.judgements.formats import named_columns

    return read_judgements(paths, args.kind, named_columns(args.columns) if args.columns else None, args.queries)


def _say_counts(counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        if count:
            say(f"counted     {what}: {count:,}")
