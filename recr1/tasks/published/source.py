"""Where a published set comes from, and what its tasks share: options, files on disk, and what is alike in rows."""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from recr1.config.build import build
from recr1.errors import DataError, shown
from recr1.tasks.cells import listed
from recr1.tasks.disk import ends_with_a_line, is_file, kind_of, lines
from recr1.tasks.grades import QrelsReader, gains_problem, grade_scale
from recr1.tasks.judged import JudgedTask
from recr1.tasks.readers import Record
from recr1.tasks.splits import share_problem
from recr1.tasks.tables import Names, Reading, count_texts, read_catalog, read_needs
from retrievers.base import Catalog
from retrievers.options import PositiveInt
from retrievers.store import expanded
from rewards.base import Need

_TAG = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)
"""A tag begins with a letter right after its bracket: "size < 5" has none."""


@dataclass(frozen=True)
class Source:
    """A published set: its files with their sizes, where its owners publish it, and the command that gets it."""

    files: Mapping[str, str]
    page: str
    command: str

    def find(self, path: str, counts: Counter[str]) -> list[Path]:
        """The files in a folder, each packed with gzip or not; raises one `DataError` for all that are missing.

        Counts text files that were perhaps cut off: their last row has no line end.
        """
        folder = expanded(path)
        if kind_of(folder) == "file":
            raise DataError(path, None, f"a file, not a folder: set the task's path to the folder of {self.page}")
        found, missing = [], []
        for name, size in self.files.items():
            other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
            there = next((folder / one for one in (name, other) if is_file(folder / one)), None)
            found += [there] if there else []
            missing += [] if there else [f"{name} ({size})"]
        if missing:
            where = "" if kind_of(folder) else f": there is no such folder (relative to {Path.cwd()})"
            what = f"no {' and no '.join(missing)}{where}"
            raise DataError(path, None, f"{what}. The set is published at {self.page}; get it with: {self.command}")
        text = [file for file in found if file.suffix not in (".gz", ".parquet")]
        counts["files whose last row has no line end, perhaps cut off"] = sum(
            not ends_with_a_line(file) for file in text
        )
        return found


def roles(item: str | tuple[str, ...], need: str, text: str, grade: str = "grade") -> Names:
    """The columns of a set by role, where ids have the same names in all files."""
    items = (item,) if isinstance(item, str) else item
    both = {"need_id": (need,), "need_text": (text,), "qrels_need": (need,), "grade": (grade,)}
    return {**both, "item_id": items, "qrels_item": items}


