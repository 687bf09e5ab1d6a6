"""`recr1 eval`: how good a policy is, between floor and ceiling; of a run, before and after training."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.cli.swap import open_retrievers, read_retrievers, show_swap, spell_part, write_swap
from recr1.cli.trained import trained_part
from recr1.config.build import Part, build
from recr1.env import open_environment
from recr1.evaluate import Evaluation, Evaluator, examples, examples_text, table, verdict, write
from recr1.recipe import Recipe, find_recipe, load_recipe
from recr1.runs import Run, origin_of, write_text, writing
from recr1.swap import swap
from retrievers.progress import ProgressBar

if TYPE_CHECKING:
    from recr1.swap import Swap

UNTRAINED, TRAINED = "untrained", "trained"


def evaluate(
    target: str,
    overrides: Sequence[str] = (),
    *,
    policy: str | None = None,
    split: str | None = None,
    measures: Sequence[str] | None = None,
    samples: int = 0,
    out: str | None = None,
    retrievers: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """Evaluate a recipe's policy, or a run's before and after training, and print and write the results.

    With `retrievers`, each of these searches what the policies wrote for their own, too.
    """
    folder = Path(target) if Path(target).is_dir() else None
    recipe = _recipe(target, folder, overrides)
    parts = _policies(recipe, folder, policy)
    others = read_retrievers(retrievers, recipe.retriever)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    opened = open_retrievers(others, env)
    with ProgressBar(quiet=as_json) as bar:
        evaluator = Evaluator(
            env,
            split or recipe.evaluate.split,
            measures or recipe.evaluate.measures,
            limit=recipe.evaluate.needs,
            seed=recipe.seed,
            progress=bar.advance,
        )
        done = [_evaluated(evaluator, name, part, samples, bar) for name, part in parts.items()]
    home = Path(out) if out else folder / "eval" / evaluator.split if folder else None
    swapped = swap(done, opened, spell_part(recipe.retriever)) if retrievers else None
    if home:
        catalog = env.task.catalog.fingerprint
        origin = origin_of(Run.open(folder), recipe.to_dict(), catalog) if folder else None
        _write(done, swapped, home, origin)
    if as_json:
        summary = swapped.summary if swapped else [evaluation.summary for evaluation in done]
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        _show(done, swapped, home)
    return 0


def _recipe(target: str, folder: Path | None, overrides: Sequence[str]) -> Recipe:
    if folder is None:
        return load_recipe(find_recipe(target), overrides)
    return load_recipe(Run.open(folder).path / "recipe.yaml", overrides)


def _policies(recipe: Recipe, folder: Path | None, named: str | None) -> Mapping[str, Part]:
    """What to evaluate, by the name that the table shows."""
    if named:
        return {named: recipe.policy if named == recipe.policy.type else Part(named)}
    if folder is None:
        return {recipe.policy.type: recipe.policy}
    return {UNTRAINED: recipe.policy, TRAINED: trained_part(Run.open(folder), recipe.policy)}


def _evaluated(evaluator: Evaluator, name: str, part: Part, samples: int, bar: ProgressBar) -> Evaluation:
    bar.begin(name, len(evaluator.needs))
    policy = build("policy", part)
    return evaluator(policy, samples=samples, name=name)


def _write(done: Sequence[Evaluation], swapped: Swap | None, home: Path, origin: Mapping[str, Any] | None) -> None:
    """Each evaluation's files; of several, in a folder of its own name beside one common table."""
    if swapped:
        write_swap(swapped, home, origin)
    if len(done) == 1:
        write(done[0], home, origin=origin)
        return
    for evaluation in done:
        write(evaluation, home / evaluation.name, origin=origin)
    shown = f"## Before and after\n\n```text\n{_examples(done)}\n```\n"
    with writing(home):
        write_text(
            home / "eval.md", "\n".join([table(done).markdown(), *(f"- {line}" for line in verdict(done)), "", shown])
        )


def _examples(done: Sequence[Evaluation]) -> str:
    return examples_text(examples(done[0], done[-1]), done[0].name, done[-1].name)


def _show(done: Sequence[Evaluation], swapped: Swap | None, home: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table(done))
    if len(done) > 1:
        console.print(f"\n{_examples(done)}", soft_wrap=True, markup=False)
    console.print("\n" + "\n".join(verdict(done)), soft_wrap=True, markup=False)
    if swapped:
        console.print()
        show_swap(swapped, console)
    if home:
        console.print(f"written to {home}", soft_wrap=True)
