"""`recr1 gate`: fit a gate for the policy of a run, or show on another split what it does."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero, add_json, add_overrides, share
from recr1.terminal import note, say

if TYPE_CHECKING:
    from recr1.env import Environment
    from recr1.gate import Gate
    from recr1.runs import Run

DEFAULTS = {"margin": 0.05, "bound": 0.05, "confidence": 0.95}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="a run folder")
    add_overrides(parser)
    text = "validation fits the gate; test or train show what it does there (default: validation)"
    parser.add_argument("--split", metavar="S", default="validation", help=text)
    text = "a need is harmed if the first measure drops by more than this (default: 0.05)"
    parser.add_argument("--margin", metavar="X", type=above_zero, help=text)
    text = "the share of all needs that may be harmed (default: 0.05)"
    parser.add_argument("--bound", metavar="X", type=share, help=text)
    text = "how sure that bound is to hold (default: 0.95)"
    parser.add_argument("--confidence", metavar="X", type=share, help=text)
    text = "use the overlap of the two rankings, which costs a second search where the gate serves"
    parser.add_argument("--search", action="store_true", help=text)
    text = "do without the likelihood of a completion, which not every engine tells"
    parser.add_argument("--no-likelihood", action="store_true", help=text)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Fit a gate on validation and write it into the run folder, or show it on another split."""
    from recr1.config.build import build
    from recr1.env import open_environment
    from recr1.errors import MissingLibrary, UserError
    from recr1.evaluate import Evaluator
    from recr1.evaluate.gated import fit_on, gated
    from recr1.gate.gate import FILE
    from recr1.gate.outcome import gate_table, sentence
    from recr1.judge.table import print_tables
    from recr1.policies.base import KnowsLikelihood
    from recr1.runs import origin_of
    from recr1.runs.targets import open_target, trained_part
    from retrievers.progress import ProgressBar

    recipe, trained = open_target(args.folder, args.overrides)
    if trained is None:
        raise UserError(f"{args.folder} is a recipe: a gate is for the policy of a run folder; train it first")
    gate, fits = _fitted(args, trained), args.split == "validation"
    if fits and find_spec("sklearn") is None:
        raise MissingLibrary("scikit-learn", "gate", "fitting a gate")
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    _check(env, args.split)
    with ProgressBar(quiet=args.json) as bar:
        limit, measures = recipe.evaluate.needs, recipe.evaluate.measures
        evaluator = Evaluator(env, args.split, measures, limit=limit, seed=recipe.seed, progress=bar.advance)
        if fits and (used := len(evaluator.needs)) < (every := len(env.task.needs(args.split))):
            what = f"the gate is fitted on {used:,} of {every:,} needs, as evaluate.needs says"
            note(f"{what}: with more of them it keeps more gain: evaluate.needs=null takes all")
        bar.begin("rewriting", len(evaluator.needs))
        policy = build("policy", trained_part(trained, recipe.policy))
        knows = fits and isinstance(policy, KnowsLikelihood) and not args.no_likelihood
        evaluation = evaluator(policy, gate=gate, likely=knows)
    if fits:
        bounds = {name: default if (own := getattr(args, name)) is None else own for name, default in DEFAULTS.items()}
        origin = origin_of(trained, recipe.to_dict(), env.task.catalog.fingerprint)
        fitted, held = fit_on(evaluation, search=args.search, facts={"origin": origin}, **bounds)
        fitted.write(trained.path / FILE)
    else:
        held = gated([evaluation])
    if args.json:
        sys.stdout.write(json.dumps(held, indent=2) + "\n")
        return 0
    where = f"{args.split}, each need predicted without itself" if fits else args.split
    print_tables([gate_table(where, {"trained": held}, len(evaluation.needs))], [sentence(held)])
    if fits:
        say(f"written to {trained.path / FILE}; for held-out needs: recr1 gate {args.folder} --split test")
    return 0


def _fitted(args: argparse.Namespace, run: Run) -> Gate | None:
    """The gate that the run has, for another split than validation, where none is fitted."""
    from recr1.errors import UserError
    from recr1.gate import Gate
    from recr1.gate.gate import FILE
    from recr1.gate.outcome import remarks_on_gate

    if args.split == "validation":
        return None
    given = [f"--{name}" for name in DEFAULTS if getattr(args, name) is not None]
    given += ["--search"] * args.search + ["--no-likelihood"] * args.no_likelihood
    if given:
        raise UserError(f"{', '.join(given)}: is how a gate is fitted, on validation and never on {args.split}")
    gate = Gate.load(run.path / FILE)
    for remark in remarks_on_gate(gate, run):
        note(remark)
    return gate


def _check(env: Environment, split: str) -> None:
    from recr1.errors import UserError
    from recr1.tasks.base import splits_of

    env.refuse_candidates("recr1 gate", "a gate decides whether to search for a query")
    if split == "validation" and not splits_of(env.task).get(split):
        raise UserError("a gate is fitted on validation needs, and this task has none: name a split of that name")
