"""`recr1 headroom`: what can be learned from a recipe's needs, before any training."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from recr1.config.build import Part, build, find_class
from recr1.env import open_environment
from recr1.evaluate import Evaluator
from recr1.headroom import Headroom, HeadroomOptions, find_headroom, tables, verdicts, write
from recr1.recipe import Recipe, find_recipe, load_recipe
from retrievers.options import options_of
from retrievers.progress import ProgressBar


def headroom(
    name: str,
    overrides: Sequence[str] = (),
    *,
    split: str = "train",
    needs: int = 200,
    samples: int = 32,
    solved: float = 0.5,
    depth: int = 1000,
    out: str | None = None,
    as_json: bool = False,
) -> int:
    """Sample the starting policy of a recipe as its trainer would, and print and write what can be learned.

    Args:
        name: A recipe's file or name.
        overrides: Values in place of the recipe's.
        split: Whose needs.
        needs: At most so many, the first ones.
        samples: Completions per need.
        solved: The share of its need's ceiling that a completion must reach to solve it.
        depth: How deep the first relevant item is looked for.
        out: A folder for tables and numbers.
        as_json: One JSON object in place of tables.
    """
    recipe = load_recipe(find_recipe(name), overrides)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    with ProgressBar(quiet=as_json) as bar:
        evaluator = Evaluator(env, split, recipe.evaluate.measures, limit=needs, seed=recipe.seed, progress=bar.advance)
        policy = build("policy", _as_trained(recipe))
        bar.begin(f"{samples} samples of {len(evaluator.needs)} needs", len(evaluator.needs))
        options = _options(recipe, solved, depth)
        found = find_headroom(evaluator, policy, samples, options, name=recipe.policy.type)
    home = write(found, out) if out else None
    if as_json:
        sys.stdout.write(json.dumps({**found.summary, "verdicts": verdicts(found)}, indent=2) + "\n")
    else:
        _show(found)
        if home:
            sys.stdout.write(f"written to {home}\n")
    return 0


def _trl(recipe: Recipe) -> dict[str, object]:
    return dict(recipe.trainer.options.get("trl") or {}) if recipe.trainer else {}


def _as_trained(recipe: Recipe) -> Part:
    """The policy, sampling at the temperature of training where the recipe says another than in evaluation."""
    temperature = _trl(recipe).get("temperature")
    known = options_of(find_class("policy", recipe.policy.type))
    if temperature is None or "temperature" not in known:
        return recipe.policy
    return Part(recipe.policy.type, {**recipe.policy.options, "temperature": temperature})


def _options(recipe: Recipe, solved: float, depth: int) -> HeadroomOptions:
    group = _trl(recipe).get("num_generations")
    tolerance = recipe.trainer.options.get("resample_tolerance") if recipe.trainer else None
    stated = {} if tolerance is None else {"tolerance": float(tolerance)}
    return HeadroomOptions(solved=solved, depth=depth, group=group if isinstance(group, int) else None, **stated)


def _show(found: Headroom) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables(found):
        console.print(table)
        console.print()
    for sentence in verdicts(found):
        console.print(f"- {sentence}", soft_wrap=True, markup=False)
