"""The processes of a launch: whether all started, what they agree on, and when a run stops early."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from recr1.config import yaml12
from recr1.env import Step
from recr1.errors import UserError
from retrievers.errors import EngineError

TWO_ON_A_CPU = (
    "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes {processes} --num_machines 1 "
    "--mixed_precision no --dynamo_backend no -m recr1 train RECIPE"
)
WINDOW = 1000
"""The last rollouts that a failure budget is a share of."""


class RankError(UserError):
    """Another process of the launch failed: which one, and how. That one shows where."""


class Ranks:
    """The processes of this launch; `failed` once one of them raised within `together`.

    Each method must be called on every rank, at the same point.
    """

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one rank raises in here is raised on all: itself where it happened, `RankError` elsewhere."""
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is: the other ranks must not wait for this one
            failure = error
        reasons = _gathered(None if failure is None else f"{type(failure).__name__}: {failure}")
        self.failed = self.failed or any(reason is not None for reason in reasons)
        if failure is not None:
            raise failure
        for rank, reason in enumerate(reasons):
            if reason is not None:
                raise RankError(f"rank {rank} failed: {reason}")

    def same(self, step: int) -> None:
        """Raises `UserError` on all ranks unless all resume after the same step."""
        steps = _gathered(step)
        other = next((rank for rank, there in enumerate(steps) if there != steps[0]), None)
        if other is not None:
            raise UserError(
                f"rank 0 resumes after step {steps[0]} and rank {other} after step {steps[other]}: they do not see the "
                "same checkpoints; put the run folder on a disk that all nodes share"
            )

    def first(self, here: object) -> bool:
        """The answer of rank 0, which has the log."""
        return bool(self.of_first(bool(here)))

    def of_first(self, value: Any) -> Any:
        """What rank 0 has, whatever this rank gives."""
        return _gathered(value)[0]

    def any(self, here: object) -> bool:
        """Whether it is so on any rank."""
        return any(_gathered(bool(here)))


def _gathered(value: Any) -> list[Any]:
    from accelerate.utils import gather_object

    gathered: list[Any] = gather_object([value])
    return gathered


class Interrupts:
    """Whether the user, or a scheduler, wants the run to stop."""

    def __init__(self, *, quiet: bool) -> None:
        self.requested = False
        self._quiet = quiet

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within this, the first SIGINT or SIGTERM only sets `requested`; a second stops at once, as Ctrl-C does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._request)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if not self._quiet:
            sys.stderr.write("\nstopping after this step, with a checkpoint; a second signal stops at once\n")
            sys.stderr.flush()


class FailureBudget:
    """Counts rollouts whose search had no answer, over the last `WINDOW`.

    Args:
        share: The share of them that may be without a reward; 0 allows none.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._batches: deque[tuple[int, int]] = deque()

    def spend(self, step: Step, *, alone: bool = True) -> None:
        """Takes a step into account; `alone` if an update learns from nothing else.

        Raises:
            EngineError: With the last fault, when more rollouts than the share allows are without a reward, or all of a
                step that is `alone`.
        """
        lost, size = len(step.faults), len(step.batch)
        self._batches.append((size, lost))
        while sum(size for size, _ in self._batches) - self._batches[0][0] >= WINDOW:
            self._batches.popleft()
        total = sum(lost for _, lost in self._batches)
        if lost and (total > self.share * WINDOW or (alone and lost == size)):
            fault = list(step.faults.values())[-1]
            what = f"{total} of the last {sum(size for size, _ in self._batches)} rollouts have no reward"
            allowed = f"trainer.failure_budget {self.share:g} allows {self.share * WINDOW:g} in {WINDOW}"
            raise EngineError(fault.engine, fault.address, fault.attempts, f"{fault.cause}; {what}, {allowed}")


def check_processes() -> None:
    """Raises `UserError` when `accelerate launch` was asked for several processes and silently started one."""
    if int(os.environ.get("WORLD_SIZE", "1")) != 1:
        return
    asked = asked_processes(_command_of_parent())
    if asked not in (None, 1):
        raise UserError(
            f"accelerate was asked for {asked} processes and started 1: with --cpu, or a configuration for "
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
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    default = home.expanduser() / "accelerate" / "default_config.yaml"  # where `accelerate config` writes
    path = Path(_value_of("config_file", command) or default)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    value = yaml12.read(path.read_text(encoding="utf-8")).value
    configured = value.get("num_processes") if isinstance(value, dict) else None
    return configured if isinstance(configured, int) else None


def _value_of(option: str, command: Sequence[str]) -> str | None:
    """The value of `--option value` or `--option=value`, with dashes for underscores or without."""
    for place, part in enumerate(command):
        name, equals, value = part.partition("=")
        if name.startswith("--") and name.removeprefix("--").replace("-", "_") == option:
            return value if equals else next(iter(command[place + 1 :]), None)
    return None


def _command_of_parent() -> list[str]:
    if find_spec("psutil") is None:  # it comes with accelerate
        return []
    import psutil

    try:
        return list(psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return []
