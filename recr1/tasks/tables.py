"""What the rows of data files mean: items of a catalog, and needs; and how any table is read."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from recr1.errors import DataError, shown
from recr1.tasks.cells import Fields, id_of, is_missing, listed, text_of
from recr1.tasks.disk import ending_of
from recr1.tasks.readers import Record, records
from retrievers.analyzer import folded, has_word
from retrievers.base import Catalog
from retrievers.columns import Growing, Joined, count_missing
from retrievers.options import did_you_mean
from rewards.base import Need

Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""Role -> its possible column names; a file has one of them."""

Rows: TypeAlias = Iterator[tuple[int, Record, list[str]]]
"""(line, record, columns of the roles) of each row."""

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

PACKED = 2**14
"""Items whose texts are packed together; a smaller catalog has plain strings, which are a little faster."""


@dataclass(frozen=True)
class Reading:
    """How all files of a task are read, and what was left out, merged or missing in them so far."""

    names: Names
    encoding: str | None
    missing: Collection[str]
    counts: Counter[str]
    prepare: Callable[[Path, int, Record], Record | None] | None = None
    """What a row says in the columns that are looked for; None to leave the row out."""
    wanted: Collection[str] | None = None
    """The columns of Parquet that are read, None for all."""
    read: Callable[[Path, str, str | None, Collection[str] | None], Iterator[tuple[int, Record]]] = records
    """What reads the rows of a file, where they are not those of a table."""


def read_catalog(
    first: Path, how: Reading, text_fields: Sequence[str] | None, *, keep_first: bool = False, more: Sequence[Path] = ()
) -> Catalog:
    """The catalog of a file, and of `more` files that continue it.

    Every flat column but the id is a field, None where an item lacks it. A list of plain values is joined with commas;
    a nested value is left out. An item's text is its text fields, joined with blanks. Of rows with the same id, the
    first is kept if `keep_first`. Raises `DataError`, also for an item without any of the text fields (an empty one is
    not an error: no text search finds that item), and for a nested one.
    """
    counts, cells = how.counts, Fields(first, how.missing, text_fields or TEXT_FIELDS)
    known = _Items()
    for path in (first, *more):
        cells.path = path
        for line, record, (id_column,) in rows_of(path, "catalog items", how, "item_id"):
            item = id_of(path, line, record, id_column, how.missing)
            flat = {name: cells.value(line, name, value) for name, value in record.items() if name != id_column}
            if item not in known.rows:
                _refuse_without_text(path, line, record, text_fields)
                known.add(line, item, flat)
            elif keep_first:
                same = "the same" if known.is_same(item, flat) else "another"
                counts[f"items left out, id repeated with {same} row"] += 1
            else:
                _refuse_known(
                    path, line, item, known.line(item), "item", ", or keep the first with repeated_items: first"
                )
    if not known.rows:
        raise DataError(first, None, "no catalog items: the task left out every row")
    fields = known.columns()
    for name in cells.left_out():
        fields.pop(name, None)
    used = text_fields or [name for name in TEXT_FIELDS if name in fields]
    texts = _texts(first, fields, used)
    counts.update({f"items without {name!r}": count_missing(fields[name], is_missing) for name in used})
    _count_items(texts, counts)
    counts.update(cells.counts())
    return Catalog(list(known.rows), texts, fields)


def _count_items(texts: Sequence[str], counts: Counter[str]) -> None:
    rows: dict[int, int] = {}  # of hashes: a set of all texts would take as much memory as the catalog
    wordless = repeated = 0
    for row, text in enumerate(texts):
        wordless += not has_word(text)
        known = rows.setdefault(hash(text), row)
        if known < row and text and texts[known] == text:
            repeated += 1
    counts["items without a word in their text"] = wordless
    counts["items with the text of an earlier item"] = repeated


