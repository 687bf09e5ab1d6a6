"""Who uses an entry of a store: held while it is open, so that nobody removes it from under a search.

Beside each entry lies an empty file, `NAME.used`. A process that has the entry open holds it with a shared lock, which
the system takes back when the process ends; when it was changed last is when the entry was opened last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
    """Whether nobody uses an entry; as long as this lasts nobody can begin to."""
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
    """A descriptor of the file, made where it is missing and may be; the right to read it is enough."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return os.open(path, os.O_RDONLY)
