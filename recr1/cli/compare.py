"""`recr1 compare`: policies, baselines and bounds in one table, with tests of their differences."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recr1.cli.arguments import add_category, add_json, add_measures, add_out, add_split, add_target, at_least, parts
from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    text = "such as raw,keywords,prf,untrained,best_of_8,runs/mine; the others are compared with the first"
    parser.add_argument("--policies", metavar="A,B", type=parts, help=text)
    add_split(parser, "test")
    add_measures(parser)
    parser.add_argument("--needs", metavar="N", type=at_least(2), help="use only the first N needs")
    add_category(parser)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate all policies on the same needs, test the differences, and print and write the results."""
    from recr1.compare import Comparison, tables, verdict, verdicts, write
    from recr1.compare.policies import USUAL, PolicyLoader, measure_listed, read_policies
    from recr1.env import open_environment
    from recr1.evaluate import Evaluator
    from recr1.judge.table import print_tables
    from recr1.policies.model_cache import model_cache
    from recr1.runs import setting_of
    from recr1.runs.targets import open_target
    from retrievers.progress import ProgressBar

    recipe, trained = open_target(args.target, args.overrides)
    measures = args.measures or recipe.evaluate.measures
    asked = args.policies or [*USUAL, *([str(trained.path)] if trained else [])]
    listed = read_policies(asked, recipe, measures[0])
    with ProgressBar(quiet=args.json) as bar, model_cache() as cache:
        with bar.replaced_by("reading the catalog and building the index"):
            env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
        evaluator = Evaluator(
            env,
            args.split,
            measures,
            limit=args.needs,
            seed=recipe.seed,
            progress=bar.advance,
            second_opinion=recipe.evaluate.second_opinion,
        )
        bar.begin("floor and ceiling", len(evaluator.needs))
        evaluator.prepare(bar.advance)
        load = PolicyLoader([part for one in listed for part in one.parts], cache)
        rows = [measure_listed(evaluator, one, bar, load) for one in listed]
        bar.begin("tests", 1)
        setting = setting_of(recipe.to_dict(), env.task.catalog.fingerprint)
        comparison = Comparison(rows, category=args.category, setting=setting)
        comparison.summary  # noqa: B018 - under the bar: tests and slices take their time
        bar.advance(1, 1)
    home = Path(args.out) if args.out else trained.path / "compare" / args.split if trained else None
    if home:
        write(comparison, home)
    if args.json:
        verdict_lines = {"verdict": verdict(comparison), "verdicts": verdicts(comparison)}
        sys.stdout.write(json.dumps(comparison.summary | verdict_lines) + "\n")
        return 0
    lines = [f"- {sentence}" for sentence in verdicts(comparison).values()]
    print_tables(tables(comparison.summary), lines, end=verdict(comparison))
    if home:
        say(f"written to {home}")
    return 0
