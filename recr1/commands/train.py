"""`recr1 train`: a recipe becomes a run folder with a trained policy in it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from recr1.build import build
from recr1.env import Environment, open_environment
from recr1.errors import MissingLibrary, UserError
from recr1.recipe import Recipe, find_recipe, load_recipe
from recr1.runs import Run
from recr1.trainers import Trainer
from retrievers.fingerprint import retriever_fingerprint


def train(name: str, overrides: Sequence[str] = (), *, out: str | None = None) -> int:
    """Train as the recipe says; raises `UserError` for what the user can put right, before anything heavy loads."""
    path = find_recipe(name)
    recipe = load_recipe(path, overrides)
    if recipe.trainer is None:
        raise UserError(
            f"{path}: trainer: missing: the recipe only evaluates; add one, such as {{type: grpo, steps: 100}}"
        )
    trainer: Trainer = build("trainer", recipe.trainer)
    folder = Path(out) if out else _new_folder(path.stem)
    if _is_first_process():
        Run.prepare(folder)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    env.task.needs(recipe.evaluate.split)
    run = _create_run(recipe, env, folder)
    if threading.current_thread() is threading.main_thread():
        # What a scheduler sends before it takes the machine back: the same as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _say(
        run,
        f"{path}: {len(env.task.catalog)} items, {len(env.task.needs('train'))} training needs; run folder {run.path}",
    )
    try:
        trainer.train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    except KeyboardInterrupt:
        run.finish("interrupted")
        _say(run, f"interrupted: what was learned so far is in {run.policy_path}")
        raise
    except BaseException as error:
        run.finish("failed", error=f"{type(error).__name__}: {error}")
        raise
    run.finish("finished")
    _draw(run)
    _say(run, f"the trained policy is in {run.policy_path}, the reward curve in {run.path / 'plots' / 'reward.png'}")
    _say(run, f"compare it on held-out needs: recr1 eval {run.path} --split test")
    return 0


def _create_run(recipe: Recipe, env: Environment, out: Path) -> Run:
    """The run folder, claimed by the first process; the others hold it without writing."""
    if not _is_first_process():
        return Run(out, writer=False)
    facts = {
        "seed": recipe.seed,
        "catalog": env.task.catalog.fingerprint,
        "retriever": retriever_fingerprint(recipe.retriever.to_dict(), env.task.catalog, env.retriever),
    }
    return Run.create(out, recipe.to_dict(), facts, loggers=[build("logger", part) for part in recipe.log])


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


def _draw(run: Run) -> None:
    """The reward curve; a missing plotting library is said and costs the picture alone."""
    try:
        if run.writer:
            run.plot()
    except MissingLibrary as error:
        _say(run, str(error))
