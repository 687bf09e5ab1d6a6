"""`recr1 cross`: the policy of each run on the catalog of every run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.cli.arguments import add_json, add_measures, add_out, add_samples, add_split
from recr1.terminal import note, say

if TYPE_CHECKING:
    from recr1.config.build import Part
    from recr1.env import Environment
    from recr1.recipe import Recipe
    from recr1.runs import Run


def add(parser: argparse.ArgumentParser) -> None:
    text = "two run folders or more; those with the same task and retriever share a catalog"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)
    add_split(parser, "test")
    add_measures(parser, "those of the first run")
    add_samples(parser)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate the policies of runs on each other's catalogs, and print and write the results."""
    from recr1.config.build import build
    from recr1.cross import OwnPrompts, cross, cross_tables, write_cross
    from recr1.evaluate import Evaluator
    from recr1.judge.table import print_tables
    from retrievers.progress import ProgressBar

    with ProgressBar(quiet=args.json) as bar:
        with bar.replaced_by("reading the catalogs and building the indexes"):
            runs = _opened(args.runs)
        first = runs[0].recipe
        columns = {one.name: one for one in runs if one.home == one.name}
        measures = args.measures or first.evaluate.measures
        evaluators = {
            name: Evaluator(one.env, args.split, measures, seed=first.seed, progress=bar.advance)
            for name, one in columns.items()
        }
        for name, evaluator in evaluators.items():
            bar.begin(f"floor and ceiling of {name}", len(evaluator.needs))
            evaluator.prepare(bar.advance)

        def make(one: _CrossedRun, part: Part, label: str) -> OwnPrompts:
            bar.begin(label, None)
            return OwnPrompts(build("policy", part), one.env.format)

        result = cross(
            evaluators,
            {name: partial(make, one, _start(one), f"start of {name}") for name, one in columns.items()},
            {one.name: partial(make, one, one.trained, one.name) for one in runs},
            {one.name: one.home for one in runs},
            samples=args.samples,
        )
    if args.out:
        write_cross(result, Path(args.out))
    if args.json:
        sys.stdout.write(json.dumps(result.summary, indent=2) + "\n")
        return 0
    print_tables(cross_tables(result), result.verdict())
    if args.out:
        say(f"written to {args.out}")
    return 0


@dataclass(frozen=True)
class _CrossedRun:
    """A run, and the environment that it was trained in."""

    name: str
    run: Run
    recipe: Recipe
    trained: Part
    env: Environment
    home: str
    """The first run with the same task and retriever: the name of the column."""


def _opened(targets: Sequence[str]) -> list[_CrossedRun]:
    from recr1.env import open_environment
    from recr1.errors import UserError
    from recr1.recipe import load_recipe
    from recr1.runs import Run
    from recr1.runs.targets import trained_part

    names = [Path(target).resolve().name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two runs are called {twice[0]!r}, so tables could not show which is which: rename a folder")
    if len(names) < 2:
        raise UserError(f"name two runs or more, got only {targets[0]} ('recr1 eval' evaluates one)")
    opened: list[_CrossedRun] = []
    for name, target in zip(names, targets, strict=True):
        run = Run.open(target)
        recipe = load_recipe(run.path / "recipe.yaml")
        trained = trained_part(run, recipe.policy)
        if unfinished := run.unfinished():
            note(unfinished)
        same = next((o for o in opened if (o.recipe.task, o.recipe.retriever) == (recipe.task, recipe.retriever)), None)
        env = same.env if same else open_environment(recipe.task, recipe.retriever, (), recipe.k)
        opened.append(_CrossedRun(name, run, recipe, trained, env, same.home if same else name))
    return opened


def _start(one: _CrossedRun) -> Part:
    """What the last stage started from: the policy of the stage before, or that of the recipe."""
    from recr1.policies.adapters import with_weights
    from recr1.trainers.stages import FOLDER as STAGES

    before = len(one.recipe.stages) - 1
    saved = sorted((one.run.path / STAGES).glob(f"{before}-*/policy")) if before else []
    return with_weights(one.recipe.policy, saved[0]) if saved else one.recipe.policy
