"""Processes that tests start as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


def begin(command: Sequence[object], **env: str) -> subprocess.Popen[str]:
    """A process in the root of the project, with one thread, whose output is read; Ctrl-C stops it.

    A shell lets its background jobs ignore Ctrl-C, and they hand that on: it begins as in a terminal.
    """
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        preexec_fn=heed,  # noqa: PLW1509 - it sets one handler
    )


@contextmanager
def plain_user() -> Iterator[Path]:
    """A new folder of the user who runs the tests; in place of root, who may read and write anywhere, another user."""
    is_root, nobody = os.geteuid() == 0, 65534
    with TemporaryDirectory() as name:
        if is_root:
            os.chown(name, nobody, nobody)
            os.setresuid(nobody, nobody, 0)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
            Path(name).chmod(0o700)
