"""`recr1 judgements`: convert files of judgements, grade clicks, and compare two judges."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero, at_least, parts
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.judgements import Judgements

IN, OUT = ("trec", "csv", "quepid", "book", "rre", "ltr", "workbench"), ("trec", "beir", "quepid", "rre", "workbench")
MODELS = ("coec", "pbm", "sdbn")


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    one = commands.add_parser("convert", help="from one format to another", allow_abbrev=False)
    one.add_argument("files", metavar="IN", nargs="+", type=Path, help="files of judgements")
    text = "a new file, or for beir a folder; its name may say the format: .trec, .csv, a folder"
    one.add_argument("--out", metavar="OUT", required=True, help=text)
    _add_reading(one)
    one.add_argument("--to", choices=OUT, help="the format of the output")
    text = "round grades that are no integers, which trec and beir need: nearest (halves up), down or up"
    one.add_argument("--round", choices=("nearest", "down", "up"), help=text)
    one.set_defaults(action=_convert)
    _add_clicks(commands.add_parser("clicks", help="grades from a log of clicks", allow_abbrev=False))
    one = commands.add_parser("agree", help="how far judges agree with people", allow_abbrev=False)
    one.add_argument("human_file", metavar="HUMAN", type=Path, help="a file of judgements")
    text = "another one of the same queries (default: HUMAN, with the judges other than --human)"
    one.add_argument("judge_file", metavar="JUDGE", nargs="?", type=Path, help=text)
    text = "the judge in HUMAN, where its column source has several; of A,B the mean"
    one.add_argument("--human", metavar="NAME", type=parts, default=[], help=text)
    _add_reading(one)
    one.set_defaults(action=_agree)


def _add_clicks(parser: argparse.ArgumentParser) -> None:
    text = "a row for each impression: query, item, position, clicked; with --ubi-queries the events of UBI"
    parser.add_argument("log", metavar="LOG", type=Path, help=text)
    text = "coec: clicks over expected clicks; pbm: position-based; sdbn: simplified DBN"
    parser.add_argument("--model", choices=MODELS, required=True, help=text)
    parser.add_argument("--out", metavar="FILE", required=True, type=Path, help="a new CSV; facts go into FILE.json")
    parser.add_argument("--columns", metavar="R=C,...", help="columns with other names, such as item=sku,clicked=hit")
    parser.add_argument("--first-position", metavar="N", type=at_least(0), default=1, help="0 or 1 (default: 1)")
    parser.add_argument("--ubi-queries", metavar="FILE", type=Path, help="the queries of UBI; LOG has its events")
    parser.add_argument(
        "--click", metavar="NAME", default="click", help="the action of a click in UBI (default: click)"
    )
    text = "leave out pairs with fewer impressions (default: 10)"
    parser.add_argument("--minimum", metavar="N", type=at_least(1), default=10, help=text)
    text = "more impressions of the mean click rate for each pair (default: 10)"
    parser.add_argument("--smoothing", metavar="N", type=at_least(0), default=10, help=text)
    text = "as many grades, each for the same share of pairs (default: 4)"
    parser.add_argument("--quantiles", metavar="N", type=at_least(2), default=4, help=text)
    text = "instead, values from which on the grade is 1, 2 and so on, such as 0.5,1,2"
    parser.add_argument("--thresholds", metavar="X,Y", type=_rising, help=text)
    parser.set_defaults(action=_clicks)


def _rising(text: str) -> list[float]:
    values = [above_zero(part) for part in text.split(",")]
    if values != sorted(set(values)):
        raise argparse.ArgumentTypeError(f"must be rising numbers, such as 0.5,1,2, got {text!r}")
    return values


def _add_reading(parser: argparse.ArgumentParser) -> None:
    text = "the format of the input (default: the one that fits)"
    parser.add_argument("--from", dest="kind", choices=IN, help=text)
    text = "columns of a table with other names than usual, such as item=sku,grade=stars"
    parser.add_argument("--columns", metavar="R=C,...", help=text)
    parser.add_argument("--queries", metavar="FILE", type=Path, help="a table of query ids and their texts")
    text = "the judge to take, where the column source or a book has several; convert takes the mean of A,B"
    parser.add_argument("--source", metavar="NAME", type=parts, default=[], help=text)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; prints what was written, and counts what was left out or changed."""
    return int(args.action(args))


