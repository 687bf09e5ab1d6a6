"""Where a published data set comes from, its files on disk, and what is alike in the rows of such sets."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recr1.errors import DataError, shown
from recr1.tasks.cells import listed
from recr1.tasks.disk import is_file, kind_of
from recr1.tasks.readers import Record
from recr1.tasks.tables import gains_problem
from retrievers.store import expanded

_TAG = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)
"""A tag begins with a letter right after its bracket: "size < 5" has none."""


@dataclass(frozen=True)
class Source:
    """A published set: its files with their sizes, where its owners publish it, and the command that gets it."""

    files: Mapping[str, str]
    page: str
    command: str

    def find(self, path: str) -> list[Path]:
        """The files in a folder; raises one `DataError` for all that are missing."""
        folder = expanded(path)
        if kind_of(folder) == "file":
            raise DataError(path, None, f"a file, not a folder: set the task's path to the folder of {self.page}")
        missing = [f"{name} ({size})" for name, size in self.files.items() if not is_file(folder / name)]
        if missing:
            where = "" if kind_of(folder) else f": there is no such folder (relative to {Path.cwd()})"
            what = f"no {' and no '.join(missing)}{where}"
            raise DataError(path, None, f"{what}. The set is published at {self.page}; get it with: {self.command}")
        return [folder / name for name in self.files]


def require(path: Path, line: int, record: Record, columns: Sequence[str]) -> Record:
    """The row; raises `DataError` for one that lacks a column of the set."""
    for name in columns:
        if name not in record:
            what = f"no field {name!r}; the fields are: {listed(record)}"
            raise DataError(path, line, f"{what} (take the file as it is published, or read it with the task files)")
    return record


def one_of(path: Path, line: int, record: Record, column: str, allowed: Mapping[str, str]) -> str:
    """What a value means that is one of a few; raises `DataError` for another."""
    value = record[column]
    if str(value) not in allowed:
        what = f"{column} {shown(value)} is not one of {', '.join(allowed)}"
        raise DataError(path, line, f"{what}: correct this row, or get the file again")
    return allowed[str(value)]


def option_problems(options: Mapping[str, Any], fields: Sequence[str], labels: Sequence[str]) -> list[str]:
    """What is wrong with the options `text_fields` and `gains` of a set with these fields and labels."""
    chosen, gains = options.get("text_fields") or [], options.get("gains")
    problems = [
        f"text_fields: no field {name!r} (fields: {', '.join(fields)})" for name in chosen if name not in fields
    ]
    problems += [f"text_fields: {name!r} is listed twice" for name in dict.fromkeys(chosen) if chosen.count(name) > 1]
    if isinstance(gains, Mapping):
        if set(gains) != set(labels):
            given = ", ".join(map(str, gains)) or "none"
            problems.append(f"gains: must have exactly {', '.join(labels)}, got {given}")
        elif problem := gains_problem(gains):
            problems.append(f"gains: {problem}")
    return problems


def describe(item: Record, counts: Counter[str]) -> Record:
    """An item without HTML in its description; counts those that had some."""
    if isinstance(description := item["description"], str):
        item["description"] = without_html(description)
        counts["descriptions with HTML removed"] += item["description"] != description
    return item


def without_html(text: str) -> str:
    """A text without tags, comments and scripts, its entities as characters; one without them is not changed."""
    if "<" not in text and "&" not in text:
        return text
    plain = html.unescape(_TAG.sub(" ", text))
    return text if plain == text else " ".join(plain.split())
