"""`recr1 train`: from a recipe to a run folder with a trained policy in it."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.cli.arguments import add_overrides
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.config.build import Part
    from recr1.env import Environment
    from recr1.recipe import Recipe
    from recr1.runs import Run
    from recr1.trainers import Trainer


def add(parser: argparse.ArgumentParser) -> None:
    text = "a YAML file, a name that 'recr1 ls' lists, or the folder of a run to resume"
    parser.add_argument("recipe", metavar="RECIPE", help=text)
    add_overrides(parser)
    text = "the run folder (default: a new one in runs/); an unfinished run of the same recipe in it is resumed"
    parser.add_argument("--out", metavar="DIR", help=text)


def run(args: argparse.Namespace) -> int:
    """Train, or resume a run that is not finished; raises `UserError` before anything heavy loads."""
    from recr1.config.build import build
    from recr1.env import open_environment
    from recr1.errors import UserError
    from recr1.recipe import load_recipe
    from recr1.runs import Run
    from recr1.runs.claim import prepare
    from recr1.runs.targets import find_target
    from recr1.tasks.base import remarks_on
    from recr1.tasks.splits import find_overlaps, refuse_leaks
    from recr1.trainers.launch import check_processes
    from recr1.trainers.trl.config import config_problems

    stop_on_sigterm()
    check_processes()
    target = find_target(args.recipe)
    resumed = target if target.is_dir() else None
    path = Run.open(target).path / "recipe.yaml" if resumed else target
    if resumed and (args.overrides or args.out):
        given = args.overrides[0] if args.overrides else f"--out {args.out}"
        raise UserError(f"{target} is a run, which resumes unchanged, without {given!r}; start another from {path}")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    also = partial(config_problems, processes=processes) if _is_first_process() else None
    recipe = load_recipe(path, args.overrides, also=also)
    if not recipe.stages:
        what = "trainer: missing: the recipe only evaluates; add one, such as {type: grpo, steps: 100}"
        raise UserError(f"{path}: {what}")
    # All are built before the first starts, so that an error in the last shows at once.
    placed = zip(recipe.stage_paths, recipe.stages, strict=True)
    stages = [(part, build("trainer", part, path=path)) for path, part in placed]
    for missing in recipe.missing_libraries():
        raise missing
    folder = resumed or (Path(args.out) if args.out else _new_folder(path.stem))
    resumes = _is_first_process() and _has_run(folder, recipe)
    if _is_first_process() and not resumes:
        prepare(folder, recipe.to_dict())
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    env.task.needs(recipe.evaluate.split)
    overlaps = find_overlaps(env.task)
    splits = refuse_leaks(overlaps, accepted=recipe.evaluate.accept_leaks)
    opened = _open_run(recipe, env, folder, splits, resumes=resumes)
    counts = f"{len(env.task.catalog)} items, {len(env.task.needs('train'))} training needs"
    _say(opened, "\n".join(filter(None, [remarks_on(env.task), f"{path}: {counts}; run folder {opened.path}"])))
    for remark in [*splits["accepted"], *(remark for overlap in overlaps for remark in overlap.remarks())]:
        _say(opened, f"the splits are not quite disjoint: {remark}")
    for changed in opened.recipe_changes(recipe.to_dict()) if resumes else ():
        _say(opened, f"resumed with another {changed}, which changes no number of the training")
    if resumes and opened.finished:
        _say(opened, f"{opened.path} is finished: nothing is trained (to train anew, choose another folder)")
    else:
        _train(stages, recipe, env, opened)
        opened.finish("finished")
    _conclude(opened)
    return 0


def _conclude(run: Run) -> None:
    """Draw the reward curve if it is missing, and say where the results are."""
    from recr1.errors import MissingLibrary

    plot = run.path / "plots" / "reward.png"
    try:
        if run.writer and not plot.exists():
            run.plot()
    except MissingLibrary as error:  # only the picture is missing
        _say(run, str(error))
    _say(run, f"the trained policy is in {run.policy_path}, the reward curve in {plot}")
    _say(run, f"evaluate it on held-out needs: recr1 eval {run.path} --split test")


def stop_on_sigterm() -> None:
    """Treat SIGTERM, which a scheduler sends before it takes the machine back, as Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _train(stages: Sequence[tuple[Part, Trainer]], recipe: Recipe, env: Environment, run: Run) -> None:
    """Run the stages; an interrupt or a failure is written into the run folder, with how to resume."""
    from recr1.errors import DivergedError, UserError
    from recr1.trainers.stages import last_saved_step, policy_so_far, train_stages

    seed, evaluation = recipe.seed, recipe.evaluate
    try:
        if len(stages) == 1:
            stages[0][1].train(recipe.policy, env, run, seed=seed, evaluation=evaluation)
        else:
            train_stages(stages, recipe.policy, env, run, seed=seed, evaluation=evaluation, say=partial(_say, run))
    except BaseException as error:
        with suppress(UserError, OSError):  # the disk may be full: what is raised says it
            if isinstance(error, KeyboardInterrupt):
                run.finish("interrupted")
            else:
                run.finish("failed", error=f"{type(error).__name__}: {error}")
        if isinstance(error, KeyboardInterrupt) and (saved := policy_so_far(run)):
            _say(run, f"interrupted: the policy so far is in {saved}")
        # A diverged run would diverge again.
        if not isinstance(error, DivergedError) and (step := last_saved_step(run)) is not None:
            _say(run, f"the state after step {step} is saved; resume with: recr1 train {run.path}")
        raise


