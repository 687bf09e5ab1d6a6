"""Indexes and embeddings on disk: built once, opened memory-mapped by every process, never used when damaged.

A store is a folder with one folder per entry, named by what the entry was made from: the content of the catalog and
every option that changes a ranking. So an entry is never out of date, and two catalogs or settings never meet.
An entry is written next to its place and moved there in one step when it is complete; one process writes, others wait.

Next to each entry is an empty file, `NAME.used`. A process that has the entry open holds a shared lock on it, which the
system releases when the process ends. Its time of change is when the entry was opened last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARIABLE = "RECR1_CACHE"
"""The environment variable that names the folder of `store: auto`."""

DEFAULT_FOLDER = "~/.cache/recr1"
"""The folder of `store: auto` where that variable is not set."""

FORMAT = 1
"""Part of each entry's name: raised when the content of entries changes, so that older ones are not used."""

MANIFEST = "entry.json"
"""What an entry was made from and what its files are; written last."""

END_BYTES = 2**16

Key = Mapping[str, Any]
"""What an entry was made from, as JSON."""

_log = logging.getLogger(__name__)


class Entry:
    """One index on disk, whole and read-only. Pickled, it is its path: another process opens the same pages.

    As long as the object lives, `recr1 store --prune` leaves the index alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        held = hold(folder)
        if held is not None:
            weakref.finalize(self, os.close, held)

    def __reduce__(self) -> tuple[type[Entry], tuple[Path]]:
        return Entry, (self.folder,)

    def array(self, name: str) -> NDArray[Any]:
        """An array that was saved with `save_array`, memory-mapped: read when it is used, shared by all processes.

        Writing to it changes no other process's array; it is not marked read-only because code would be compiled again
        for such arrays.
        """
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))

    def lines(self, name: str) -> list[str]:
        """The strings that were saved with `save_lines`."""
        text = (self.folder / f"{name}.txt").read_bytes().decode("utf-8", "surrogatepass")
        return text.split("\n")[:-1]


class Store:
    """A folder of entries. Several processes may use it at once.

    Args:
        folder: where it is, made when it is first written to; "auto" is the folder that the environment variable
            RECR1_CACHE names, or else ~/.cache/recr1.
    """

    def __init__(self, folder: str | Path = "auto") -> None:
        if folder == "auto":
            folder = os.environ.get(VARIABLE) or DEFAULT_FOLDER
        self.folder = Path(folder).expanduser()

    def place(self, kind: str, key: Key) -> Path:
        """The folder of an entry, there or not."""
        digest = hashlib.sha256(json.dumps([FORMAT, _plain(key)], sort_keys=True).encode()).hexdigest()
        return self.folder / f"{kind}-{digest[:20]}"

    def open(self, kind: str, key: Key, write: Callable[[Path], None], *, resumes: bool = False) -> Entry:
        """The entry of a key, built first where there is none that is whole.

        A damaged entry, or one made from something else, is logged, removed and built again. While another process
        builds the entry, this one waits. Reading does not need the right to write: a team can share a store.

        Args:
            kind: the first part of the entry's name, for people: "bm25".
            key: everything that the content depends on.
            write: fills an empty folder with the entry's files.
            resumes: whether `write` can resume in the folder that a killed process left.

        Raises:
            OSError: where the folder cannot be written, or is full.
        """
        folder = self.place(kind, key)
        entry = Entry(folder)  # held before it is looked at: from here on nobody removes it
        if _fault(folder, key) is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            entry = Entry(folder)
            self._build(folder, key, write, resumes=resumes)
        return entry

    def _build(self, folder: Path, key: Key, write: Callable[[Path], None], *, resumes: bool) -> None:
        with _alone(folder):
            fault = _fault(folder, key)
            if fault is None:  # the process that was waited for has built it
                return
            if folder.exists():
                _log.warning("%s is not used and built again: %s", folder, fault)
                shutil.rmtree(folder)
            _fill(folder, key, write, resumes=resumes)


def save_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    """Saves an array for `Entry.array`."""
    np.save(folder / f"{name}.npy", values, allow_pickle=False)


def save_lines(folder: Path, name: str, lines: Sequence[str]) -> None:
    """Saves strings without line ends for `Entry.lines`."""
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"{name}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))


def _alone(folder: Path) -> AbstractContextManager[object]:
    """Holds the lock of an entry, which the system takes back from a process that dies; says so where it must wait."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another process builds %s: waiting for it", folder)
        return lock.acquire()


def _fill(folder: Path, key: Key, write: Callable[[Path], None], *, resumes: bool) -> None:
    """Writes an entry beside its place and moves it there; the lock is held."""
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.exists() and not resumes:
        shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    try:
        write(partial)
    except BaseException:
        if not resumes:
            shutil.rmtree(partial)
        raise
    files = {path.name: _measured(path) for path in sorted(partial.iterdir()) if path.name != MANIFEST}
    manifest = {"key": _plain(key), "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for path in (*partial.iterdir(), partial):  # a name must not reach the disk before what it names
        _sync(path)
    partial.rename(folder)
    _sync(folder.parent)


def _fault(folder: Path, key: Key) -> str | None:
    """Why an entry cannot be used, or None: it is whole and made from this key."""
    if not folder.is_dir():
        return "it does not exist"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known, files = manifest["key"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__}: {error})"
    if known != _plain(key):
        differ = [name for name in {**known, **key} if known.get(name) != _plain(key).get(name)]
        return f"it was made from something else ({', '.join(differ)})"
    for name, expected in files.items():
        fault = _file_fault(folder / name, expected)
        if fault:
            return fault
    return None


def _file_fault(path: Path, expected: Mapping[str, int]) -> str | None:
    try:
        measured = _measured(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    if measured["bytes"] != expected["bytes"]:
        return f"{path.name} has {measured['bytes']} bytes instead of {expected['bytes']}"
    return None if measured == expected else f"{path.name} is not the file that was written"


def _measured(path: Path) -> dict[str, int]:
    """The size of a file and a checksum of its two ends: all of a large one would take longer than to use it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        checksum = zlib.crc32(file.read(END_BYTES))
        file.seek(max(0, size - END_BYTES))
        checksum = zlib.crc32(file.read(END_BYTES), checksum)
    return {"bytes": size, "ends": checksum}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(key: Key) -> Any:
    """A key as it reads back from JSON: tuples are lists."""
    return json.loads(json.dumps(key))


def used_file(folder: Path) -> Path:
    """The file that says who uses an entry, and since when."""
    return folder.with_name(f"{folder.name}.used")


def hold(folder: Path) -> int | None:
    """Marks an entry as used until the descriptor is closed; waits for a removal that is under way.

    None where that cannot be: a store that may only be read and that nobody marked before, a file system without locks.
    What is memory-mapped can be searched to its end all the same, wherever a removed file lives on while it is open.
    """
    with suppress(ImportError, OSError):
        import fcntl  # not on Windows, where a file that is open cannot be removed

        handle = _opened(used_file(folder))
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
        except OSError:
            os.close(handle)
            raise
        with suppress(OSError):
            os.utime(handle)
        return handle
    return None


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses an entry; until the end of the block nobody can start to."""
    try:
        import fcntl
    except ImportError:
        yield True
        return
    handle = _opened(used_file(folder))
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """A descriptor of the file, which is made if it is missing; the right to read is enough."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return os.open(path, os.O_RDONLY)
