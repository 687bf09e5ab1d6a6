"""`recr1 cross`: each run's policy on every run's catalog."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recr1.cli.trained import trained_part, with_weights
from recr1.config.build import Part, build
from recr1.cross import Cross, OwnPrompts, cross, cross_tables
from recr1.env import Environment, open_environment
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run, write_text, writing
from recr1.trainers.stages import FOLDER as STAGES
from retrievers.progress import ProgressBar


@dataclass(frozen=True)
class _Crossed:
    """A run, and the environment that it was trained in."""

    name: str
    run: Run
    recipe: Recipe
    trained: Part
    env: Environment
    home: str
    """The first run with the same task and retriever: the name of the column."""


def cross_runs(
    targets: Sequence[str],
    *,
    split: str = "test",
    measures: Sequence[str] | None = None,
    samples: int = 0,
    out: str | None = None,
    as_json: bool = False,
) -> int:
    """Evaluate the policies of runs on each other's catalogs, and print and write the results.

    Args:
        targets: Run folders; those with the same task and retriever share a column.
        split: Whose needs.
        measures: Names in place of those of the first run's recipe.
        samples: Completions per need; 0 is greedy.
        out: A folder for the tables and every number.
        as_json: Print JSON in place of the tables.

    Raises:
        UserError: For fewer than two runs, two of one name, or one without a trained policy.
    """
    with ProgressBar(quiet=as_json) as bar:
        with bar.replaced_by("reading the catalogs and building the indexes"):
            runs = _opened(targets)
        first = runs[0].recipe
        columns = {one.name: one for one in runs if one.home == one.name}
        evaluators = {
            name: Evaluator(one.env, split, measures or first.evaluate.measures, seed=first.seed, progress=bar.advance)
            for name, one in columns.items()
        }
        for name, evaluator in evaluators.items():
            bar.begin(f"floor and ceiling of {name}", len(evaluator.needs))
            evaluator.prepare(bar.advance)

        def maker(one: _Crossed, part: Part, label: str) -> Callable[[], Any]:
            def make() -> OwnPrompts:
                bar.begin(label, None)
                return OwnPrompts(build("policy", part), one.env.format)

            return make

        result = cross(
            evaluators,
            {name: maker(one, _start(one), f"start of {name}") for name, one in columns.items()},
            {one.name: maker(one, one.trained, one.name) for one in runs},
            {one.name: one.home for one in runs},
            samples=samples,
        )
    if out:
        write_cross(result, Path(out))
    _show(result, out, as_json=as_json)
    return 0


def write_cross(result: Cross, home: Path) -> None:
    """`cross.json`, every number; `cross.md`, the tables and what they say."""
    verdict = "\n".join(f"- {line}" for line in result.verdict())
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        write_text(home / "cross.json", json.dumps(result.summary, indent=2) + "\n")
        write_text(home / "cross.md", "\n".join([*(t.markdown() for t in cross_tables(result)), f"{verdict}\n"]))


def _opened(targets: Sequence[str]) -> list[_Crossed]:
    names = [Path(target).resolve().name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two runs are called {twice[0]!r}, and tables could not tell them apart: rename a folder")
    if len(names) < 2:
        raise UserError(f"{targets[0]} alone crosses nothing: name two runs or more ('recr1 eval' is for one)")
    opened: list[_Crossed] = []
    for name, target in zip(names, targets, strict=True):
        run = Run.open(target)
        recipe = load_recipe(run.path / "recipe.yaml")
        trained = trained_part(run, recipe.policy)
        same = next((o for o in opened if (o.recipe.task, o.recipe.retriever) == (recipe.task, recipe.retriever)), None)
        env = same.env if same else open_environment(recipe.task, recipe.retriever, (), recipe.k)
        opened.append(_Crossed(name, run, recipe, trained, env, same.home if same else name))
    return opened


def _start(one: _Crossed) -> Part:
    """What the last stage began with: the policy of the stage before, or the recipe's own."""
    before = len(one.recipe.stages) - 1
    saved = sorted((one.run.path / STAGES).glob(f"{before}-*/policy")) if before else []
    return with_weights(one.recipe.policy, saved[0]) if saved else one.recipe.policy


def _show(result: Cross, out: str | None, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.summary, indent=2) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False)
    for one in cross_tables(result):
        console.print(one)
        console.print()
    for line in result.verdict():
        console.print(line, soft_wrap=True, markup=False)
    if out:
        console.print(f"written to {out}", soft_wrap=True)