def _has_run(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder has a run of this recipe; raises `RunError` for a run of another recipe, and an edited one."""
    from recr1.errors import RunError
    from recr1.runs import Run
    from recr1.runs.provenance import is_harmless

    if not (folder / "run.json").exists():
        return False
    run = Run.open(folder)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # the other ranks are about to train
        run.check_unfinished()
    other = [str(changed) for changed in run.recipe_changes(recipe.to_dict()) if not is_harmless(changed.key)]
    if other:
        raise RunError(
            f"{folder} already has a run of another recipe: {', '.join(other)}; choose another folder, or resume that "
            "run with the recipe that it started with"
        )
    return True


def _open_run(recipe: Recipe, env: Environment, out: Path, splits: Mapping[str, Any], *, resumes: bool) -> Run:
    """The run folder, claimed by the first process; the others do not write. First, prompts must fit the model."""
    from recr1.config.build import build
    from recr1.evaluate.second import described
    from recr1.policies.context import prompts_fit
    from recr1.runs import Run
    from recr1.runs.provenance import fingerprints
    from recr1.tasks.base import splits_of

    if not _is_first_process():
        return Run(out, writer=False)
    if not resumes:
        described(recipe.evaluate.second_opinion, env.task)  # a mistake in it shows now, not after training
        prompts_fit(recipe.policy, splits_of(env.task), env.prompts, local=False)
    facts = {
        "seed": recipe.seed,
        **fingerprints(env, recipe.retriever.to_dict()),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "splits": splits,
        "data": dict(env.task.counts),
    }
    loggers = [build("logger", part) for part in recipe.log]
    if resumes:
        return Run.resume(out, facts, loggers=loggers)
    return Run.create(out, recipe.to_dict(), facts, loggers=loggers)


def _is_first_process() -> bool:
    """Whether this is the only process, or rank 0 of those that `accelerate launch` or torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def _new_folder(name: str) -> Path:
    """A folder named after the time; the ranks of one launch take that of their launcher, so that all agree."""
    from recr1.errors import UserError

    began = datetime.now()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
            raise UserError("--out: missing: on several nodes, each would name a run folder of its own")
        import psutil

        began = datetime.fromtimestamp(psutil.Process(os.getppid()).create_time())
    return Path("runs") / f"{name}-{began:%Y%m%d-%H%M%S}"


def _say(run: Run, line: str) -> None:
    if run.writer:
        say(line)
