"""`recr1 report`: what runs have reached, in one HTML file and in Markdown."""

from __future__ import annotations

import argparse
from pathlib import Path

from recr1.cli.arguments import add_category
from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    text = "a run folder; several are shown side by side, and those that differ only in the seed are pooled"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)
    text = "the HTML file (default: report.html in the run folder; of several runs, here)"
    parser.add_argument("--out", metavar="FILE", help=text)
    add_category(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report of run folders, and print the verdict of each."""
    from recr1.errors import UserError
    from recr1.report import page, read_run, write_report

    folders = [Path(run).resolve() for run in args.runs]
    twice = [run for place, run in enumerate(args.runs) if folders[place] in folders[:place]]
    if twice:
        raise UserError(f"{twice[0]} is listed twice: pooled with itself, a run would look more certain than it is")
    target = Path(args.out) if args.out else (Path(args.runs[0]) if len(args.runs) == 1 else Path()) / "report.html"
    if target.suffix not in (".html", ".htm"):
        raise UserError(f"--out {target}: the report is an HTML file: name it {target.with_suffix('.html')}")
    made = page([read_run(run) for run in args.runs], category=args.category)
    written, beside = write_report(made, target)
    for part in made.parts:
        say(part.verdict.sentence)
        for remark in part.verdict.remarks:
            say(remark)
    say(f"written to {written} and {beside}")
    return 0
