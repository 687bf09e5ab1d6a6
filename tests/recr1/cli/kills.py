"""Runs of `recr1` that are killed: a parent imports torch and TRL once, and forks a child for each command.

A child counts the operations on files in one folder, and is killed before one of them: what is killed is a process, as
the system does it, and not a function. A command costs a second, where a new interpreter would take ten.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path

from tests.processes import ROOT

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile")
"""Audit events of Python that touch files. What C++ and Rust write lies between two of them."""


class Commands:
    """A parent that runs commands of `recr1`, one after the other, each in a child."""

    def __init__(self, recipe: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )

    def __call__(self, *argv, within=None, kill_before=None, signal_before=None, after=None, limit=None):
        """Runs a command; returns its exit status (-9 if it was killed), output, and operations on files `within`.

        It is killed before that operation, or some seconds `after` it began, or gets SIGTERM before that operation;
        `limit` is the size of the largest file that it can write.
        """
        asked = {"argv": [str(part) for part in argv], "within": str(within) if within else None}
        asked |= {"kill_before": kill_before, "signal_before": signal_before, "after": after, "limit": limit}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


IMPORTED = (
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "transformers.models.llama.modeling_llama",
    "recr1.cli.train",
    "recr1.trainers.stages",
    "recr1.trainers.trl.classes",
    "recr1.trainers.watch.monitor",
    "tests.recr1.trainers.layers.test_resume",
)


def _preload(recipe: str) -> None:
    """Imports what a training of a recipe imports; it starts no thread, which a fork would lose."""
    from recr1.recipe import load_recipe
    from recr1.trainers.trl.config import config_problems

    for name in IMPORTED:
        import_module(name)
    load_recipe(recipe, also=partial(config_problems, processes=1))  # the answer of TRL's config is kept
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1


def _writes(event: str, arguments: tuple[object, ...]) -> list[str]:
    """The paths that an operation changes; none for another event."""
    if event not in OPERATIONS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return []
    paths = arguments[:1] if event == "open" else arguments[:2]
    return [os.fsdecode(part) for part in paths if isinstance(part, str | bytes | os.PathLike)]


def _watch(asked, counted: int) -> None:
    """Count the operations in a folder in a file, and stop the process before one of them."""
    count, main = 0, threading.current_thread()

    def heed(event, arguments):
        nonlocal count
        places = _writes(event, arguments)
        if threading.current_thread() is main and any(place.startswith(asked["within"]) for place in places):
            count += 1
            os.write(counted, f"{event} {' '.join(places)}\n".encode())
            for name, number in (("kill_before", signal.SIGKILL), ("signal_before", signal.SIGTERM)):
                if count == asked[name]:
                    os.kill(os.getpid(), number)

    sys.addaudithook(heed)


def _child(asked, output: str, counted: int) -> None:
    """The forked process: never returns."""
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if asked["within"]:
        _watch(asked, counted)
    if asked["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
    from recr1.cli.main import run

    status = 1
    try:
        status = run(asked["argv"])
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve() -> None:
    _preload(sys.argv[1])
    home = Path(tempfile.mkdtemp())
    for line in sys.stdin:
        asked = json.loads(line)
        counted = os.open(home / "counted", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        (home / "output").write_text("")
        child = os.fork()
        if child == 0:
            _child(asked, str(home / "output"), counted)
        timer = threading.Timer(asked["after"], os.kill, (child, signal.SIGKILL)) if asked["after"] else None
        if timer:
            timer.start()
        _, status = os.waitpid(child, 0)
        if timer:
            timer.cancel()
            timer.join()
        os.close(counted)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "output": (home / "output").read_text(errors="replace"),
            "operations": (home / "counted").read_text().splitlines(),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
