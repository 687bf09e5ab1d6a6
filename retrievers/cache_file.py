"""Hits on disk: a file of SQLite, which is in the standard library and lets several processes read and write."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from retrievers.base import Floats, Rows

WAIT = 60.0
"""Seconds to wait for another process that writes."""

AT_A_TIME = 500
"""Keys of one query to SQLite, which takes 999 parameters where it is old."""

_SCHEMA = """\
CREATE TABLE IF NOT EXISTS hits
(k INTEGER, query BLOB, checksum INTEGER, rows BLOB, scores BLOB, PRIMARY KEY (k, query))
"""

RowOfHits: TypeAlias = tuple[Rows, Floats]
"""The hits (k,), (k,) of one query."""


class HitsFile:
    """The hits of one index by query and k. Usable from several threads and processes; pickled, it is its path.

    Raises `ValueError` for a file that is damaged or not SQLite's, `OSError` for a folder that cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:
                self._connect().execute("SELECT count(*) FROM hits WHERE k = 0").fetchone()
        except sqlite3.OperationalError as error:
            raise OSError(f"{path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"disk: {path} is damaged ({error}): delete it, it is filled again") from error

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._start()

    def get(self, keys: Sequence[Hashable], k: int) -> dict[Hashable, RowOfHits]:
        """The hits of those keys that are kept whole; one whose bytes were changed counts as not kept."""
        key_of = {_digest(key): key for key in keys}
        found = {}
        with self._lock:
            for name, checksum, rows, scores in self._select(list(key_of), k):
                if zlib.crc32(rows + scores) == checksum and len(rows) == len(scores) == 4 * k:
                    found[key_of[name]] = np.frombuffer(rows, "<i4"), np.frombuffer(scores, "<f4")
        return found

    def put(self, hits: Mapping[Hashable, RowOfHits], k: int) -> None:
        """Keeps hits; those of a key that is there are replaced."""
        lines = []
        for key, (rows_K, scores_K) in hits.items():
            rows, scores = rows_K.astype("<i4").tobytes(), scores_K.astype("<f4").tobytes()
            lines.append((k, _digest(key), zlib.crc32(rows + scores), rows, scores))
        with self._lock, self._connect() as connection:
            connection.executemany("INSERT OR REPLACE INTO hits VALUES (?, ?, ?, ?, ?)", lines)

    def _select(self, names: list[bytes], k: int) -> Iterator[tuple[bytes, int, bytes, bytes]]:
        for first in range(0, len(names), AT_A_TIME):
            some = names[first : first + AT_A_TIME]
            marks = ", ".join("?" * len(some))
            command = f"SELECT query, checksum, rows, scores FROM hits WHERE k = ? AND query IN ({marks})"
            yield from self._connect().execute(command, (k, *some))

    def _connect(self) -> sqlite3.Connection:
        """This process's connection: one that was carried through a fork would damage the file."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), _connection(self.path)
        return self._open[1]


def _connection(path: Path) -> sqlite3.Connection:
    from filelock import FileLock

    connection = sqlite3.connect(path, timeout=WAIT, check_same_thread=False)
    # Two processes that switch a new file to its log at once do not wait for each other by themselves.
    with FileLock(f"{path}.lock"):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last hits, and damages nothing
        with connection:
            connection.execute(_SCHEMA)
    return connection


def _digest(key: Hashable) -> bytes:
    """A name for a key of any length; raises `ValueError` for one that has no place on disk."""
    try:
        text = json.dumps(key, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"a query is kept on disk as text or a tuple of numbers, not as {key!r}: {error}") from error
    return hashlib.sha256(text.encode()).digest()
