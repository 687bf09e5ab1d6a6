"""What every logger must do."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

from recr1.loggers import Logger, SupportsResume
from recr1.runs import Run
from recr1.runs.run import Status

Steps: TypeAlias = Sequence[tuple[int, Mapping[str, float]]]
"""What a run logs: each step with its numbers."""


class LoggerContract:
    """Inherit, and write `build` and `numbers`."""

    def build(self, run: Path) -> Logger:
        """A new logger for the run in this folder, with the same options each time."""
        raise NotImplementedError(f"{type(self).__name__}.build must return the logger")

    def numbers(self, run: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
        """What the service has of the run in this folder, which is closed: each step with its numbers, in order."""
        raise NotImplementedError(f"{type(self).__name__}.numbers must read back what was logged")

    def test_it_has_the_numbers_of_every_step(self, tmp_path: Path) -> None:
        """Under their names, in single precision or better, in order; each run its own."""
        for name in ("one", "two"):
            self._log(self._begun(tmp_path / name), _steps(name, 20))
        for name in ("one", "two"):
            self._check(tmp_path / name, _steps(name, 20))

    def test_it_takes_every_kind_of_record(self, tmp_path: Path) -> None:
        """NaN, histograms, tables, alerts: no number is lost and none is added."""
        run = self._begun(tmp_path / "run")
        run.log(1, {"train/odd": math.nan, "train/high": math.inf, "train/reward": 0.5})
        run.log_histograms(1, {"train/histogram/rank": [1, 1, 3], "train/histogram/empty": []})
        row = {"need": "n1", "query": "red | mug\n", "rank before": None, "rank after": 2, "parts": {"nDCG@10": 0.5}}
        run.log_queries(1, "validation", [{**row, "titles": ["a", "b|c"]}])
        run.alert(1, "warning: entropy", {"text": "entropy 0.001"})
        self._log(run, [(2, {"train/reward": 0.75})], "failed")
        self._check(tmp_path / "run", [(1, {"train/reward": 0.5}), (2, {"train/reward": 0.75})])

    def test_a_run_may_end_before_its_first_number(self, tmp_path: Path) -> None:
        """However it ends."""
        for status in ("finished", "interrupted", "failed"):
            self._log(self._begun(tmp_path / status), [], status)
            self._check(tmp_path / status, [])

    def test_a_resumed_run_is_one_run(self, tmp_path: Path) -> None:
        """With every step; with each of them once, if the logger is `SupportsResume`."""
        folder, steps = tmp_path / "run", _steps("run", 7)
        self._log(self._begun(folder), steps[:5], "interrupted")
        logger = self.build(folder)
        run = Run.resume(folder, {"seed": 0}, loggers=[logger])
        run.rewind(2)
        self._log(run, steps[3:])
        self._check(folder, steps, once=isinstance(logger, SupportsResume))

    def test_no_secret_is_written(self, tmp_path: Path) -> None:
        """No value of an environment variable, where tokens are: run folders are shared."""
        secret = "s3cret-0f-a-test"
        with patch.dict(os.environ, RECR1_TEST_TOKEN=secret):
            self._log(self._begun(tmp_path / "run"), _steps("run", 1))
        for file in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert secret.encode() not in file.read_bytes(), f"{file} has the value of an environment variable"

    def _begun(self, folder: Path) -> Run:
        return Run.create(folder, {"seed": 0, "task": {"type": "toy"}}, {"seed": 0}, loggers=[self.build(folder)])

    @staticmethod
    def _log(run: Run, steps: Steps, status: Status = "finished") -> None:
        for step, numbers in steps:
            run.log(step, numbers)
        run.finish(status)

    def _check(self, folder: Path, steps: Steps, *, once: bool = True) -> None:
        found = [(step, {n: v for n, v in numbers.items() if _is_number(v)}) for step, numbers in self.numbers(folder)]
        found = found if once else sorted(dict(found).items())
        logged = [step for step, _ in found]
        assert logged == [step for step, _ in steps], f"got the steps {logged}"
        for (step, got), (_, expected) in zip(found, steps, strict=True):
            assert got.keys() == expected.keys(), f"step {step}: expected {sorted(expected)}, got {sorted(got)}"
            for name, value in expected.items():
                assert math.isclose(got[name], value, rel_tol=1e-6), f"step {step}: {name} is {value}, got {got[name]}"


def _steps(name: str, count: int) -> list[tuple[int, dict[str, float]]]:
    return [(n, {"train/reward": n / 7, "eval/test/nDCG(gain=task)@10": n / 8 + len(name)}) for n in range(count)]


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)
