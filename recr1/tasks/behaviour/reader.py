"""The source that reads interactions: files of who took what, when, in the forms in which people have them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from recr1.errors import DataError, shown
from recr1.tasks.behaviour.source import Review, SplitSource
from recr1.tasks.cells import MISSING, id_of, is_missing, text_of
from recr1.tasks.disk import ENDINGS, encoding_problem, ending_of, is_file, kind_of
from recr1.tasks.readers import Record
from recr1.tasks.tables import TEXT_FIELDS, Names, Reading, read_catalog, refuse_alike, refuse_unknown, rows_of
from retrievers.base import Catalog
from retrievers.behaviour.base import EVENT
from retrievers.options import checked, did_you_mean
from retrievers.store import expanded

ROLES: Names = {
    "user": ("user_id", "user", "userId", "customer_id", "reviewerID"),
    "item": ("item_id", "item", "itemId", "movieId", "product_id", "article_id", "parent_asin", "asin"),
    "items": ("item_id_list", "items", "basket"),
    "time": ("timestamp", "time", "datetime", "date", "unixReviewTime"),
    "rating": ("rating", "score", "overall", "stars"),
    "review_title": (),
    "review_text": (),
    "group": (),
}
"""The usual column names of interactions by role; the last three are read only where `columns` names them."""
_ITEM = ("_id", "id", *ROLES["item"])
_LATEST = 10**11
"""A larger time is in milliseconds, microseconds or nanoseconds: as seconds, it would be after the year 5138."""


class _Row(NamedTuple):
    line: int
    user: str
    items: tuple[str, ...]
    value: float
    time: int


@checked
@dataclass(kw_only=True, eq=False)
class Interactions(SplitSource):
    """Who took what, when, from a file of events and a file of items, in any form that `recr1` reads.

    Files are CSV, TSV, JSONL, Parquet, or RecBole's atomic files (`.inter`, `.item`), packed with gzip or not. A row is
    an event of a user and an item, or with `items` of several: a basket, or a sequence where no time is known. Where a
    row has both, the list is what came before the item, and of rows of a user the longest is taken. A time is in
    seconds (milliseconds and so on where it is larger than any seconds are) or written as a date; without times,
    events are in the order of the file.

    Left out and counted: rows of unknown items (refused with `unknown_items: refuse`, or where no item is known),
    ratings that are missing, outside of `scale` or below `at_least`, and events of a user, item and time that are
    there already. Without a file of items, an item's id is its text.
    """

    path: str
    """The folder, or the file of interactions."""
    interactions: str | None = None
    """The name of the file of interactions; null for `interactions` or `ratings`, or the only one in .inter."""
    items: str | None = None
    """The name of the file of items; null for the file `items` or `movies`, or the only one in .item."""
    columns: dict[str, str] | None = None
    """The column of a role (user, item, items, time, rating, review_title, review_text, group; item_id in the file of
    items) that has another name than the usual ones: {user: customer}."""
    scale: tuple[float, float] | None = None
    """The lowest and the highest rating: events have ratings. Null: they do not, whatever the file has."""
    at_least: float | None = None
    """The lowest rating that counts as taken."""
    unknown_items: Literal["exclude", "refuse"] = "exclude"
    """If an item is not in the file of items, leave its events out, or refuse the data."""
    text_fields: tuple[str, ...] = ()
    """The fields that together are an item's text; none for `title` and `text`, if they exist."""
    encoding: str | None = None
    """The encoding of text files that are not UTF-8, such as cp1252."""

    def __post_init__(self) -> None:
        counts = Counter[str]()
        own = {role: (name,) for role, name in (self.columns or {}).items()}
        how = Reading({**ROLES, "item_id": _ITEM, **own}, self.encoding, frozenset(MISSING), counts)
        path = self._file("interactions", self.interactions, ("interactions", "ratings"), ".inter")
        items = self._file("items", self.items, ("items", "movies"), ".item")
        assert path is not None
        rows = list(self._rows(path, how))
        if not rows:
            raise _nothing_left(path)
        if items is None:
            ids = list(dict.fromkeys(item for row in rows for item in row.items))
            catalog = Catalog(ids, ids)
            counts["items without a file, whose id is their text"] = len(ids)
        else:
            catalog = read_catalog(items, how, self.text_fields or None)
            self.text_fields = self.text_fields or tuple(name for name in TEXT_FIELDS if name in catalog.fields)
        self._refuse_unknown(path, rows, catalog, counts)
        number_of = {user: number for number, user in enumerate(dict.fromkeys(row.user for row in rows))}
        events = [
            (number_of[row.user], catalog.row(item), row.value, row.time)
            for row in rows
            for item in row.items
            if item in catalog
        ]
        once = {
            (user, row, time, 0 if time else place): (user, row, value, time)
            for place, (user, row, value, time) in enumerate(events)
        }
        counts["events merged, the same user, item and time"] = len(events) - len(once)
        if not once:
            raise _nothing_left(path)
        said = {
            (number_of[user], catalog.row(item)): what for (user, item), what in self._said.items() if item in catalog
        }
        groups = [self._group_of.get(user, "") for user in number_of]
        self.settle(catalog, np.array([*once.values()], EVENT), [*number_of], counts, groups=groups, reviews=said)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problems = super().check_options(options)
        unknown = [role for role in options.get("columns") or {} if role not in (*ROLES, "item_id")]
        if unknown:
            problems.append(
                f"columns: no role {unknown[0]!r}{did_you_mean(unknown[0], ROLES)} (roles: {', '.join(ROLES)})"
            )
        if options.get("scale") is not None and options["scale"][0] >= options["scale"][1]:
            problems.append(f"scale: must be the lowest and the highest rating, got {list(options['scale'])}")
        if options.get("encoding") is not None and (problem := encoding_problem(options["encoding"])):
            problems.append(f"encoding: {problem}")
        return problems

    def _file(self, what: str, name: str | None, stems: Sequence[str], atomic: str) -> Path | None:
        """The file of interactions or items; None where no file of items is named and there is none."""
        place = expanded(self.path)
        if kind_of(place) == "file":
            if what == "interactions" and name is None:
                return place
            place = place.parent
        if kind_of(place) != "folder":
            raise DataError(
                self.path, None, f"no such file or folder (relative to {Path.cwd()}): set the source's path"
            )
        if name is not None:
            if not is_file(place / name):
                raise DataError(place / name, None, f"no such file: name the file of {what} with the option {what}")
            return place / name
        files = sorted(file for file in place.iterdir() if kind_of(file) == "file")
        found = [file for file in files if file.name.lower().removesuffix(ending_of(file.name)) in stems]
        found = found or [file for file in files if file.name.lower().removesuffix(".gz").endswith(atomic)]
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise DataError(place, None, f"{names} could both be the {what}: name one with the option {what}")
        if not found and what == "interactions":
            looked = f"{', '.join(f'{stem}{ending}' for stem in stems for ending in ENDINGS)} and *{atomic}"
            raise DataError(place, None, f"no file of interactions (looked for {looked}): name it with interactions")
        return found[0] if found else None

    def _rows(self, path: Path, how: Reading) -> Iterator[_Row]:
        """The rows that are events, and what was said in them; counts the others."""
        _, first = next(how.read(path, "interactions", how.encoding, how.wanted))
        there = {
            role for role in ROLES if role in (self.columns or {}) or any(name in first for name in how.names[role])
        }
        wanted = there - ({"rating"} if self.scale is None and self.at_least is None else set())
        roles = [role for role in ROLES if role in {*wanted, "user", *(() if "items" in there else ("item",))}]
        self._said: dict[tuple[str, str], Review] = {}
        self._group_of: dict[str, str] = {}
        sequences: dict[str, _Row] = {}
        for line, record, columns in rows_of(path, "interactions", how, *roles):
            of = dict(zip(roles, columns, strict=True))
            user = id_of(path, line, record, of["user"], how.missing)
            items = self._items(path, line, record, of, how)
            value = self._value(path, line, record, of.get("rating"), how)
            if value is None or not items:
                how.counts["rows without an item"] += not items
                continue
            time = _seconds(path, line, record, of["time"], how) if "time" in of else 0
            if "group" in of and not is_missing(record.get(of["group"]), how.missing):
                self._group_of[user] = str(record[of["group"]])
            if "review_title" in of or "review_text" in of:
                title, text = (str(record.get(of.get(role, "")) or "") for role in ("review_title", "review_text"))
                about = user, items[-1]
                how.counts["reviews replaced by a later row of the user and item"] += about in self._said
                self._said[about] = Review(title, text)
            row = _Row(line, user, items, value, time)
            if "items" in of and "item" in of:
                row = row._replace(time=0)  # that of the item alone
                before = sequences.get(user)
                how.counts["rows whose items a longer row of the user has"] += before is not None
                sequences[user] = row if before is None or len(before.items) < len(items) else before
            else:
                yield row
        yield from sequences.values()

    def _items(self, path: Path, line: int, record: Record, of: Mapping[str, str], how: Reading) -> tuple[str, ...]:
        listed = record.get(of["items"]) if "items" in of else ()
        if isinstance(listed, str):
            listed = listed.replace(",", " ").split()
        if not isinstance(listed, list | tuple):
            what = f"{shown(listed)} in {of['items']!r} is not a list of items"
            raise DataError(path, line, f"{what}: write ids with blanks between them, or a list in JSON")
        one = (id_of(path, line, record, of["item"], how.missing),) if "item" in of else ()
        there = (item for item in listed if not is_missing(item, how.missing))
        return (*(id_of(path, line, {of["items"]: item}, of["items"], how.missing) for item in there), *one)

    def _value(self, path: Path, line: int, record: Record, column: str | None, how: Reading) -> float | None:
        """The value of an event; None where it is left out."""
        if column is None:
            return 1.0
        cell = record.get(column)
        if is_missing(cell, how.missing):
            how.counts["events left out, no rating"] += 1
            return None
        try:
            value = _number(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            what = f"rating {shown(cell)} is not a number"
            raise DataError(
                path, line, f"{what}: correct it, or name the column of ratings with columns: {{rating: ...}}"
            )
        if self.scale is not None and not self.scale[0] <= value <= self.scale[1]:
            how.counts[f"events left out, rating outside of {self.scale[0]:g} to {self.scale[1]:g}"] += 1
            return None
        if self.at_least is not None and value < self.at_least:
            how.counts[f"events left out, rating below {self.at_least:g}"] += 1
            return None
        return value if self.scale is not None else 1.0

    def _refuse_unknown(self, path: Path, rows: Sequence[_Row], catalog: Catalog, counts: Counter[str]) -> None:
        unknown = [(row.line, item) for row in rows for item in row.items if item not in catalog]
        if self.unknown_items == "refuse" or len(unknown) == sum(len(row.items) for row in rows):
            refuse_alike(path, "item", unknown, catalog.ids)
            remedy = "add them to the file of items, or leave their events out with unknown_items: exclude"
            refuse_unknown(path, "item", unknown, remedy)
        counts["events left out, unknown item"] = len(unknown)


def _nothing_left(path: Path) -> DataError:
    return DataError(path, None, "no event is left: see what was left out with a lower at_least or another scale")


def _number(cell: object) -> float:
    """The number that a cell says; raises `ValueError` for another text, and for "1_0", which Python reads as 10."""
    return float(str(cell).replace("_", "?"))


def _seconds(path: Path, line: int, record: Record, column: str, how: Reading) -> int:
    """A time in seconds: of a number (of milliseconds and so on), or of a date, which is in UTC without a zone."""
    cell = record.get(column)
    if isinstance(cell, date):  # a datetime is one too; of Parquet
        cell = cell.isoformat()
    text = text_of(path, line, {column: cell if isinstance(cell, str) else str(cell)}, column, how.missing).strip()
    try:
        number = _number(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            what = f"time {shown(cell)} is neither a number of seconds nor a date such as 2011-12-09 12:50:00"
            raise DataError(path, line, f"{what}: correct it, or name the column of times with columns") from error
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if not math.isfinite(number):
        raise DataError(path, line, f"time {shown(cell)} is not a number: correct it, or remove this row")
    while abs(number) >= _LATEST:
        number /= 1000
    return int(number)
