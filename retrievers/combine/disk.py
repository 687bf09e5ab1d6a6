"""Hits on disk: an LMDB file, a memory-mapped B-tree that several processes read and write at once.

It has three tables. `hits` maps k and key, the digest of a query in its normal form, to a checksum and the hits.
`names` maps the digest of a query as it was asked to its key, so that its normal form is not made again. `order` has
the keys and names of each write, numbered, so that the oldest can be removed.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Hits
from retrievers.errors import shown

TABLES = (b"hits", b"names", b"order")

MAP_BYTES = 2**40
"""The largest file; addresses cost nothing until they are used."""
READERS = 1024
"""How many threads, of all processes, can read at the same time."""
SHARE = 8
"""One write is at most this part of the file's limit, so that there is always something to remove."""
CHECKSUM, DIGEST, PREFIX = 8, 16, 4
"""Bytes; the prefix of a key is k."""


class HitsFile:
    """The hits of one index by key and k. Usable from several threads and processes; pickled, it is its path.

    Its pages hold at most `most` bytes: the oldest hits are removed. A kill or a power cut loses at most what was being
    written. Raises `ValueError` for a file that is damaged or not LMDB's; every method raises `OSError` where the
    file fails.
    """

    def __init__(self, path: Path, most: int) -> None:
        import lmdb
        import xxhash  # noqa: F401 - loaded before the first step

        self.path, self._most = path, most
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = _open_file(path)
        except _damage() as error:
            raise ValueError(f"disk: {path} is damaged ({error}): delete it, it is filled again") from error
        except lmdb.Error as error:
            raise OSError(f"{path} cannot be used: {error}") from error

    def __reduce__(self) -> tuple[type[HitsFile], tuple[Path, int]]:
        return type(self), (self.path, self._most)

    def get(self, keys: Sequence[bytes], k: int) -> tuple[list[bytes], Hits]:
        """The keys that are known, and their hits; one whose bytes were changed counts as unknown."""
        prefix, width = k.to_bytes(PREFIX), CHECKSUM + 8 * k
        with self._transaction() as (transaction, hits, _, _):
            found = transaction.cursor(hits).getmulti([prefix + key for key in keys])
            names = [bytes(place[len(prefix) :]) for place, record in found if len(record) == width]
            data = b"".join([record for _, record in found if len(record) == width])  # lent by LMDB until here
        data_QW = np.frombuffer(data, np.uint8).reshape(len(names), width)
        whole_Q = _checksums(names, data_QW[:, CHECKSUM:]) == data_QW[:, :CHECKSUM].copy().view("<u8")[:, 0]
        if not whole_Q.all():
            names, data_QW = [names[row] for row in np.flatnonzero(whole_Q)], data_QW[whole_Q]
        scores_at = CHECKSUM + 4 * k
        return names, Hits(data_QW[:, CHECKSUM:scores_at].view("<i4"), data_QW[:, scores_at:].view("<f4"))

    def keys(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """The keys of the queries whose digests are known; one that was changed is left out."""
        with self._transaction() as (transaction, _, table, _):
            found = transaction.cursor(table).getmulti(names)
            return {bytes(name): bytes(key) for name, key in found if len(key) == DIGEST}

    def put(self, keys: Sequence[bytes], names: Sequence[bytes], hits: Hits) -> None:
        """Writes hits of shape (len(keys), k), each found for the query with the digest `names[i]`."""
        k = hits.rows_QK.shape[1]
        rows_QW, scores_QW = hits.rows_QK.astype("<i4").view(np.uint8), hits.scores_QK.astype("<f4").view(np.uint8)
        data_QW = np.hstack([rows_QW, scores_QW])
        records_QW = np.hstack([_checksums(keys, data_QW).astype("<u8")[:, None].view(np.uint8), data_QW])
        at_a_time = max(1, self._most // SHARE // (8 * k + 4096))
        for first in range(0, len(keys), at_a_time):
            some = slice(first, first + at_a_time)
            self._put(keys[some], names[some], [record.tobytes() for record in records_QW[some]], k.to_bytes(PREFIX))

    def _put(self, keys: Sequence[bytes], names: Sequence[bytes], records: Sequence[bytes], prefix: bytes) -> None:
        with self._transaction(write=True) as (transaction, hits, table, order):
            transaction.cursor(hits).putmulti(zip([prefix + key for key in keys], records, strict=True))
            others = [(name, key) for name, key in zip(names, keys, strict=True) if name != key]
            transaction.cursor(table).putmulti(others)
            writes = transaction.cursor(order)
            last = int.from_bytes(writes.key()) if writes.last() else 0
            writes.put((last + 1).to_bytes(8), prefix + b"".join([*keys, *names]))
            while writes.first() and int.from_bytes(writes.key()) <= last and self._used(transaction) > self._most:
                oldest = bytes(writes.value())
                old = [oldest[at : at + DIGEST] for at in range(PREFIX, len(oldest), DIGEST)]
                for key in old[: len(old) // 2]:
                    transaction.delete(oldest[:PREFIX] + key, db=hits)
                for name in old[len(old) // 2 :]:
                    transaction.delete(name, db=table)
                writes.delete()
        self._file.fill_up()

    def _used(self, transaction: Any) -> int:
        """Bytes of all pages in use."""
        stats = [transaction.stat(table) for table in self._file.tables]
        return int(sum(s["psize"] * (s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) for s in stats))

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[tuple[Any, Any, Any, Any]]:
        import lmdb

        try:
            with self._file.begin(write=write) as transaction:
                yield transaction, *self._file.tables
        except _damage() as error:
            raise OSError(f"it is damaged, delete it: {error}") from error
        except lmdb.Error as error:
            raise OSError(str(error)) from error


class _OpenFile:
    """An open LMDB file. A process may open a file only once, so all that use it share this object."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._lmdb: Any = None
        self._open()

    def _open(self) -> None:
        import lmdb

        self._process = os.getpid()
        # A commit waits for its pages and not for the meta page (metasync): a power cut may lose the last hits, and
        # damages nothing.
        sizes: dict[str, Any] = {"map_size": MAP_BYTES, "max_dbs": len(TABLES), "max_readers": READERS}
        self._lmdb = lmdb.open(str(self._path), subdir=False, metasync=False, **sizes)
        try:
            self._lmdb.reader_check()  # removes readers that were killed: they would keep old pages
            self.fill_up()
            self.tables = [self._lmdb.open_db(name) for name in TABLES]
            with self._lmdb.begin() as transaction:
                for table in self.tables:  # the pages that are read on the way to any other
                    transaction.cursor(table).last()
        except BaseException:  # an open file could not be opened again
            self._lmdb.close()
            raise

    def __del__(self) -> None:
        if self._lmdb is not None:
            self._lmdb.close()

    def begin(self, *, write: bool) -> Any:
        """A transaction, whose buffers are valid until it ends; the first one after a fork opens the file again."""
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    self._lmdb.close()
                    self._open()
        return self._lmdb.begin(write=write, buffers=True)

    def fill_up(self) -> None:
        """Makes the file as long as its header says: to read beyond its end would kill the process.

        It can be shorter because LMDB does not write empty last pages.
        """
        size = int((self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"])
        if self._path.stat().st_size < size:
            with self._path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), size - 1, 1)  # cannot cut off what another process wrote


def _damage() -> tuple[type[Exception], ...]:
    """LMDB's errors for a file whose content is wrong."""
    from lmdb import BadTxnError, CorruptedError, InvalidError, PageNotFoundError, VersionMismatchError

    return InvalidError, CorruptedError, PageNotFoundError, VersionMismatchError, BadTxnError


_open_files: weakref.WeakValueDictionary[Path, _OpenFile] = weakref.WeakValueDictionary()
_open_files_lock = threading.Lock()


def _open_file(path: Path) -> _OpenFile:
    with _open_files_lock:
        known = _open_files.get(path.resolve())
        if known is None:
            known = _open_files[path.resolve()] = _OpenFile(path)
        return known


def digests(queries: Iterable[Hashable]) -> list[bytes]:
    """The digest of each query; raises `ValueError` for one that is neither text nor JSON."""
    from xxhash import xxh3_128_digest

    def of_other(query: Hashable) -> bytes:
        try:
            text = json.dumps(query, allow_nan=False)
        except TypeError as error:
            must = "with disk, a query must be a string or a tuple of numbers"
            raise ValueError(f"{must}, got {shown(query)}: {error}") from error
        return xxh3_128_digest(text.encode(), seed=1)  # not the digest of the same characters as a text

    return [
        xxh3_128_digest(query.encode("utf-8", "surrogatepass")) if isinstance(query, str) else of_other(query)
        for query in queries
    ]


def _checksums(keys: Sequence[bytes], data_QW: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A checksum (Q,) of each row and of the key that it belongs to."""
    from xxhash import xxh3_64_intdigest

    sums_Q = np.fromiter(map(xxh3_64_intdigest, data_QW), np.uint64, len(data_QW))
    sums_Q ^= np.frombuffer(b"".join(keys), "<u8")[:: DIGEST // CHECKSUM]
    return sums_Q
