"""Runs as the command line names them: their folder, their recipe, and the policy that they trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.config.build import Part
from recr1.config.shipped import find_recipe, shipped_recipes
from recr1.errors import RunError, UserError
from recr1.policies.adapters import with_weights
from recr1.recipe import Recipe, load_recipe
from recr1.runs.files import listed, runs_here
from recr1.runs.provenance import changes_since, fingerprints
from recr1.runs.run import Run
from retrievers.options import did_you_mean
from retrievers.store import expanded

if TYPE_CHECKING:
    from recr1.env import Environment


def find_target(name: str) -> Path:
    """The folder of a run, or the file of a recipe; raises `UserError` that lists the runs if it is neither."""
    path = expanded(name)
    if path.is_dir() or path.exists() or path.suffix in (".yaml", ".yml") or name in shipped_recipes():
        return path if path.is_dir() else find_recipe(name)
    here = runs_here(path.parent)
    hint = did_you_mean(name, [*shipped_recipes(), *here])
    raise UserError(f"there is no run folder or recipe '{name}'{hint} ({listed(here)}; 'recr1 ls' lists recipes)")


def open_target(name: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Run | None]:
    """The recipe of a file or of a run folder, with overrides, and the run; raises `UserError` as `find_target`."""
    path = find_target(name)
    if not path.is_dir():
        return load_recipe(path, overrides), None
    run = Run.open(path)
    return load_recipe(run.path / "recipe.yaml", overrides), run


def trained_part(run: Run, policy: Part) -> Part:
    """The policy of a run's recipe with the weights that the run trained; raises `RunError` if there are none yet."""
    if not (run.policy_path / "config.json").is_file():
        raise RunError(f"{run.path} has no trained policy yet ({run.policy_path} is missing): finish the run first")
    return with_weights(policy, run.policy_path)


def remarks_on_run(run: Run, recipe: Recipe, env: Environment, split: str, *, edited: bool) -> Iterator[str]:
    """What to know before numbers of a run's policy are read: that it is not finished, or what has changed since.

    `edited` if the recipe is that of the folder, without overrides.
    """
    if unfinished := run.unfinished():
        yield unfinished
    other = run.recipe_changes(recipe.to_dict())
    if other and edited:
        yield f"{run.path / 'recipe.yaml'} was changed since the run started: {', '.join(map(str, other))}"
    if not any(changed.key.partition(".")[0] in ("task", "retriever") for changed in other):
        yield from changes_since(run.facts(), fingerprints(env, recipe.retriever.to_dict()), split)
