"""`recr1 rescore`: the completions of a run with another retriever, measure or catalog."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING

from recr1.cli.arguments import add_json, add_measures, add_overrides
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.env import Environment
    from recr1.recipe import Recipe
    from recr1.runs import Run


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="RUN", help="a run folder")
    add_overrides(parser)
    add_measures(parser)
    parser.add_argument("--name", metavar="N", help="of the folder in RUN/rescored (default: what is overridden)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Score the completions of a run again, and print and write the results."""
    from recr1.env import open_environment
    from recr1.errors import UserError
    from recr1.evaluate.evaluator import read_measures
    from recr1.judge.table import print_tables
    from recr1.recipe import load_recipe
    from recr1.rescore import Rescorer, read_written, sentences, tables, write
    from recr1.runs import Run, policy_of
    from recr1.runs.provenance import fingerprints, surroundings
    from retrievers.progress import ProgressBar

    source = Run.open(args.target)
    recipe, own = (load_recipe(source.path / "recipe.yaml", given) for given in (args.overrides, ()))
    if not args.overrides and args.measures is None:
        raise UserError("nothing to rescore with: say what changes, such as retriever.type=rank_bm25 --measures R@10")
    measures = read_measures(args.measures or recipe.evaluate.measures, recipe.k)
    changes = ",".join([*args.overrides, *(args.measures or ())])
    label = args.name or re.sub(r"[^\w.,@=+-]+", "_", changes).strip("_.")[:100]
    if not re.fullmatch(r"[\w.,@=+-]+", label) or label.startswith("."):
        raise UserError(f"--name {label!r}: it names a folder: use letters, digits and . , @ = + - _")
    written = read_written(source)
    with ProgressBar(quiet=args.json) as bar:
        env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
        original, notes = _original(source, own, recipe, env)
        bar.begin("floor and ceiling", len({need for one in written for need in one.needs}))
        rescorer = Rescorer(env, measures, written, original=original, seed=recipe.seed, progress=bar.advance)
        results = []
        for one in written:
            bar.begin(one.name, len(one))
            if scored := rescorer(one, bar.advance):
                results.append(scored)
            else:
                notes.append(f"'{one.name}' is left out: the task has none of its needs.")
        kept = ("catalog", "retriever", "other_retrievers")
        summary = {
            "run": {name: value for name, value in source.facts().items() if name in kept},
            "fingerprints": fingerprints(env, recipe.retriever.to_dict()),
            "notes": [*notes, *(note for one in results if (note := one.drift))],
            "origin": policy_of(source),
            "overrides": list(args.overrides),
            "results": {one.written.name: one.summary for one in results},
            **surroundings(),
        }
        home = source.path / "rescored" / label
        write(home, recipe, results, summary)
    if args.json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return 0
    print_tables(tables(summary["results"]), [*sentences(summary["results"]), *summary["notes"]])
    say(f"written to {home}")
    return 0


def _original(run: Run, own: Recipe, recipe: Recipe, env: Environment) -> tuple[Environment | None, list[str]]:
    """The run's own environment if the new one differs, and notes on it.

    The completions are parsed with the run's format, unless the format is changed.
    """
    from recr1.env import open_environment
    from recr1.runs.provenance import fingerprints

    same = (own.task, own.retriever) == (recipe.task, recipe.retriever)
    then = env if same else open_environment(own.task, own.retriever, (), max(own.k, recipe.k))
    if own.task.options.get("format") == recipe.task.options.get("format"):
        env.format = then.format
    facts, now = run.facts(), fingerprints(then, own.retriever.to_dict())
    changed = " and the ".join(name.replace("_", " ") for name in now if facts.get(name) not in (None, now[name]))
    if not changed:
        return None if same else then, []
    since = "of this recipe has changed since the run" if same else "of the run has changed since"
    return None, [f"The {changed} {since}: 'before' is what the run saved."]
