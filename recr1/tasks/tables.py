"""What the rows of data files mean: items of a catalog, needs, and judgements with their grades."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from recr1.errors import DataError
from recr1.tasks.readers import Record, records
from retrievers.base import Catalog
from retrievers.options import did_you_mean
from rewards.base import Need

Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""Role -> its possible column names; the first that a file has is used."""

COLUMNS: Names = {
    "item_id": ("_id", "id", "item_id", "doc_id"),
    "need_id": ("_id", "id", "need_id", "query_id", "query-id"),
    "need_text": ("text", "query"),
    "qrels_need": ("query-id", "query_id", "need_id"),
    "qrels_item": ("corpus-id", "doc_id", "item_id"),
    "grade": ("score", "grade", "relevance"),
}
"""The names by role, unless a task's `columns` has others."""

TEXT_FIELDS = ("title", "text")
"""The fields of an item's text, unless a task's `text_fields` has others."""

_GRADE = re.compile(r"[+-]?[0-9]{1,9}")
_NESTED = object()


def read_catalog(path: Path, names: Names = COLUMNS, text_fields: Sequence[str] | None = None) -> Catalog:
    """The catalog of a file. Every flat column but the id is a field, None where an item lacks it.

    A list of plain values is joined with commas; a column with anything nested deeper is left out. An item's text is
    its text fields, joined with blanks. Raises `DataError`, also for an item without any of the text fields (an empty
    one is not an error: no text search finds that item).
    """
    lines: dict[str, int] = {}
    rows: list[Record] = []
    nested: set[str] = set()
    id_column = None
    wanted = set(text_fields or TEXT_FIELDS)
    for line, record in records(path, "catalog items"):
        id_column = id_column or _column(path, line, record, "item_id", names)
        item = _text(path, line, record, id_column)
        if item in lines:
            raise DataError(path, line, f"item id {item!r} is on line {lines[item]} already (an id names one item)")
        if wanted.isdisjoint(record):
            raise _missing(path, line, " or ".join(map(repr, text_fields or TEXT_FIELDS)), record, "text_fields")
        lines[item] = line
        rows.append({name: _flat(value) for name, value in record.items() if name != id_column})
        nested.update(name for name, value in rows[-1].items() if value is _NESTED)
    found = {name: None for row in rows for name in row if name not in nested}
    fields = {name: [row.get(name) for row in rows] for name in found}
    return Catalog(list(lines), _texts(path, fields, len(rows), text_fields), fields)


def _texts(path: Path, fields: Mapping[str, list[Any]], count: int, text_fields: Sequence[str] | None) -> list[str]:
    used = list(text_fields or [name for name in TEXT_FIELDS if name in fields])
    for name in used:
        if name not in fields:
            remedy = f"{did_you_mean(name, fields)} (fields: {', '.join(fields)})"
            raise DataError(path, None, f"text_fields: no item has a flat field {name!r}{remedy}")
    columns = [fields[name] for name in used]
    texts = [" ".join(str(c[row]) for c in columns if c[row] not in (None, "")) for row in range(count)]
    if not any(texts):
        raise DataError(path, None, f"every item's text ({' + '.join(used)}) is empty: name other text_fields")
    return texts


def read_needs(path: Path, names: Names = COLUMNS) -> dict[str, Need]:
    """The needs of a file by id, in its order; columns other than id and text are ignored. Raises `DataError`."""
    needs: dict[str, Need] = {}
    lines: dict[str, int] = {}
    id_column = text_column = None
    for line, record in records(path, "needs"):
        id_column = id_column or _column(path, line, record, "need_id", names)
        text_column = text_column or _column(path, line, record, "need_text", names)
        need = Need(_text(path, line, record, id_column), _text(path, line, record, text_column))
        if need.id in lines:
            raise DataError(
                path, line, f"need id {need.id!r} is on line {lines[need.id]} already (an id names one need)"
            )
        needs[need.id], lines[need.id] = need, line
    return needs


