"""What TRL's own configs refuse of a recipe, before data or a model is opened: a value beside another, most of all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from recr1.config.build import find_class
from recr1.recipe import Recipe
from recr1.trainers.base import TRLTrainer
from recr1.trainers.trl.options import trl_options
from retrievers.options import Problem
from retrievers.parts import left_out

OF_THE_MACHINE = frozenset(
    "accelerator_config deepspeed fsdp fsdp_config parallelism_config tf32 torch_compile torch_compile_backend "
    "torch_compile_mode".split()
)
"""Keys that are left out: what TRL says of them depends on libraries and hardware, and those may be elsewhere."""
SCRIPT = Path(__file__).with_name("built.py")
PATIENCE = 60.0
"""Seconds for an answer."""


def config_problems(recipe: Recipe, processes: int, remarks: list[str] | None = None) -> list[Problem]:
    """What TRL's configs refuse of the trainers of a recipe that is sound otherwise, for a number of processes.

    Where they cannot be asked, that is a line in `remarks`. A trainer without keys of TRL has its defaults.
    """
    asked, requests = [], []
    for path, part in zip(recipe.stage_paths, recipe.stages, strict=True):
        if left_out(path) or not (trl := part.options.get("trl")):
            continue
        cls = find_class("trainer", part.type)
        if issubclass(cls, TRLTrainer) and trl_options(cls.config):
            asked.append((f"{path}.trl", cls.config, trl))
            keys = {key: value for key, value in cls.config_keys(trl).items() if key not in OF_THE_MACHINE}
            requests.append((cls.config, {"output_dir": "", "max_steps": part.options["steps"], **keys}, processes))
    refusals, why = _ask(json.dumps(requests)) if requests else ([], "")
    if refusals is None:
        if remarks is not None:
            remarks.append(f"whether values of trl: fit each other, as TRL's config cannot be built here: {why}")
        return []
    pairs = zip(asked, refusals, strict=True)
    return [_problem(path, config, trl, processes, text) for (path, config, trl), text in pairs if text]


@cache
def _ask(requests: str) -> tuple[list[str | None] | None, str]:
    """What each config refuses, or None and why that is not known."""
    command = [sys.executable, "-P", str(SCRIPT)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    io: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8", "env": env}
    try:
        done = subprocess.run(command, input=requests, timeout=PATIENCE, check=True, **io)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PATIENCE:g} s"
    except subprocess.CalledProcessError as error:
        return None, (error.stderr.strip().splitlines() or ["no reason given"])[-1]
    answers: list[str | None] = json.loads(done.stdout)
    return answers, ""


def _problem(path: str, config: str, trl: Mapping[str, Any], processes: int, refusal: str) -> Problem:
    """A refusal at the key that it is about: of those that it names, the last that the recipe sets."""
    named = [key for key in trl_options(config) if re.search(rf"\b{key}\b", refusal)]
    key: str | None = next((key for key in reversed(list(trl)) if key in named), None)
    if batch := re.search(r"generation_batch_size \((\d+)\) must be divisible by num_generations \((\d+)\)", refusal):
        of = "1 process" if processes == 1 else f"{processes} processes"
        text = (
            f"a batch of {batch[1]} completions ({of}) cannot be divided into groups of {batch[2]}: change "
            "this, per_device_train_batch_size, gradient_accumulation_steps or the number of processes (recr1 check "
            "--processes N)"
        )
        return Problem(f"{path}.{key or 'per_device_train_batch_size'}", text)
    text = re.sub(r"--(?=\w)", "", " ".join(refusal.split()))  # TRL's own command line
    return Problem(f"{path}.{key}" if key else path, f"{config} refuses it: {text}")
