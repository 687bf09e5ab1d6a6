"""Which of two lists a person found better: a file that only grows, a line of JSON for each mark."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from recr1.errors import DataError, UserError
from recr1.runs import writing
from recr1.runs.files import append_lines
from retrievers.store import expanded, sync

BETTER = ("raw", "rewritten", "same")
_BEGIN = b'{"need": '


class Mark(NamedTuple):
    """What a person said of two lists."""

    need: str
    raw: str
    """The query of one list."""
    rewritten: str
    """The query of the other."""
    retriever: str
    better: str
    """One of `BETTER`."""
    time: str
    """UTC, ISO 8601."""
    blind: bool
    """Whether the person did not know which list was which."""
    by: str
    """The bundle or run that wrote the rewritten query."""


class Marks:
    """The marks of a file."""

    def __init__(self, path: str | Path) -> None:
        """Raises `UserError` for a file of something else, which stays as it is, and where none can be written."""
        self.path, self._lock = expanded(path), threading.Lock()
        if self.path.is_dir() or not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise UserError(f"--marks {path}: no file can be written there: name another one")
        self.tally()

    def add(self, mark: Mark) -> dict[str, int]:
        """Write a mark, and return the tally once it is on the disk; raises `RunError` where it cannot be written."""
        with self._lock, writing(self.path):
            self.tally()
            append_lines(self.path, [mark._asdict()])
            sync(self.path)
            return self.tally()

    def tally(self) -> dict[str, int]:
        """How many pairs of lists each of `BETTER` has; of a pair that was marked again, the last mark counts.

        Cuts off a mark that a kill or a full disk left half written; raises `DataError` for any other line.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, half = content.split(b"\n")
        count = Counter(dict(self._read(number, line) for number, line in enumerate(lines, start=1)).values())
        if half[: len(_BEGIN)] != _BEGIN[: len(half)]:
            raise DataError(self.path, len(lines) + 1, "is not a mark: name another file with --marks")
        if half:
            os.truncate(self.path, len(content) - len(half))
        return {better: count[better] for better in BETTER}

    def _read(self, number: int, line: bytes) -> tuple[tuple[str, ...], str]:
        """The pair of lists of a mark, and which one was better."""
        try:
            mark = Mark(**json.loads(line))
            return tuple(map(str, (mark.need, mark.rewritten, mark.retriever))), BETTER[BETTER.index(mark.better)]
        except (ValueError, TypeError) as error:
            raise DataError(self.path, number, f"is not a mark ({error}): name another file with --marks") from error
