"""Judgements of any origin: which item has which grade for which query, and what was left out of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from recr1.errors import DataError, UserError, shown
from recr1.tasks.cells import MISSING, id_of, is_missing, text_of
from recr1.tasks.readers import records
from recr1.tasks.tables import COLUMNS

Roles: TypeAlias = Mapping[str, tuple[str, ...]]
"""What a column holds -> its usual names."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]+)?")


class Judgement(NamedTuple):
    """A grade of an item; without an item, a query that nobody judged; without a grade, a pair that nobody did."""

    query_id: str | None
    text: str | None
    item: str | None
    grade: float | None
    source: str | None = None
    """The judge who gave the grade, where a file says so."""

    @property
    def query(self) -> str:
        """The id, or for a query without one, its text."""
        return self.query_id or self.text or ""


@dataclass
class Judgements:
    """Rows in the order of their files; no pair of query and item twice once they are `merged`."""

    rows: list[Judgement] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What was left out, merged or changed -> how many."""
    averaged: bool = False
    """Whether several judges mean their mean unless some are chosen, as in a book of Quepid."""

    @property
    def sources(self) -> list[str]:
        """The judges that the rows name, in their order."""
        return list(dict.fromkeys(row.source for row in self.rows if row.source is not None))

    def merged(self, sources: Sequence[str] = (), option: str = "--source") -> Judgements:
        """Rows that all name queries alike, by id or all by text, and each pair once.

        A pair has the mean of its judges, who are those of `sources` if some are given, and of one judge the highest
        grade. `option` chooses the judges, for messages. Raises `UserError` for a judge that no row names and for
        several of which none is chosen, for a query id with two texts, and if some rows have ids only and others have
        texts only.
        """
        rows = self._of(sources, option)
        by_id, by_text = all(row.query_id for row in rows), all(row.text for row in rows)
        if not (by_id or by_text):
            raise UserError("some rows have query ids and others texts: give the texts of the ids with --queries FILE")
        counts, known = self.counts.copy(), dict[str, str | None]()
        counts["judgements of other judges, left out"] += len(self.rows) - len(rows)
        pairs = dict[tuple[str, str | None], dict[str | None, Judgement]]()
        for row in rows if by_id else [row._replace(query_id=None) for row in rows]:
            if known.setdefault(row.query, row.text) != row.text:
                two = f"{shown(known[row.query])} and {shown(row.text)}"
                raise UserError(f"query id {shown(row.query)} has two texts, {two}: correct one of them")
            judges = pairs.setdefault((row.query, row.item), {})
            before = judges.setdefault(row.source, row)
            if before is not row:
                kind = "same grade" if before.grade == row.grade else "other grade, highest kept"
                counts[f"judgements of a pair that has one already, {kind}"] += 1
                if before.grade is None or (row.grade is not None and row.grade > before.grade):
                    judges[row.source] = row
        merged = []
        for judges in pairs.values():
            grades = [row.grade for row in judges.values() if row.grade is not None]
            counts["pairs of several judges, mean taken"] += len(grades) > 1
            counts["pairs whose judges differ"] += len(set(grades)) > 1
            mean = sum(grades) / len(grades) if grades else None
            merged.append(next(iter(judges.values()))._replace(grade=mean, source=None))
        return Judgements(merged, counts)

    def _of(self, sources: Sequence[str], option: str) -> list[Judgement]:
        named = ", ".join(self.sources) or "none"
        if unknown := next((name for name in sources if name not in self.sources), None):
            raise UserError(f"{option}: no judge {shown(unknown)} here; the judges are: {named}")
        if len(self.sources) > 1 and not (sources or self.averaged):
            remedy = f"{option} {self.sources[0]}, or several with commas for their mean"
            raise UserError(f"{len(self.sources)} judges graded these pairs ({named}): choose one with {remedy}")
        return [row for row in self.rows if not sources or row.source is None or row.source in sources]

    def graded(self) -> list[Judgement]:
        """The rows with a grade; the others are counted."""
        kept = [row for row in self.rows if row.grade is not None]
        with_item = sum(row.item is not None for row in self.rows)
        self.counts["pairs without a grade, left out"] = with_item - len(kept)
        self.counts["queries without a judgement, left out"] = len(self.rows) - with_item
        return kept


def grade_of(path: Path, line: int | None, value: Any, where: str = "") -> float | None:
    """A number, also as text; None for an empty value. Raises `DataError` for anything else."""
    if value is None or (isinstance(value, str) and is_missing(value)):
        return None
    plain = str(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(plain):
        raise DataError(path, line, f"{where}grade {shown(value)} is not a number: write it as 0, 1, 2 or 1.5")
    return float(plain)


def item_of(path: Path, line: int | None, value: Any, name: str = "item") -> str:
    """A required id, as `task: files` takes it; raises `DataError`."""
    return id_of(path, line or 0, {name: value}, name, MISSING)


def query_of(path: Path, line: int | None, value: Any, name: str = "query") -> str:
    """A required text of one line; raises `DataError`."""
    text = text_of(path, line or 0, {name: value}, name, ())
    if "\n" in text or "\r" in text or "\t" in text:
        raise DataError(path, line, f"query {shown(text)} has a tab or a line break: write it in one line")
    return text


def columns_of(
    path: Path, what: str, roles: Roles, named: Mapping[str, str], needed: Sequence[str], why: str = ""
) -> dict[str, str]:
    """Role -> the column of a file that has it, of each role that one has.

    Raises `DataError` for two, and for none of those `needed`, "a|b" for one of two; `why` is said of these.
    """
    if unknown := next((role for role in named if role not in roles), None):
        raise UserError(f"--columns: no role {unknown!r} here (roles: {', '.join(roles)})")
    line, record = next(records(path, what))
    found, listed = dict[str, str](), f"the columns are: {', '.join(record)}"
    for role, usual in roles.items():
        fitting = [name for name in ([named[role]] if role in named else usual) if name in record]
        if role in named and not fitting:
            raise DataError(path, None, f"no column {named[role]!r}; {listed} (correct --columns {role}=...)")
        if len(fitting) > 1:
            both = f"{' and '.join(map(repr, fitting))} could both be the {role}"
            raise DataError(path, None, f"{both}: say which with --columns {role}={fitting[0]}")
        found |= dict.fromkeys([role] * len(fitting), "".join(fitting))
    if lacking := [role.split("|")[0] for role in needed if not {*role.split("|")} & {*found}]:
        missing = f"no column for the {' and the '.join(lacking)}{why}; {listed}"
        raise DataError(path, line, f"{missing} (name it with --columns {lacking[0]}=...)")
    return found


def values_of(path: Path, what: str, names: Collection[str]) -> Iterator[tuple[int, list[Any]]]:
    """(line, values) of each row of a table, in the order of the columns; `DataError` for a row without one."""
    for line, record in records(path, what):
        if absent := next((name for name in names if name not in record), None):
            raise DataError(path, line, f"no field {absent!r}: every row needs it")
        yield line, [record[name] for name in names]


JUDGEMENT_ROLES: Roles = {
    "query_id": COLUMNS["qrels_need"],
    "query": ("query", "query_text"),
    "item": (*COLUMNS["qrels_item"], "docid", "item", "product_id"),
    "grade": (*COLUMNS["grade"], "rating"),
    "source": ("source", "judge"),
}
"""The columns of a table of judgements; `query` is a text, `source` is the judge."""
