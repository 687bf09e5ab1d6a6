"""The command line: finds the command, and turns errors that a user can fix into one clear message."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from recr1 import __version__
from recr1.cli import COMMANDS, GROUPS
from recr1.terminal import folded

if TYPE_CHECKING:
    from recr1.errors import UserError

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

_EPILOG = """\
{commands}
RECIPE is a YAML file, or a name that 'recr1 ls' lists.
'recr1 COMMAND --help' shows the arguments of a command.

a first look:
  recr1 ls                                   the recipes that come with recr1
  recr1 train quickstart                     train one
  recr1 train quickstart seed=1 trainer.steps=20
  recr1 cp quickstart my.yaml                start your own

exit status:
  0    done
  1    a failure in a retriever, a reward or recr1 itself, with its traceback
  2    something to fix: the command line, a recipe, a data file, a missing
       library, a folder, a search engine that does not answer
  3    'recr1 doctor' found an error, 'recr1 watch' a change,
       'recr1 audit' a number above its limit
  130  interrupted with Ctrl-C
  141  the program that read the output closed it

RECR1_TRACEBACK=1 or --traceback shows where an error of status 2 came from.
"""

_REMEDIES = {
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.EROFS: "choose a place that can be written",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.ENOTDIR: "a part of this path is a file",
}


class _Parser(argparse.ArgumentParser):
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and folded(message, sys.stderr))


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns the exit status."""
    args = parsed(argv)
    from recr1.errors import UserError  # loads numpy, which the help does not need

    try:
        status: int = args.run(args)
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
        sys.stderr.write(folded(f"recr1: error: {message}\n", sys.stderr))
        return USER_ERROR
    return status


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with the command's function as `run`; exits for help, and with status 2 for a mistake."""
    listed = "".join(
        f"{group}:\n" + "".join(f"  {name:<16} {text}\n" for name, text in commands.items()) + "\n"
        for group, commands in GROUPS.items()
    )
    parser = _Parser(
        prog="recr1",
        usage="recr1 COMMAND ...",
        description="RL fine-tuning of query-writing language models\nwith recommender measures as rewards.",
        epilog=_EPILOG.format(commands=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"recr1 {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    place = next((place for place, arg in enumerate(argv) if not arg.startswith("-")), len(argv))
    args = parser.parse_args(argv[:place] if argv else ["--help"])
    name = argv[place] if place < len(argv) else ""
    if name not in COMMANDS:
        from retrievers.options import did_you_mean

        parser.error(f"there is no command '{name}'{did_you_mean(name, COMMANDS)} (commands: {', '.join(COMMANDS)})")
    command = command_parser(name)
    # Overrides may be before and after an option; argparse can do that for a command without commands of its own.
    return (command.parse_args if inner_parsers(command) else command.parse_intermixed_args)(argv[place + 1 :], args)


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a command's own arguments."""
    command = import_module(f"recr1.cli.{name.replace('-', '_')}")
    parser = _Parser(prog=f"recr1 {name}", description=COMMANDS[name], allow_abbrev=False)
    command.add(parser)
    for one in (parser, *inner_parsers(parser).values()):
        one.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(run=command.run)
    return parser


def inner_parsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parsers of a command's own commands by their names, such as `convert` of `recr1 judgements`."""
    inner = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next((action.choices for action in inner), {})


def _message(error: UserError | OSError | ModuleNotFoundError) -> str | None:
    """What the user needs to know, or None for an error that is not theirs."""
    from recr1.errors import MissingLibrary, UserError
    from retrievers.errors import EngineError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        extra = _extra_with(error.name)
        return str(MissingLibrary(str(error.name), extra, "this command")) if extra else None
    if isinstance(error, EngineError):
        return f"{' '.join(str(error).split())} (is the engine up, and are its address and options right?)"
    if isinstance(error, ConnectionError):
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    if error.filename is None or error.strerror is None:
        return f"{type(error).__name__}: {error}"
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{os.fsdecode(error.filename)}: {error.strerror}{f' ({remedy})' if remedy else ''}"


def _extra_with(library: str | None) -> str | None:
    """The extra of this distribution that installs a library; of several, the one that installs the least."""
    from importlib.metadata import PackageNotFoundError, requires

    top = (library or "").partition(".")[0].replace("_", "-").lower()
    extras: dict[str, set[str]] = {}
    try:
        requirements = requires("recr1") or []
    except PackageNotFoundError:
        return None
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+?)(?:\[.*?\])?\s*[<>=!~(].*extra\s*==\s*['\"](\w+)['\"].*", requirement)
        if match:
            extras.setdefault(match[2], set()).add(match[1].replace("_", "-").lower())
    # An extra that includes another one lists all of its libraries.
    return min((extra for extra in extras if top in extras[extra]), key=lambda extra: len(extras[extra]), default=None)