@dataclass(kw_only=True, eq=False)
class SetTask(JudgedTask, ABC):
    """A task of a set that has its own format; a subclass reads it."""

    labels: ClassVar[Sequence[str]] = ()
    """What `gains` must have a number for."""
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Field of the catalog -> its column, of several names the first that a file has."""

    unknown_items: Literal["refuse", "exclude"] = "refuse"
    """If a judged item does not exist, refuse the data, or exclude the judgement."""
    splits: dict[str, float] | None = None
    """Shares of the needs by split, where the files have no splits; null for 0.8, 0.1 and 0.1. Validation is taken from
    the training needs of files that have none."""
    split_seed: int = 0
    """Another seed gives another split by hash."""
    max_needs: PositiveInt | None = None
    """Keep at most this many needs of each split, chosen by hash; null for all."""
    format: dict[str, Any] | None = None  # type: ignore[assignment]
    """Prompt and parser; null for `{type: plain}`."""

    def __post_init__(self) -> None:
        self.format = build("format", self.format or {"type": "plain"}, path="task.format")
        self.read(Counter())

    @abstractmethod
    def read(self, counts: Counter[str]) -> None:
        """Read the files, and set everything that a task has."""

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problem = share_problem(options["splits"]) if options.get("splits") is not None else None
        found = option_problems(options, [*cls.columns], cls.labels)
        return [*found, f"splits: {problem}"] if problem else found

    def asked(self, paths: Iterable[Path], how: Reading) -> dict[str, Need]:
        """The needs of several files; a query in two of them is the same in both, or refused."""
        needs: dict[str, Need] = {}
        [need_id], [need_text] = how.names["need_id"], how.names["need_text"]

        def once(path: Path, line: int, record: Record) -> Record | None:
            known = needs.get(str(record[need_id]))
            if known and known.text != record[need_text]:
                what = f"query {known.id} is {shown(record[need_text])} here and {shown(known.text)} before"
                raise DataError(path, line, f"{what}: an id names one query; take files that belong together")
            how.counts["queries left out, in an earlier file too"] += bool(known)
            return None if known else record

        for path in paths:
            needs |= read_needs(path, replace(how, prepare=once))
        count_texts(needs, how.counts)
        return needs

    def judge(
        self,
        files: Mapping[str, Path],
        needs: Mapping[str, Need],
        how: Reading,
        gains: Mapping[str, float] | None = None,
    ) -> None:
        """Read the judgements of each split, in the order of `SPLITS`, or of `ALL`, and settle who needs what."""
        grade_of, worth = grade_scale(gains) if gains else (None, None)
        reader = QrelsReader(self.catalog, needs, how, 1, self.unknown_items == "refuse", grade_of)
        judged = {split: reader.read(path) for split, path in files.items()}
        later = set[str]()
        for answers in reversed(judged.values()):  # what is learned in training must not be tested
            how.counts["needs in two splits, kept in the later one"] += len(later & answers.keys())
            for need in later & answers.keys():
                del answers[need]
            later |= answers.keys()
        seed, most = self.split_seed, self.max_needs
        self.settle(judged, needs, files, how.counts, worth=worth, shares=self.splits, seed=seed, max_needs=most)


@dataclass(kw_only=True, eq=False)
class PublishedTask(SetTask):
    """A task of files as they are published.

    Raises `DataError` for a missing file, with how to get it, and for anything wrong in a file, with its line.
    """

    text: ClassVar[Sequence[str]]
    """The fields of an item's text, unless `text_fields` has others."""

    path: str
    """The folder."""
    text_fields: Annotated[list[str], MinLen(1)] | None = None  # type: ignore[assignment]
    """The fields that together are an item's text; null for the usual ones of the set."""

    def __post_init__(self) -> None:
        self.text_fields = self.text_fields or list(self.text)
        super().__post_init__()

    def items(self, path: Path, how: Reading) -> Catalog:
        """The catalog of a file: its columns under the names of fields, descriptions without HTML."""
        ids = how.names["item_id"]

        def item(file: Path, line: int, record: Record) -> Record:
            found = [next((one for one in names if one in record), names[0]) for names in self.columns.values()]
            require(file, line, record, found if set(ids) & set(record) else ids[:1])
            named = {field: record[column] for field, column in zip(self.columns, found, strict=True)}
            return {**{name: record[name] for name in ids if name in record}, **describe(named, how.counts)}

        wanted = {*ids, *(name for names in self.columns.values() for name in names)}
        return read_catalog(path, replace(how, prepare=item, wanted=wanted), self.text_fields, keep_first=True)


def require(path: Path, line: int, record: Record, columns: Sequence[str]) -> Record:
    """The row; raises `DataError` for one that lacks a column of the set."""
    for name in columns:
        if name not in record:
            what = f"no field {name!r}; the fields are: {listed(record)}"
            raise DataError(path, line, f"{what} (take the file as it is published, or read it with the task files)")
    return record


def headerless(*names: str, separator: str | None = None) -> Callable[..., Iterator[tuple[int, Record]]]:
    """What reads the rows of a text file without a header, whose cells are these."""

    def read(path: Path, what: str, encoding: str | None, _: object) -> Iterator[tuple[int, Record]]:
        line = 0
        for line, text in lines(path, encoding):
            cells = text.rstrip("\r\n").split(separator)
            if len(cells) == len(names):
                yield line, dict(zip(names, cells, strict=True))
            elif text.strip():
                remedy = "correct this line, or get the file again"
                raise DataError(path, line, f"{len(cells)} columns, not {len(names)} ({', '.join(names)}): {remedy}")
        if not line:
            raise DataError(path, None, f"no {what}: the file has no rows")

    return read


def one_of(path: Path, line: int, record: Record, column: str, allowed: Mapping[str, str]) -> str:
    """What a value means that is one of a few; raises `DataError` for another."""
    value = record[column]
    if (meaning := allowed.get(str(value))) is None:
        what = f"{column} {shown(value)} is not one of {', '.join(allowed)}"
        raise DataError(path, line, f"{what}: correct this row, or get the file again")
    return meaning


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
    """An item without HTML in its description, lists as one text; counts those that had some."""
    if isinstance(description := item.get("description"), list) and all(isinstance(one, str) for one in description):
        description = " ".join(description)
    if isinstance(description, str):
        item["description"] = without_html(description)
        counts["descriptions with HTML removed"] += item["description"] != description
    return item


def without_html(text: str) -> str:
    """A text without tags, comments and scripts, its entities as characters; one without them is not changed."""
    if "<" not in text and "&" not in text:
        return text
    plain = html.unescape(_TAG.sub(" ", text))
    return text if plain == text else " ".join(plain.split())
