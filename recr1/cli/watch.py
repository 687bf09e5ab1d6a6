"""`recr1 watch`: do rewrites and raw needs still find on today's engine what they found on the first day?"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

from recr1.cli.arguments import add_overrides, at_least
from recr1.cli.listening import check_libraries
from recr1.cli.rewrite import add_engine, add_table, opened
from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that recr1 export wrote")
    add_overrides(parser)
    text = "the searches of today: a text file with a need in each line, or a table with a column query, perhaps count"
    parser.add_argument("--queries", metavar="LOG", required=True, help=text)
    text = "a folder with a file and a page for each day"
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=text)
    parser.add_argument("--columns", metavar="R=C,...", help="columns with other names, such as query=text,count=n")
    add_table(parser)
    text = "the file of the day to compare with (default: the first one in DIR)"
    parser.add_argument("--against", metavar="FILE", type=Path, help=text)
    text = "a YAML file that says what counts as a change (default: that of the documentation)"
    parser.add_argument("--thresholds", metavar="FILE", type=Path, help=text)
    text = "the day of the searches, such as 2026-12-31 (default: today)"
    parser.add_argument("--day", metavar="DAY", type=_day, default=date.today().isoformat(), help=text)
    text = "searches that are drawn at random, if there are more (default: 1000)"
    parser.add_argument("--sample", metavar="N", type=at_least(10), default=1000, help=text)
    add_engine(parser)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a day such as 2026-12-31, got {text!r}") from error


def run(args: argparse.Namespace) -> int:
    """Write the day and its page, and print what changed; returns the exit status, 3 if something did."""
    from recr1.env import open_environment
    from recr1.judge.table import print_tables
    from recr1.judgements.formats import named_columns
    from recr1.recipe import load_recipe
    from recr1.report.page import html
    from recr1.runs import write_text, writing
    from recr1.serve.bundle import RECIPE, Bundle
    from recr1.serve.table import read_queries
    from recr1.serve.watch import Day, Thresholds, days_in, watch
    from retrievers.progress import ProgressBar

    check_libraries("recr1 watch", ("jinja2", "scipy"), "report")
    limits = Thresholds.load(args.thresholds) if args.thresholds else Thresholds()
    traffic = read_queries(args.queries, named_columns(args.columns) if args.columns else {})
    earlier = days_in(args.out, args.day)
    first, last = (
        Day.read(path) if path else None
        for path in (args.against or next(iter(earlier), None), next(iter(earlier[-1:]), None))
    )
    bundle = Bundle.open(args.bundle)
    recipe = load_recipe(bundle.path / RECIPE, args.overrides)
    with ProgressBar() as bar:
        with bar.replaced_by("reading the catalog and building the index"):
            env = open_environment(recipe.task, recipe.retriever, (), recipe.k)
        known = {"first": first, "last": last, "limits": limits, "sample": args.sample, "bar": bar}
        day = watch(opened(args, bundle, env), recipe, env, traffic, args.day, **known)
    page = html(day, "watch.html.jinja")
    day.write(args.out)
    with writing(args.out):
        write_text(args.out / f"{day.day}.html", page)
    print_tables([day.table])
    for one in day.found:
        say(f"changed     {one.name}: {one.about.says} ({'; '.join(one.examples[:3])})")
    say(f"{day.verdict}\nwritten to {args.out / day.day}.json and .html")
    return 3 if day.found else 0
