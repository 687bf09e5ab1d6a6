"""Indexes and embeddings on disk: built once, opened memory-mapped by every process, never used when damaged.

A store is a folder with one folder per entry, named by what the entry was made from: the content of the catalog and
every option that changes a ranking. So an entry is never out of date or of other settings. It is written next to its
place and moved there in one step when it is complete; one process writes, others wait.

Next to each entry is an empty file, `NAME.used`. A process that has the entry open holds a shared lock on it, which the
system releases when the process ends. Its modification time is when the entry was last opened.
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

FORMAT = 1
"""Part of each entry's name: raised when the content of entries changes, so that older ones are not used."""
MANIFEST = "entry.json"
"""What an entry was made from and what its files are; written last."""
END_BYTES = 2**16
Key = Mapping[str, Any]
"""What an entry was made from, as JSON."""

_log = logging.getLogger(__name__)


def expanded(path: str | Path) -> Path:
    """The path with `~` replaced. That of an unknown user stays, and then does not exist; pathlib would raise."""
    return Path(os.path.expanduser(path))


class Entry:
    """One complete, read-only index on disk. `recr1 store --prune` does not remove it while this object exists.

    Pickled, it is its path: another process opens the same pages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (held := hold(folder)) is not None:
            weakref.finalize(self, os.close, held)

    def __reduce__(self) -> tuple[type[Entry], tuple[Path]]:
        return Entry, (self.folder,)

    def array(self, name: str) -> NDArray[Any]:
        """An array that was saved with `save_array`, memory-mapped: read when it is used, shared by all processes.

        Writing to it changes a private copy; it is not marked read-only because numba would compile again for that.
        """
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))

    def lines(self, name: str) -> list[str]:
        """The strings that were saved with `save_lines`."""
        text = (self.folder / f"{name}.txt").read_bytes().decode("utf-8", "surrogatepass")
        return text.split("\n")[:-1]


class Store:
    """A folder of entries, made when it is first written to. Several processes may use it at once.

    "auto" is the folder that the environment variable RECR1_CACHE names, or else ~/.cache/recr1.
    """

    def __init__(self, folder: str | Path = "auto") -> None:
        if folder == "auto":
            folder = os.environ.get("RECR1_CACHE") or "~/.cache/recr1"
        self.folder = expanded(folder)

    def place(self, kind: str, key: Key) -> Path:
        """The folder of an entry, whether or not it exists."""
        digest = hashlib.sha256(json.dumps([FORMAT, _plain(key)], sort_keys=True).encode()).hexdigest()
        return self.folder / f"{kind}-{digest[:20]}"

    def open(self, kind: str, key: Key, write: Callable[[Path], None], *, resumes: bool = False) -> Entry:
        """The entry of a key, built first unless it is there and complete.

        A damaged entry, or one made from something else, is logged, removed and built again. While another process
        builds the entry, this one waits. Reading does not need the right to write: a team can share a store.

        `kind` begins the entry's name ("bm25"), and `key` is everything that the content depends on. `write` fills an
        empty folder with the entry's files; with `resumes` it can resume in the folder that a killed process left.
        Raises `OSError` where the folder cannot be written, or is full.
        """
        folder = self.place(kind, key)
        entry = Entry(folder)  # held before it is checked, so that no process removes it
        if _fault(folder, key) is None:
            return entry
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = Entry(folder)
        with _alone(folder):
            if (fault := _fault(folder, key)) is not None:  # else another process has just built it
                if folder.exists():
                    _log.warning("%s is not used and built again: %s", folder, fault)
                    shutil.rmtree(folder)
                _fill(folder, key, write, resumes=resumes)
        return entry


def save_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    """Saves an array for `Entry.array`."""
    np.save(folder / f"{name}.npy", values, allow_pickle=False)


def save_lines(folder: Path, name: str, lines: Sequence[str]) -> None:
    """Saves strings without line ends for `Entry.lines`."""
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"{name}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))


def _alone(folder: Path) -> AbstractContextManager[object]:
    """Holds the lock of an entry, which the system releases when a process dies; logs when it must wait."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another process builds %s: waiting for it", folder)
        return lock.acquire()


def _fill(folder: Path, key: Key, write: Callable[[Path], None], *, resumes: bool) -> None:
    """Writes an entry next to its place and moves it there; the lock is held."""
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
    for path in (*partial.iterdir(), partial):  # the content must be on disk before the name
        sync(path)
    partial.rename(folder)
    sync(folder.parent)


def _fault(folder: Path, key: Key) -> str | None:
    """Why an entry cannot be used; None if it is complete and made from this key."""
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
    return next(filter(None, (_file_fault(folder / name, expected) for name, expected in files.items())), None)


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


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(key: Key) -> Any:
    """A key as it reads back from JSON: tuples are lists."""
    return json.loads(json.dumps(key))


def used_file(folder: Path) -> Path:
    """The file whose lock and time say that an entry is in use, and when it was last opened."""
    return folder.with_name(f"{folder.name}.used")


def hold(folder: Path) -> int | None:
    """Marks an entry as used until the descriptor is closed; waits for a running removal.

    None where that is impossible: a read-only store without the file, a file system without locks. On Linux and macOS
    a removed file can still be read while it is memory-mapped.
    """
    with suppress(ImportError, OSError):
        import fcntl  # not on Windows, where a file that is open cannot be removed

        handle = _opened(used_file(folder))
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
        except OSError:
            os.close(handle)
            return None
        with suppress(OSError):
            os.utime(handle)
        return handle
    return None


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether no process uses an entry; none can begin to until the end of the block."""
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
    """A descriptor of the file, which is made if it is missing; read-only without the right to write."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return os.open(path, os.O_RDONLY)
