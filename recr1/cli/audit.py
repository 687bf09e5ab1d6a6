"""`recr1 audit`: biases of a policy that its reward does not show, with limits and an exit status for CI."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from recr1.cli.arguments import add_json, add_out, add_split, add_target, at_least
from recr1.terminal import note, say

if TYPE_CHECKING:
    from recr1.audit import Audit
    from recr1.recipe import Recipe
    from recr1.runs import Run


def add(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--policy", metavar="TYPE", help="audit this policy instead, such as echo or as_shown")
    add_split(parser, None)
    text = "use only the first N needs (default: audit.needs of the recipe, 200)"
    parser.add_argument("--needs", metavar="N", type=at_least(2), help=text)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Audit the policy of a recipe, or of a run after training; returns the exit status, 3 above a limit."""
    from dataclasses import replace

    from recr1.audit import find_biases
    from recr1.audit.report import remarks, tables, write
    from recr1.config.build import AuditSpec, Part, build
    from recr1.env import open_environment
    from recr1.judge.table import print_tables
    from recr1.rescore.written import answers_of
    from recr1.runs import origin_of
    from recr1.runs.targets import open_target, remarks_on_run, trained_part
    from retrievers.progress import ProgressBar

    recipe, run = open_target(args.target, args.overrides)
    run = None if args.policy else run
    spec = recipe.audit or AuditSpec()
    spec = replace(spec, needs=args.needs or spec.needs)
    other = args.policy not in (None, recipe.policy.type)
    part = Part(args.policy) if other else trained_part(run, recipe.policy) if run else recipe.policy
    env = open_environment(recipe.task, recipe.retriever, (), recipe.k)
    split, name = args.split or recipe.evaluate.split, "trained" if run else part.type
    known, home, origin = {}, args.out, None
    if run:
        for remark in remarks_on_run(run, recipe, env, split, edited=not args.overrides):
            note(remark)
        origin = origin_of(run, recipe.to_dict(), env.task.catalog.fingerprint)
        home = home or run.path / "audit" / split
        known = answers_of(run, split, origin)
    with ProgressBar(quiet=args.json) as bar:
        bar.begin(name, None)
        policy = build("policy", part)
        found = find_biases(env, policy, split, spec, seed=recipe.seed, name=name, known=known, progress=bar.advance)
    if home:
        write(found, home, origin=origin)
    if run:
        _log(found, run, recipe)
    if args.json:
        sys.stdout.write(json.dumps(found.plain(), indent=2) + "\n")
    else:
        print_tables(tables(found), remarks(found), end=found.verdict)
        say(f"written to {home}" if home else "")
    return 3 if found.failures else 0


def _log(found: Audit, run: Run, recipe: Recipe) -> None:
    """Send the numbers to the services of the recipe, after the last step of the run."""
    from recr1.config.build import build

    lines = run.read_metrics()
    for part in recipe.log:
        logger = build("logger", part)
        logger.start(run.path, recipe.to_dict())
        logger.log(lines[-1]["step"] + 1 if lines else 0, found.metrics())
        logger.finish(run.facts()["status"])
