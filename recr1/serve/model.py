"""The model of `recr1 serve`, in a process of its own: what waits for it, and its end, which nobody else notices.

The process and the server send each other a line of JSON for each batch. A process that ends, is late beyond patience
or writes what cannot be read is killed and started again, after a pause that doubles up to a minute. A process, not a
thread: a model that holds the interpreter's lock, or is stopped, must not hold up an answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recr1.serve.rewriter import FAILED, raw
from recr1.serve.table import Entry, normal
from retrievers.service.paths import Limits

_log = logging.getLogger(__name__)

LOADING = 900.0
"""Seconds for the model to be loaded."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a process is started again; doubled each time that it ended without an answer."""
LINE = 64 * 2**20
"""Bytes of the longest line."""
NOT_READY, FULL = "model not ready", "queue full"
"""Reasons for the raw need, beside those of `recr1.serve.rewriter`."""


@dataclass(frozen=True, kw_only=True)
class RewriteLimits(Limits):
    """The limits of rewriting."""

    bytes: int = 2**20
    deadline: float = 0.15
    """Seconds after which a need is searched as it came."""
    batch: int = 32
    """Needs that the model rewrites together."""
    patience: float = 30.0
    """Seconds for a batch, after which the process is killed."""


@dataclass
class Job:
    """A need that waits for the model."""

    need: str
    deadline: float
    entry: asyncio.Future[Entry]


class Model:
    """Asks the process; used in one event loop.

    Args:
        load: `bundle`, `facts`, and the further options of `Rewriter.load`.
        limits: of the service.
        wrote: is given what the model wrote, also what came too late, and the seconds that it took.
    """

    def __init__(
        self, load: Mapping[str, Any], limits: RewriteLimits, wrote: Callable[[Sequence[Entry], float], None]
    ) -> None:
        self._load, self._limits, self._wrote = load, limits, wrote
        self._waiting: dict[str, Job] = {}
        self._asked: dict[str, Job] = {}
        self._came = asyncio.Event()
        self._pause = FIRST_PAUSE
        self.ready, self.was_ready, self.starts, self.process = False, False, 0, 0
        self.refused: str | None = None
        """Why the process could never start: an option, or a file, that the user can correct."""

    @property
    def waiting(self) -> int:
        """How many needs wait."""
        return len(self._waiting)

    def ask(self, need: str, deadline: float) -> Entry | asyncio.Future[Entry]:
        """What the model will write, also where it is asked for already; the raw need where it cannot be asked."""
        if not self.ready:
            return raw(need, NOT_READY)
        key = normal(need)
        job = self._asked.get(key) or self._waiting.get(key)
        if job is None:
            if len(self._waiting) >= self._limits.waiting and not self._drop_a_late_one():
                return raw(need, FULL)
            job = self._waiting[key] = Job(need, deadline, asyncio.get_running_loop().create_future())
            self._came.set()
        job.deadline = max(job.deadline, deadline)
        return job.entry

    async def run(self) -> None:
        """Starts the process, again and again, until it is cancelled or the user has to correct something."""
        while self.refused is None:
            try:
                await self._run_once()
            except (OSError, EOFError, ValueError, TypeError, LookupError) as error:
                _log.warning("the model's process is started again in %g s: %s", self._pause, str(error) or "it hangs")
            finally:
                self.ready = False
                self._end([*self._asked.values(), *self._waiting.values()])
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _run_once(self) -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE)
        try:
            with theirs:
                command, fd = [sys.executable, "-m", "recr1.serve.process"], theirs.fileno()
                # In a session of its own: Ctrl-C is for the server, which ends it.
                process = await asyncio.create_subprocess_exec(
                    *command, str(fd), pass_fds=[fd], start_new_session=True, stdin=asyncio.subprocess.DEVNULL
                )
            await self._serve(process, reader, writer)
        finally:
            writer.close()

    async def _serve(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.starts, self.process = self.starts + 1, process.pid
        ended = asyncio.create_task(process.wait())
        ended.add_done_callback(lambda _: self._came.set())
        try:
            answer = await _exchange(reader, writer, self._load, LOADING)
            if "refused" in answer:
                if self.was_ready:  # table and cache are still answered
                    raise ValueError(answer["refused"])
                self.refused = str(answer["refused"])
                return
            self.ready = self.was_ready = True
            while True:
                await self._came.wait()
                if ended.done():
                    raise EOFError(f"it ended with status {process.returncode}")
                await asyncio.sleep(self._limits.window)
                await self._ask_next(reader, writer)
        finally:
            if not ended.done():
                process.kill()
            await ended

    async def _ask_next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now, began = time.monotonic(), time.perf_counter()
        jobs = sorted(self._waiting.values(), key=lambda job: job.deadline < now)[: self._limits.batch]
        self._asked = {key: self._waiting.pop(key) for key in [normal(job.need) for job in jobs]}
        if not self._waiting:
            self._came.clear()
        if not jobs:
            return
        answer = await _exchange(reader, writer, [job.need for job in jobs], self._limits.patience)
        entries = [Entry(*row) for row in answer]
        if [entry.query for entry in entries] != [job.need for job in jobs]:
            raise ValueError("it answered other needs than it was asked")
        self._pause = FIRST_PAUSE
        self._wrote(entries, time.perf_counter() - began)
        for job, entry in zip(jobs, entries, strict=True):
            job.entry.set_result(entry)
        self._asked = {}

    def _drop_a_late_one(self) -> bool:
        """Make room by a need that nobody waits for any more, if there is one."""
        now = time.monotonic()
        late = next((key for key, job in self._waiting.items() if job.deadline < now), None)
        return late is not None and self._waiting.pop(late) is not None

    def _end(self, jobs: Sequence[Job]) -> None:
        """Answer with the raw need what was asked of a process that is no more."""
        for job in jobs:
            job.entry.set_result(raw(job.need, FAILED))
        self._asked, self._waiting = {}, {}
        self._came.clear()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Any, seconds: float) -> Any:
    writer.write(json.dumps(asked).encode() + b"\n")
    line = await asyncio.wait_for(reader.readline(), seconds)
    if not line.endswith(b"\n"):
        raise EOFError("it ended")
    return json.loads(line)
