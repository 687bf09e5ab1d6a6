"""`recr1 check`: everything wrong with a recipe, without loading a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recr1.cli.libraries import missing_libraries
from recr1.config.build import build
from recr1.errors import UserError
from recr1.recipe import Recipe, find_recipe, load_recipe
from recr1.tasks.base import SPLITS, needs_of
from recr1.tasks.leaks import find_overlaps, refuse_leaks

if TYPE_CHECKING:
    from recr1.memory import Shard
    from recr1.tasks.base import Task


def check(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    data: bool = False,
    memory: bool = False,
    gpu_gb: float | None = None,
    launch: str | None = None,
    processes: int | None = None,
    shard: Shard | None = None,
) -> int:
    """Validate a recipe, with `data` its task, and with `memory`, or what it is about, estimate what training needs.

    Raises `UserError` with all that is wrong.
    """
    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides)
    sys.stdout.write(f"{path}: the recipe is fine\n")
    for missing in missing_libraries(loaded):
        sys.stdout.write(f"not on this machine: {missing}\n")
    if data:
        sys.stdout.write(_described(loaded))
    if memory or any(said is not None for said in (gpu_gb, launch, processes, shard)):
        from recr1.memory import memory_report, sharding_of

        sys.stdout.write(memory_report(loaded, gpu_gb, sharding_of(launch, processes, shard)))
    return 0


def _described(recipe: Recipe) -> str:
    task: Task = build("task", recipe.task)
    lines = [f"items       {len(task.catalog)}"]
    wanted = {recipe.evaluate.split} | ({"train"} if recipe.trainer else set())
    for split in SPLITS:
        needs, missing = needs_of(task, split)
        if missing and split in wanted:
            raise UserError(missing)
        lines.append(f"{split:<11} " + (f"none ({missing})" if missing else f"{len(needs)} needs"))
    overlaps = find_overlaps(task)
    refuse_leaks(overlaps, accepted=recipe.evaluate.accept_leaks)
    lines += [f"left out    {count} needs: {reason}" for reason, count in task.excluded.items()]
    for overlap in overlaps:
        said = [*overlap.leaks(), *overlap.remarks()]
        shared = (
            f"{overlap.shared_targets} of {overlap.targets} targets of {overlap.other} are targets of {overlap.one}"
        )
        if overlap.targets:
            said.append(shared)
        lines += [f"{overlap.pair}: {what}" for what in said]
    return "\n".join(lines) + "\n"