def _convert(args: argparse.Namespace) -> int:
    from recr1.judgements import write_judgements
    from recr1.judgements.written import writer_of

    kind = args.to or writer_of(args.out)
    found = _read(args, args.files).merged(args.source)
    files, counts = write_judgements(found, Path(args.out), kind, args.round)
    graded = [row for row in found.rows if row.grade is not None]
    queries = len({row.query for row in graded})
    say(f"wrote {', '.join(map(str, files))} ({kind}): {len(graded):,} judgements of {queries:,} queries")
    _say_counts(counts)
    return 0


def _clicks(args: argparse.Namespace) -> int:
    from recr1.errors import UserError
    from recr1.judge.table import print_tables
    from recr1.judgements.clicks import read_log
    from recr1.judgements.formats import named_columns
    from recr1.judgements.grades import graded, write_grades
    from recr1.judgements.ubi import ITEM, read_ubi

    named = named_columns(args.columns) if args.columns else {}
    if args.ubi_queries is None:
        log = read_log(args.log, named, sessions=args.model == "sdbn", first=args.first_position)
    elif set(named) - {"item"}:
        raise UserError("--columns: a UBI log has its own names; only item=... can be set, the field of the item's id")
    else:
        item, first = named.get("item", ITEM), args.first_position
        log = read_ubi(args.log, args.ubi_queries, click=args.click, item=item, first=first)
    options = {"smoothing": args.smoothing, "minimum": args.minimum, "quantiles": args.quantiles}
    result = graded(log, args.model, **options, thresholds=args.thresholds)
    beside, facts = write_grades(result, args.out), result.facts
    print_tables([result.curve])
    shares = ", ".join(f"{grade}: {count:,}" for grade, count in facts["grades"].items())
    say(f"wrote {args.out} and {beside}: {facts['pairs']:,} pairs by {args.model}, grades {shares}")
    say(f"pairs shown at several positions: {facts['pairs_at_several_positions']:,} of {facts['pairs']:,}")
    _say_counts(facts["counts"])
    for warning in facts["warnings"]:
        say(warning)
    return 0


def _agree(args: argparse.Namespace) -> int:
    from recr1.errors import UserError
    from recr1.judge.difference import listed
    from recr1.judge.table import print_tables
    from recr1.judgements.agreement import agreement, side_by_side

    if not (args.judge_file or args.human):
        what = "name a second file, or with --human NAME the judge in HUMAN with whom the others are compared"
        raise UserError(f"JUDGE: missing: {what}")
    humans = _read(args, [args.human_file])
    judges = _read(args, [args.judge_file]) if args.judge_file else humans
    mean = judges.averaged and args.judge_file
    names = args.source or ([] if mean else [name for name in judges.sources if name not in args.human])
    if not (names or args.judge_file):
        raise UserError(f"JUDGE: missing: {args.human_file} has no judge but {listed(args.human)}")
    human, every = humans.merged(args.human, "--human"), {name: judges.merged([name]) for name in names}
    every = every or {"JUDGE": judges.merged()}
    found = {name: agreement(human, judge) for name, judge in every.items()}
    several = len(found) > 1
    print_tables([side_by_side(found)] if several else [one.table for one in found.values()])
    graded = f"HUMAN: {len(human.graded()):,} pairs with a grade, of which the judges share those of the column pairs"
    for line in [graded] if several else next(iter(found.values())).lines():
        say(line)
    for name, one in {"HUMAN": human, **every}.items():
        _say_counts({f"{name}: {what}": count for what, count in one.counts.items() if "other judges" not in what})
    return 0


def _read(args: argparse.Namespace, paths: list[Path]) -> Judgements:
    from recr1.judgements.formats import named_columns, read_all

    return read_all(paths, args.kind, named_columns(args.columns) if args.columns else None, args.queries)


def _say_counts(counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        if count:
            say(f"counted     {what}: {count:,}")
