"""`recr1 train`: a recipe becomes a run folder with a trained policy in it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from recr1.cli.launch import check_processes
from recr1.cli.libraries import missing_libraries
from recr1.config.build import Part, build
from recr1.env import Environment, open_environment
from recr1.errors import DivergedError, MissingLibrary, RunError, UserError
from recr1.recipe import Recipe, find_recipe, load_recipe
from recr1.runs import Run
from recr1.runs.provenance import fingerprints
from recr1.tasks.leaks import find_overlaps, refuse_leaks
from recr1.trainers import Trainer
from recr1.trainers.stages import last_saved_step, policy_so_far, train_stages


def train(name: str, overrides: Sequence[str] = (), *, out: str | None = None) -> int:
    """Train as the recipe says, or go on with a run that is not finished.

    Args:
        name: A recipe, or the folder of a run to go on with.
        overrides: Values in place of the recipe's; none for a run, which goes on with its own.
        out: The run folder. One that holds an unfinished run of the same recipe is gone on with.

    Raises:
        UserError: For what the user can put right, before anything heavy loads.
    """
    check_processes()
    held = Path(name) if Path(name).is_dir() else None
    path = _recipe_of(held, overrides, out) if held else find_recipe(name)
    recipe = load_recipe(path, overrides)
    if not recipe.stages:
        raise UserError(
            f"{path}: trainer: missing: the recipe only evaluates; add one, such as {{type: grpo, steps: 100}}"
        )
    stages = _built(recipe)
    for missing in missing_libraries(recipe):
        raise missing
    folder = held or (Path(out) if out else _new_folder(path.stem))
    resumes = _is_first_process() and _holds_unfinished(folder, recipe)
    if _is_first_process() and not resumes:
        Run.prepare(folder)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    env.task.needs(recipe.evaluate.split)
    overlaps = find_overlaps(env.task)
    splits = refuse_leaks(overlaps, accepted=recipe.evaluate.accept_leaks)
    run = _open_run(recipe, env, folder, splits, resumes=resumes)
    if threading.current_thread() is threading.main_thread():
        # What a scheduler sends before it takes the machine back: the same as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _say(
        run,
        f"{path}: {len(env.task.catalog)} items, {len(env.task.needs('train'))} training needs; run folder {run.path}",
    )
    for remark in [*splits["accepted"], *(remark for overlap in overlaps for remark in overlap.remarks())]:
        _say(run, f"the splits are not quite apart: {remark}")
    try:
        _train(stages, recipe, env, run)
    except KeyboardInterrupt:
        run.finish("interrupted")
        _say(run, f"interrupted: what was learned so far is in {policy_so_far(run)}")
        _say_how_to_go_on(run)
        raise
    except BaseException as error:
        _fail(run, error)
        raise
    run.finish("finished")
    _draw(run)
    _say(run, f"the trained policy is in {run.policy_path}, the reward curve in {run.path / 'plots' / 'reward.png'}")
    _say(run, f"compare it on held-out needs: recr1 eval {run.path} --split test")
    return 0


def _built(recipe: Recipe) -> list[tuple[Part, Trainer]]:
    """The trainers of all stages, each with its part: what is wrong with the last shows before the first begins."""
    paths = ["trainer"] if len(recipe.stages) == 1 else [f"trainer.{place}" for place in range(len(recipe.stages))]
    return [(part, build("trainer", part, path=path)) for path, part in zip(paths, recipe.stages, strict=True)]


def _train(stages: Sequence[tuple[Part, Trainer]], recipe: Recipe, env: Environment, run: Run) -> None:
    seed, evaluation = recipe.seed, recipe.evaluate
    if len(stages) == 1:
        stages[0][1].train(recipe.policy, env, run, seed=seed, evaluation=evaluation)
        return
    train_stages(stages, recipe.policy, env, run, seed=seed, evaluation=evaluation, say=partial(_say, run))


def _recipe_of(folder: Path, overrides: Sequence[str], out: str | None) -> Path:
    """The recipe of a run to go on with, which nothing may change."""
    path = Run.open(folder).path / "recipe.yaml"
    if overrides or out:
        given = overrides[0] if overrides else f"--out {out}"
        raise UserError(f"{folder} is a run and goes on as it began, without {given!r}; start another from {path}")
    return path


def _holds_unfinished(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder holds a run to go on with; raises `RunError` for one that is finished or of another recipe."""
    if not (folder / "run.json").exists():
        return False
    run = Run.open(folder)
    run.check_unfinished()
    held, wanted = load_recipe(folder / "recipe.yaml").to_dict(), recipe.to_dict()
    other = [name for name in {**held, **wanted} if held.get(name) != wanted.get(name)]
    if other:
        raise RunError(
            f"{folder} already holds a run, of a recipe with another {', '.join(other)}: choose another folder, or "
            f"go on with that run: recr1 train {folder}"
        )
    return True


def _open_run(recipe: Recipe, env: Environment, out: Path, splits: Mapping[str, Any], *, resumes: bool) -> Run:
    """The run folder, claimed by the first process; the others hold it without writing."""
    if not _is_first_process():
        return Run(out, writer=False)
    facts = {
        "seed": recipe.seed,
        **fingerprints(env, recipe.retriever.to_dict()),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "splits": splits,
    }
    loggers = [build("logger", part) for part in recipe.log]
    if resumes:
        return Run.resume(out, facts, loggers=loggers)
    return Run.create(out, recipe.to_dict(), facts, loggers=loggers)


def _is_first_process() -> bool:
    """Whether this is the only process, or rank 0 of those that `accelerate launch` or torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def _new_folder(name: str) -> Path:
    """A folder named by the time; ranks of one launch take that of their launcher, so that all name the same one."""
    began = datetime.now()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
            raise UserError(
                "--out: missing: launched on several nodes, which would each name a run folder of their own"
            )
        import psutil

        began = datetime.fromtimestamp(psutil.Process(os.getppid()).create_time())
    return Path("runs") / f"{name}-{began:%Y%m%d-%H%M%S}"


def _say(run: Run, line: str) -> None:
    if run.writer:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _fail(run: Run, error: BaseException) -> None:
    run.finish("failed", error=f"{type(error).__name__}: {error}")
    if not isinstance(error, DivergedError):  # to go on would end there again
        _say_how_to_go_on(run)


def _say_how_to_go_on(run: Run) -> None:
    saved = last_saved_step(run)
    if saved is not None:
        _say(run, f"the state after step {saved} is saved; go on with: recr1 train {run.path}")


def _draw(run: Run) -> None:
    """The reward curve; a missing plotting library is said and costs the picture alone."""
    try:
        if run.writer:
            run.plot()
    except MissingLibrary as error:
        _say(run, str(error))
