"""Checks that as many processes run as were asked for: accelerate can silently start only one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from recr1.config import yaml12
from recr1.errors import UserError

TWO_ON_A_CPU = (
    "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes {processes} --num_machines 1 "
    "--mixed_precision no --dynamo_backend no -m recr1 train RECIPE"
)


def check_processes() -> None:
    """Raises `UserError` when `accelerate launch` was asked for several processes and started another number."""
    runs = int(os.environ.get("WORLD_SIZE", "1"))
    asked = asked_processes(_command_of_parent()) if runs == 1 else None
    if asked is not None and asked != runs:
        raise UserError(
            f"accelerate was asked for {asked} processes and started {runs}: with --cpu, or a configuration for "
            f"CPUs, it starts only one. On a CPU, this command starts them: {TWO_ON_A_CPU.format(processes=asked)}"
        )


def asked_processes(command: Sequence[str]) -> int | None:
    """How many processes a command line of `accelerate launch` asks for, or its configuration; None for another."""
    if "launch" not in command and not any(part.endswith("accelerate.commands.launch") for part in command):
        return None
    if not any("accelerate" in Path(part).name for part in command):
        return None
    number = _value_of("num_processes", command)
    if number is not None:
        return int(number) if number.isdecimal() else None
    config = _value_of("config_file", command)
    return _configured(Path(config)) if config else _configured(_default_config())


def _value_of(option: str, command: Sequence[str]) -> str | None:
    """The value of `--option value` or `--option=value`, with dashes for underscores or without."""
    for place, part in enumerate(command):
        name, equals, value = part.partition("=")
        if name.startswith("--") and name.removeprefix("--").replace("-", "_") == option:
            return value if equals else next(iter(command[place + 1 :]), None)
    return None


def _configured(path: Path) -> int | None:
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    value = yaml12.read(path.read_text(encoding="utf-8")).value
    number = value.get("num_processes") if isinstance(value, dict) else None
    return number if isinstance(number, int) else None


def _default_config() -> Path:
    """Where `accelerate config` writes."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return home.expanduser() / "accelerate" / "default_config.yaml"


def _command_of_parent() -> list[str]:
    if find_spec("psutil") is None:  # it comes with accelerate
        return []
    import psutil

    try:
        return list(psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return []
