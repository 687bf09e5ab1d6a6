"""`recr1 headroom`: what can be learned from the needs of a recipe, before any training."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero, add_json, add_out, add_recipe, add_split, at_least
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.config.build import Part
    from recr1.recipe import Recipe


def add(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    add_split(parser, "train")
    text = "use only the first N needs (default: 200)"
    parser.add_argument("--needs", metavar="N", type=at_least(1), default=200, help=text)
    text = "completions per need (default: 32)"
    parser.add_argument("--samples", metavar="N", type=at_least(2), default=32, help=text)
    text = "share of the ceiling of a need from which a completion solves it (default: 0.5)"
    parser.add_argument("--solved", metavar="X", type=_share, default=0.5, help=text)
    text = "how many items are searched for the first relevant one (default: 1000)"
    parser.add_argument("--depth", metavar="K", type=at_least(1), default=1000, help=text)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Sample the untrained policy of a recipe as its trainer would, and print and write what can be learned."""
    from recr1.config.build import build
    from recr1.env import open_environment
    from recr1.evaluate import Evaluator
    from recr1.headroom import HeadroomOptions, find_headroom, tables, verdicts, write
    from recr1.judge.table import print_tables
    from recr1.recipe import load_recipe
    from retrievers.progress import ProgressBar

    recipe = load_recipe(args.recipe, args.overrides)
    trainer = recipe.trainer.options if recipe.trainer else {}
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    with ProgressBar(quiet=args.json) as bar:
        measures, seed = recipe.evaluate.measures, recipe.seed
        evaluator = Evaluator(env, args.split, measures, limit=args.needs, seed=seed, progress=bar.advance)
        policy = build("policy", _as_trained(recipe))
        bar.begin(f"{args.samples} samples of {len(evaluator.needs)} needs", len(evaluator.needs))
        group, tolerance = (trainer.get("trl") or {}).get("num_generations"), trainer.get("dynamic_sampling_tolerance")
        options = HeadroomOptions(
            solved=args.solved,
            depth=args.depth,
            group=group if isinstance(group, int) else None,
            **({} if tolerance is None else {"tolerance": float(tolerance)}),
        )
        found = find_headroom(evaluator, policy, args.samples, options, name=recipe.policy.type)
    home = write(found, args.out) if args.out else None
    if args.json:
        sys.stdout.write(json.dumps({**found.summary, "verdicts": verdicts(found)}, indent=2) + "\n")
        return 0
    print_tables(tables(found), [f"- {sentence}" for sentence in verdicts(found)])
    if home:
        say(f"written to {home}")
    return 0


def _share(text: str) -> float:
    value = above_zero(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"must be a number > 0 and <= 1, got {text!r}")
    return value


def _as_trained(recipe: Recipe) -> Part:
    """The policy, with the sampling temperature of training if the recipe sets one."""
    from recr1.config.build import Part, options_of_part

    trl = recipe.trainer.options.get("trl") if recipe.trainer else None
    temperature = (trl or {}).get("temperature")
    if temperature is None or "temperature" not in options_of_part("policy", recipe.policy.type):
        return recipe.policy
    return Part(recipe.policy.type, {**recipe.policy.options, "temperature": temperature})