class QrelsReader:
    """Reads files of judgements for one catalog and its needs.

    Rows of the same need and item are merged to their highest grade; a grade below `min_grade` counts as 0. `grade_of`
    maps what a file writes ("E", "2") to grades; then nothing else is allowed. `counts` says what happened to how many
    rows, over all files.
    """

    def __init__(
        self,
        catalog: Catalog,
        needs: Mapping[str, Need],
        names: Names = COLUMNS,
        *,
        min_grade: int = 1,
        refuse_unknown_items: bool = True,
        grade_of: Mapping[str, int] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._row_of = {item: row for row, item in enumerate(catalog.ids)}
        self._needs, self._names = needs, names
        self._min_grade, self._refuse_unknown_items, self._grade_of = min_grade, refuse_unknown_items, grade_of

    def read(self, path: Path) -> dict[str, dict[int, int]]:
        """Need id -> catalog row -> grade. Raises `DataError`, also for needs and items that do not exist."""
        answers: dict[str, dict[int, int]] = {}
        unknown_needs: list[tuple[int, str]] = []
        unknown_items: list[tuple[int, str]] = []
        need_column = item_column = grade_column = None
        for line, record in records(path, "judgements"):
            need_column = need_column or _column(path, line, record, "qrels_need", self._names)
            item_column = item_column or _column(path, line, record, "qrels_item", self._names)
            grade_column = grade_column or _column(path, line, record, "grade", self._names)
            need, item = _text(path, line, record, need_column), _text(path, line, record, item_column)
            grade = self._grade(path, line, record, grade_column)
            if need not in self._needs:
                unknown_needs.append((line, need))
            elif item not in self._row_of:
                unknown_items.append((line, item))
            else:
                self._add(answers.setdefault(need, {}), self._row_of[item], grade)
        _refuse_unknown(path, "need", unknown_needs, "add them to the file of needs, or remove these rows")
        if self._refuse_unknown_items:
            remedy = "add them to the catalog, or leave these rows out with unknown_items: exclude"
            _refuse_unknown(path, "item", unknown_items, remedy)
        self.counts += Counter({"rows of unknown items left out": len(unknown_items)})
        return answers

    def _grade(self, path: Path, line: int, record: Record, column: str) -> int:
        if self._grade_of is None:
            return _grade(path, line, record, column)
        value = str(record.get(column)).strip()
        if value not in self._grade_of:
            known = ", ".join(self._grade_of)
            what = f"grade {reprlib.repr(record.get(column))} has no gain (known: {known})"
            raise DataError(path, line, f"{what}: add it to the task's gains, or correct this row")
        return self._grade_of[value]

    def _add(self, key: dict[int, int], row: int, grade: int) -> None:
        grade = grade if grade >= self._min_grade else 0
        before = key.get(row)
        key[row] = grade if before is None else max(before, grade)
        self.counts["rows read"] += 1
        if before is not None:
            same = before == grade
            self.counts["repeated rows merged" if same else "repeated rows with another grade, highest kept"] += 1


def _refuse_unknown(path: Path, what: str, unknown: Sequence[tuple[int, str]], remedy: str) -> None:
    if unknown:
        line, first = unknown[0]
        others = f" (the first of {len(unknown):,} such rows)" if len(unknown) > 1 else ""
        raise DataError(path, line, f"unknown {what} {first!r}{others}: {remedy}")


def _column(path: Path, line: int, record: Record, role: str, names: Names) -> str:
    """The column of a role in a file, by its first row."""
    found = next((name for name in names[role] if name in record), None)
    if found is None:
        raise _missing(path, line, " or ".join(map(repr, names[role])), record, f"columns: {{{role}: ...}}")
    return found


def _missing(path: Path, line: int, what: str, record: Record, option: str) -> DataError:
    return DataError(path, line, f"no field {what}; the fields are: {', '.join(record)} (name it with {option})")


def _text(path: Path, line: int, record: Record, column: str) -> str:
    """A required value: text that is not blank, or an integer as text."""
    value = record.get(column)
    if type(value) is str and value and not value.isspace():
        return value
    if type(value) is int:
        return str(value)
    if column not in record:
        raise DataError(path, line, f"no field {column!r}; the fields are: {', '.join(record)} (every row needs it)")
    what = "is empty" if value is None or isinstance(value, str) else f"is {reprlib.repr(value)}"
    raise DataError(path, line, f"field {column!r} {what}: it must be text or an integer")


def _grade(path: Path, line: int, record: Record, column: str) -> int:
    value = record.get(column)
    if type(value) is int and abs(value) < 10**9:
        return value
    if type(value) is str and _GRADE.fullmatch(value):
        return int(value)
    what = f"grade {reprlib.repr(value)} is not an integer" if column in record else f"no field {column!r}"
    raise DataError(path, line, f"{what}: write grades as integers such as 0, 1, 2")


def _flat(value: Any) -> Any:
    """A value as a field holds it: plain, a list of plain values joined with commas, or `_NESTED`."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, list):
        parts = [_flat(part) for part in value]
        return _NESTED if any(isinstance(v, list) for v in value) or _NESTED in parts else ", ".join(map(str, parts))
    return _NESTED if isinstance(value, dict) else str(value)


@dataclass(frozen=True)
class Scale:
    """How a file writes grades, and what they are worth: the `gains` of a task."""

    grade_of: Mapping[str, int]
    """What a file writes -> grade."""
    worth: Mapping[int, float]
    """Positive grade -> gain."""

    @classmethod
    def of(cls, gains: Mapping[str, float]) -> Scale:
        """The scale of gains without a problem.

        Numbers are grades. Letters become grades in the order of their gains: 0 for a gain of 0, 1 for the lowest gain
        above 0, and so on.
        """
        by_name = {str(name): float(gain) for name, gain in gains.items()}
        steps = sorted({gain for gain in by_name.values() if gain > 0})
        numbered = all(map(_GRADE.fullmatch, by_name))
        grade_of = {
            name: int(name) if numbered else (steps.index(gain) + 1 if gain else 0) for name, gain in by_name.items()
        }
        return cls(grade_of, {grade: by_name[name] for name, grade in grade_of.items() if grade > 0})


def gains_problem(gains: Mapping[str, float]) -> str | None:
    """What is wrong with gains, or None."""
    numbers = [name for name in map(str, gains) if _GRADE.fullmatch(name)]
    if 0 < len(numbers) < len(gains):
        other = next(name for name in map(str, gains) if name not in numbers)
        return f"{numbers[0]!r} is a number and {other!r} is not: write all grades in one way"
    for name, gain in gains.items():
        if numbers and int(name) <= 0 < gain:
            return f"the gain of {name} must be 0, got {gain:g}: only a grade above 0 is relevant"
    if len({int(name) for name in numbers}) < len(numbers):
        return "a grade number is listed twice"
    return None if any(gains.values()) else "all gains are 0: give at least one grade a gain above 0"
