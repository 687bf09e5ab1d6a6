"""`recr1 rescore`: the completions of a run with another retriever, measure or catalog."""

from __future__ import annotations

import argparse
import json
import sys

from recr1.cli.arguments import add_json, add_measures, add_overrides


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("target", metavar="RUN", help="a run folder")
    add_overrides(parser)
    add_measures(parser)
    parser.add_argument("--name", metavar="N", help="of the folder in RUN/rescored (default: what is overridden)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Score the completions of a run again, and print and write the results."""
    from recr1.judge.table import print_tables
    from recr1.rescore import sentences, tables
    from recr1.rescore.run import rescore
    from recr1.runs import Run
    from retrievers.progress import ProgressBar

    with ProgressBar(quiet=args.json) as bar:
        summary, home = rescore(Run.open(args.target), args.overrides, args.measures, args.name, bar)
    if args.json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return 0
    print_tables(tables(summary["results"]), [*sentences(summary["results"]), *summary["notes"]])
    sys.stdout.write(f"written to {home}\n")
    return 0
