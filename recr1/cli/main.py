"""The command line: calls a command, and turns what a user can put right into one clear message."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from recr1.cli.arguments import parsed

if TYPE_CHECKING:
    from recr1.errors import UserError

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

_REMEDIES = {
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.EROFS: "choose a place that can be written",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.ENOTDIR: "a part of this path is a file",
}


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns the exit status."""
    args = parsed(argv)
    from recr1.errors import UserError  # loads numpy, which the help does not wait for

    try:
        status = COMMANDS[args.command](args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("recr1: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit, and must find it open.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (UserError, OSError, ModuleNotFoundError) as error:
        message = _message(error)
        if message is None or args.traceback or os.environ.get("RECR1_TRACEBACK", "0") not in ("", "0"):
            raise
        sys.stderr.write(f"recr1: error: {message}\n")
        return USER_ERROR
    return status


def _message(error: UserError | OSError | ModuleNotFoundError) -> str | None:
    """What the user needs to know, or None for an error that is not theirs."""
    from recr1.errors import MissingLibrary, UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        extra = _extra_with(error.name)
        return str(MissingLibrary(str(error.name), extra, "this command")) if extra else None
    if isinstance(error, ConnectionError):
        return _engine_failed(error)
    if error.filename is None or error.strerror is None:
        return f"{type(error).__name__}: {error}"
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{os.fsdecode(error.filename)}: {error.strerror}{f' ({remedy})' if remedy else ''}"


def _engine_failed(error: ConnectionError) -> str:
    """An engine's fault in one line, with what to do."""
    from retrievers.errors import EngineError  # loads numpy

    text = " ".join(str(error).split())
    if not isinstance(error, EngineError):
        return f"{type(error).__name__}: {text}"
    return f"{text} (is the engine up, and are its address and options right?)"


def _extra_with(library: str | None) -> str | None:
    """The extra of this distribution that installs a library; of several, the one that installs the least."""
    from importlib.metadata import PackageNotFoundError, requires

    top = (library or "").partition(".")[0].replace("_", "-").lower()
    held: dict[str, set[str]] = {}
    try:
        requirements = requires("recr1") or []
    except PackageNotFoundError:
        return None
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+?)(?:\[.*?\])?\s*[<>=!~(].*extra\s*==\s*['\"](\w+)['\"].*", requirement)
        if match:
            held.setdefault(match[2], set()).add(match[1].replace("_", "-").lower())
    # An extra that names another one holds all that is in it.
    return min((extra for extra in held if top in held[extra]), key=lambda extra: len(held[extra]), default=None)


def _train(args: argparse.Namespace) -> int:
    from recr1.cli.train import train

    return train(args.recipe, args.overrides, out=args.out)


def _eval(args: argparse.Namespace) -> int:
    from recr1.cli.eval import evaluate

    return evaluate(
        args.target,
        args.overrides,
        policy=args.policy,
        split=args.split,
        measures=args.measures,
        samples=args.samples,
        out=args.out,
        retrievers=args.retrievers,
        as_json=args.json,
    )


def _cross(args: argparse.Namespace) -> int:
    from recr1.cli.cross import cross_runs

    return cross_runs(
        args.runs, split=args.split, measures=args.measures, samples=args.samples, out=args.out, as_json=args.json
    )


def _compare(args: argparse.Namespace) -> int:
    from recr1.cli.compare import compare

    return compare(
        args.target,
        args.overrides,
        policies=args.policies,
        split=args.split,
        measures=args.measures,
        needs=args.needs,
        category=args.category,
        out=args.out,
        as_json=args.json,
    )


def _check(args: argparse.Namespace) -> int:
    from recr1.cli.check import check

    return check(
        args.recipe,
        args.overrides,
        data=args.data,
        memory=args.memory,
        gpu_gb=args.gpu_gb,
        launch=args.launch,
        processes=args.processes,
        shard=args.shard,
    )


def _doctor(args: argparse.Namespace) -> int:
    from recr1.cli.doctor import doctor

    return doctor(args.recipe, args.overrides, step_seconds=args.step, sample=args.sample, as_json=args.json)


def _headroom(args: argparse.Namespace) -> int:
    from recr1.cli.headroom import headroom

    return headroom(
        args.recipe,
        args.overrides,
        split=args.split,
        needs=args.needs,
        samples=args.samples,
        solved=args.solved,
        depth=args.depth,
        out=args.out,
        as_json=args.json,
    )


def _report(args: argparse.Namespace) -> int:
    from recr1.cli.report import report

    return report(args.runs, out=args.out, category=args.category)


def _rescore(args: argparse.Namespace) -> int:
    from recr1.cli.rescore import rescore_run

    return rescore_run(args.run, args.overrides, measures=args.measures, name=args.name, as_json=args.json)


def _search(args: argparse.Namespace) -> int:
    from recr1.cli.search import search

    return search(args.recipe, args.query, args.overrides, k=args.k)


def _serve_retriever(args: argparse.Namespace) -> int:
    from recr1.cli.serve import serve_retriever

    return serve_retriever(
        args.recipe,
        args.overrides,
        host=args.host,
        port=args.port,
        token_env=args.token_env,
        window_ms=args.window,
        queue=args.queue,
        max_mb=args.max_mb,
    )


def _store(args: argparse.Namespace) -> int:
    from recr1.cli.store import store

    return store(args.folder, prune=args.prune, older_than=args.older_than, max_gb=args.max_gb, yes=args.yes)


def _ls(args: argparse.Namespace) -> int:
    from recr1.cli.recipes import list_parts, list_recipes

    return list_parts() if args.parts else list_recipes()


def _cp(args: argparse.Namespace) -> int:
    from recr1.cli.recipes import copy_recipe

    return copy_recipe(args.name, args.destination)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "eval": _eval,
    "compare": _compare,
    "cross": _cross,
    "check": _check,
    "doctor": _doctor,
    "headroom": _headroom,
    "report": _report,
    "rescore": _rescore,
    "search": _search,
    "serve-retriever": _serve_retriever,
    "store": _store,
    "ls": _ls,
    "cp": _cp,
}
