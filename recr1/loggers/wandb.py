"""Weights & Biases, and how far its offline files reach."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any, Literal

from recr1.errors import MissingLibrary, UserError
from recr1.loggers.base import BufferedLogger, Cell
from retrievers.remote.address import address_problems

ID_FILE = "run_id"
"""A file beside W&B's own in the run folder, with the run's id in W&B, for resuming."""
BINS = 32
BLOCK, HEADER, OPENING = 32768, 7, 7
"""Bytes of LevelDB's log format, in which W&B writes offline."""
WHOLE, LAST = 1, 4  # kinds of pieces that end a record


class WandbLogger(BufferedLogger):
    """Weights & Biases. Its files go into the run folder; `offline` needs no account and no network.

    Args:
        project: the project that the run belongs to.
        entity: user or team; W&B's default when null.
        name: the run's name; that of the run folder when null.
        group: runs shown together, such as the seeds of one recipe.
        tags: labels.
        mode: the variable WANDB_MODE, or W&B's default, when null.
    """

    def __init__(
        self,
        *,
        project: str = "recr1",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        """Keep the options; they are W&B's own. Raises `MissingLibrary` when wandb is not installed."""
        if find_spec("wandb") is None:
            raise MissingLibrary("wandb", "wandb", "logging to W&B")
        super().__init__()
        self.project, self.entity, self.name, self.group, self.mode = project, entity, name, group, mode
        self.tags = list(tags or [])
        self._path = Path()

    @staticmethod
    def check_options(_: Mapping[str, Any]) -> list[str]:
        """What is wrong with the address of W&B's server: the library cannot be imported with one that cannot be."""
        host = os.environ.get("WANDB_BASE_URL")
        wrong = address_problems(host) if host else []  # each ends in the address, which may hold a password
        return [f"the environment variable WANDB_BASE_URL {what.partition(', got ')[0]}" for what in wrong]

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the W&B run, with its files under `run_path`; raises `UserError` when W&B refuses (no login)."""
        import wandb

        id_file = run_path / "wandb" / ID_FILE
        known = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=self.name or run_path.resolve().name,
                group=self.group,
                tags=self.tags,
                mode=self.mode,
                dir=str(run_path),
                config=dict(config),
                id=known,
                resume="allow" if known else None,
            )
        except (wandb.errors.UsageError, wandb.errors.CommError) as error:
            raise UserError(f"W&B did not start: {error} (log in, or set `mode: offline`)") from error
        self._path, self._next = run_path, int(self._run.starting_step)
        if known:
            self._next = max(self._next, last_step(run_path, known) + 1)
        elif self._run.id:
            id_file.parent.mkdir(exist_ok=True)
            id_file.write_text(f"{self._run.id}\n", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the numbers of a step within seconds, with the current time."""
        assert self._run is not None, "log() before start()"
        self._buffer.add(partial(self._send, step, {**metrics, "_timestamp": time()}))

    def _numbers(self, logged: Mapping[str, float | None]) -> dict[str, float]:
        return {name: float("nan") if value is None else value for name, value in logged.items()}

    def _table(self, columns: list[str], rows: list[list[Cell]]) -> Any:
        import wandb

        return wandb.Table(columns=columns, data=rows)

    def _histogram(self, values: Sequence[float]) -> Any:
        import numpy as np
        import wandb

        return wandb.Histogram(np_histogram=np.histogram(values, bins=BINS))

    def alert(self, title: str, text: str) -> None:
        """Send a W&B alert, by mail or Slack, as the user's settings in W&B say."""
        assert self._run is not None, "alert() before start()"
        self._buffer.flush()
        self._run.alert(title=title[-63:], text=text, level="WARN")

    def finish(self, status: str) -> None:
        """Attach the run card and close the W&B run: W&B shows any status but "finished" as a failure."""
        if self._run is not None:
            import wandb

            self._buffer.flush()
            self._run.summary["status"] = status
            card = wandb.Artifact(f"run-card-{self._run.id}", type="run-card")
            for path in (self._path / "run.json", self._path / "recipe.yaml"):
                if path.exists():
                    card.add_file(str(path))
            self._run.log_artifact(card)
            self._run.finish(exit_code=0 if status == "finished" else 1)
            self._run = None


def last_step(folder: Path, run_id: str) -> int:
    """The last step in the offline files of a run, below `folder`; -1 without any.

    A killed process loses what W&B had not written to disk.
    """
    files = folder.glob(f"wandb/offline-run-*-{run_id}/*.wandb")
    records = (record for file in files for record in offline_records(file))
    steps = (int(one.history.step.num) for one in records if one.WhichOneof("record_type") == "history")
    return max(steps, default=-1)


def offline_records(file: Path) -> Iterator[Any]:
    """The records of an offline file in order, without an incomplete one at its end.

    The format is LevelDB's log: blocks of 32 KiB, in them pieces with a checksum, a length and a kind.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, payload = file.read_bytes(), OPENING, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # a block ends in padding where no header fits
            at += BLOCK - at % BLOCK
            continue
        _checksum, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        piece = data[at + HEADER : at + HEADER + size]
        if len(piece) < size or kind == 0:
            return
        payload += piece
        at += HEADER + size
        if kind in (WHOLE, LAST):
            yield Record.FromString(payload)
            payload = b""