class _Items:
    """The items of a catalog while it is read; those of a large one are packed, `PACKED` at a time."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self._lines = array("q")
        self._columns: dict[str, Growing] = {}
        self._packed = 0
        self._recent: list[Record] = []

    def add(self, line: int, item: str, flat: Record) -> None:
        self.rows[item] = len(self._lines)
        self._lines.append(line)
        self._recent.append(flat)
        if len(self._recent) == PACKED:
            self._pack()

    def line(self, item: str) -> int:
        """The line on which an item is."""
        return self._lines[self.rows[item]]

    def is_same(self, item: str, flat: Record) -> bool:
        """Whether a row says the same as that of an item; a field without a value is as one that is not there."""
        row = self.rows[item] - self._packed
        said = {name: column.values()[row] for name, column in self._columns.items()} if row < 0 else self._recent[row]
        return all(said.get(name) == flat.get(name) for name in {**said, **flat})

    def columns(self) -> dict[str, Sequence[Any]]:
        """The values of all items by field, None where an item has none."""
        if not self._packed:
            names = dict.fromkeys(name for flat in self._recent for name in flat)
            return {name: [flat.get(name) for flat in self._recent] for name in names}
        self._pack()
        return {name: column.values() for name, column in self._columns.items()}

    def _pack(self) -> None:
        for name in dict.fromkeys(name for flat in self._recent for name in flat):
            if name not in self._columns:
                self._columns[name] = Growing()
                self._columns[name].extend([None] * self._packed)
        for name, column in self._columns.items():
            column.extend([flat.get(name) for flat in self._recent])
        self._packed += len(self._recent)
        self._recent.clear()


def _refuse_without_text(path: Path, line: int, record: Record, text_fields: Sequence[str] | None) -> None:
    """A row needs one of the text fields. A column `Title` beside `title` is meant, and would be left out of texts."""
    for name in record if text_fields is None else ():
        meant = name.strip().lower()
        if meant in TEXT_FIELDS and meant != name:
            what = f"a field {shown(name)}, {'and' if meant in record else 'but no'} field {meant!r}"
            remedy = f"rename it, or name the fields of an item's text with text_fields: [{name}, ...]"
            raise DataError(path, line, f"{what}: {remedy}")
    if not any(name in record for name in text_fields or TEXT_FIELDS):
        raise _missing(path, line, text_fields or TEXT_FIELDS, record, "text_fields")


def _texts(path: Path, fields: Mapping[str, Sequence[Any]], used: Sequence[str]) -> Sequence[str]:
    for name in used:
        if name not in fields:
            remedy = f"{did_you_mean(name, fields)} (fields: {', '.join(fields)})"
            raise DataError(path, None, f"text_fields: no item has a flat field {name!r}{remedy}")
    texts = Joined([fields[name] for name in used], is_missing)
    if not any(map(has_word, texts)):
        raise DataError(path, None, f"no item's text ({' + '.join(used)}) has a word: name other text_fields")
    return texts if len(texts) > PACKED else list(texts)


def read_needs(path: Path, how: Reading) -> dict[str, Need]:
    """The needs of a file by id, in its order; columns other than id and text are ignored.

    Counts those without a word, which find nothing as they are. Raises `DataError`, also for a blank text.
    """
    needs: dict[str, Need] = {}
    lines: dict[str, int] = {}
    for line, record, (id_column, text_column) in rows_of(path, "needs", how, "need_id", "need_text"):
        need = id_of(path, line, record, id_column, how.missing)
        if need in lines:
            _refuse_known(path, line, need, lines[need], "need")
        needs[need], lines[need] = Need(need, text_of(path, line, record, text_column, how.missing)), line
    count_texts(needs, how.counts)
    return needs


def count_texts(needs: Mapping[str, Need], counts: Counter[str]) -> None:
    """Counts the needs that say the same, and those that find nothing as they are."""
    counts["needs with the text of an earlier need"] = len(needs) - len({need.text for need in needs.values()})
    counts["needs without a word"] = sum(not has_word(need.text) for need in needs.values())


def refuse_unknown(path: Path, what: str, unknown: Sequence[tuple[int, str]], remedy: str) -> None:
    """Raises `DataError` for the first of (line, id) that are not known."""
    if unknown:
        line, first = unknown[0]
        others = f" (the first of {len(unknown):,} such rows)" if len(unknown) > 1 else ""
        raise DataError(path, line, f"unknown {what} {shown(first)}{others}: {remedy}")


def refuse_alike(path: Path, what: str, unknown: Sequence[tuple[int, str]], known: Iterable[str]) -> None:
    """Raises `DataError` for an unknown id that is a known one but for blanks, first zeros, ".0" or accent coding."""

    def plain(name: str) -> str:
        return folded(name, lowercase=False).strip().removesuffix(".0").lstrip("0")

    by_plain = {plain(name): name for name in known} if unknown else {}
    for line, name in unknown:
        if meant := by_plain.get(plain(name)):
            found = f"unknown {what} {shown(name)}, but there is {shown(meant)}"
            raise DataError(path, line, f"{found}: write it the same way in all files")


def rows_of(path: Path, what: str, how: Reading, *roles: str) -> Rows:
    """(line, record, columns) of each row; the columns of the roles are those of the first row."""
    columns: list[str] = []
    layout: tuple[str, ...] = ()
    for line, read in how.read(path, what, how.encoding, how.wanted):
        record = how.prepare(path, line, read) if how.prepare else read
        if record is None:
            continue
        if layout != tuple(record):
            layout = tuple(record)
            for role in roles:
                _refuse_two(path, line, role, [name for name in how.names[role] if name in record])
        for role in roles[len(columns) :]:
            found = next((name for name in how.names[role] if name in record), None)
            if found is None:
                other_case = next((name for name in record if name.lower() in how.names[role]), "...")
                raise _missing(path, line, how.names[role], record, f"columns: {{{role}: {other_case}}}")
            if found in columns:
                other = roles[columns.index(found)]
                raise DataError(path, line, f"columns: {found!r} is both the {other} and the {role}: correct one")
            columns.append(found)
        yield line, record, columns


def _refuse_two(path: Path, line: int, role: str, fitting: Sequence[str]) -> None:
    if len(fitting) > 1:
        what = f"{' and '.join(map(repr, fitting))} could both be the {role}"
        raise DataError(path, line, f"{what}: say which with the task's option columns: {{{role}: {fitting[0]}}}")


def _missing(path: Path, line: int, names: Sequence[str], record: Record, option: str) -> DataError:
    what = f"no field {' or '.join(map(repr, names))}; the fields are: {listed(record)}"
    table = option != "text_fields" and not ending_of(path.name).startswith((".jsonl", ".parquet"))
    header = "; if these are values, write a header above them" if table else ""
    return DataError(path, line, f"{what} (name it with {option}{header})")


def _refuse_known(path: Path, line: int, name: str, known: int, what: str, remedy: str = "") -> NoReturn:
    text = f"{what} id {shown(name)} is on line {known} already"
    raise DataError(path, line, f"{text} (an id names one {what}{remedy})")
