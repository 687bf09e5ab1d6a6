"""Errors that a user can fix, each with a message that says where, what, and what to do.

A bad completion is not an error but data (`Invalid`); a user's mistake is one of these; everything else, such as a
retriever that fails, passes through. The command line prints these without a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retrievers.errors import OptionError, UserError, shown

__all__ = [
    "DataError",
    "DivergedError",
    "LeakError",
    "MissingLibrary",
    "OptionError",
    "RecipeError",
    "RunError",
    "UserError",
    "examples",
    "shown",
]


class RecipeError(UserError):
    """A recipe with mistakes, one per line."""

    def __init__(self, problems: Sequence[str], source: str | Path = "recipe") -> None:
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {p}" for p in self.problems)]))


class DataError(UserError):
    """A data file with a mistake, as `file:line: what is wrong (remedy)`."""

    def __init__(self, path: str | Path, line: int | None, what: str) -> None:
        self.path, self.line, self.what = Path(path), line, what
        super().__init__(f"{path}:{line}: {what}" if line else f"{path}: {what}")


class RunError(UserError):
    """A run folder that cannot be used as asked."""


class DivergedError(UserError):
    """A training whose weights grew until the policy writes nothing useful; resumed, it would diverge again."""


class LeakError(UserError):
    """A policy that would see what must stay hidden from it."""


class MissingLibrary(UserError):  # noqa: N818 - it says what is missing, like ModuleNotFoundError
    """An optional library that is not installed, and the extra that installs it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the library '{library}'. Install it with: pip install 'recr1[{extra}]'")


def examples(items: Sequence[object], most: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(shown(item) for item in items[:most]) + more
