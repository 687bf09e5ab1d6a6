"""Files of judgements as other tools write them: which format one has, and its rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from recr1.errors import DataError, UserError, shown
from recr1.judgements.base import (
    JUDGEMENT_ROLES,
    Judgement,
    Judgements,
    columns_of,
    grade_of,
    item_of,
    query_of,
    values_of,
)
from recr1.tasks.disk import PARQUET, ending_of, head_of, lines
from recr1.tasks.readers import csv_rows, document
from recr1.tasks.tables import COLUMNS, Reading, read_needs

QUEPID_HEADER = ["query", "docid", "rating"]
_ITERATION = re.compile(r"Q0|[0-9]+(\.[0-9]+)?")
_LTR = re.compile(r"(\S+)\s+qid:(\S+)((?:\s+[^\s#:]+:\S+)*)\s+#\s*(\S+)(?:\s+(.*\S))?\s*")
_KEYS = {"book": {"query_doc_pairs"}, "rre": {"queries", "topics"}, "workbench": {"judgmentRatings", "hits"}}
"""A format of JSON -> the keys of which it has one."""
_Rows: TypeAlias = Iterator[Judgement]
_Named: TypeAlias = Mapping[str, str]


def read_judgements(
    paths: Sequence[Path],
    kind: str | None = None,
    columns: _Named | None = None,
    queries: Path | None = None,
    sources: Sequence[str] = (),
) -> Judgements:
    """The judgements of files, each pair once, and what was left out or merged: `read_all`, then `merged`."""
    return read_all(paths, kind, columns, queries).merged(sources)


def read_all(
    paths: Sequence[Path], kind: str | None = None, columns: _Named | None = None, queries: Path | None = None
) -> Judgements:
    """The rows of files in any of `FORMATS`, with those of every judge.

    `kind` is their format, by default the one that fits what a file holds; `columns` is role -> column of tables with
    other names than usual; `queries` is a file of query ids and their texts, as `task: {type: files}` reads it. Raises
    `UserError` for anything wrong in a file, one that fits no format or two, and a query id without a text.
    """
    found, kinds = Judgements(), set[str]()
    for path in paths:
        name = kind or _format_of(path, columns or {})
        kinds.add(name)
        before = len(found.rows)
        found.rows += FORMATS[name](path, columns or {}, found.counts)
        if len(found.rows) == before:
            raise DataError(path, None, f"no judgements: the file has no rows that could be read as {name}")
    found.averaged = kinds == {"book"}
    if queries:
        needs = read_needs(queries, Reading(COLUMNS, None, (), Counter()))
        lacking = next((row.query_id for row in found.rows if not row.text and row.query_id not in needs), None)
        if lacking is not None:
            raise UserError(f"query id {shown(lacking)} is not in {queries}: add it, or remove its rows")
        found.rows = [row if row.text else row._replace(text=needs[row.query_id or ""].text) for row in found.rows]
    return found


def _format_of(path: Path, named: _Named) -> str:
    """The one format that fits a file; raises `DataError` for none, and for two."""
    parquet = head_of(path).startswith(PARQUET)
    first = "" if parquet else next((row for _, row in lines(path) if row.strip()), "").strip()
    cells, names = first.split(), [name.strip().strip('"') for name in re.split(r"[,;\t|]", first)]
    item, grade = ({*JUDGEMENT_ROLES[role]} & {*names} for role in ("item", "grade"))
    table = parquet or ending_of(path.name).startswith((".jsonl", ".parquet"))
    fits = {
        "ltr": len(cells) > 1 and cells[1].startswith("qid:"),
        "trec": len(cells) in (4, 5) and bool(_ITERATION.fullmatch(cells[1])) and bool(re.search("[0-9]", cells[3])),
        "quepid": names == QUEPID_HEADER,
        "csv": bool(named) or table or (names != QUEPID_HEADER and bool(item and grade)),
    }
    if first.startswith(("{", "[")) and not fits["csv"]:
        content = document(path)
        fits |= {name: isinstance(content, dict) and bool(keys & {*content}) for name, keys in _KEYS.items()}
    fitting = [name for name, fit in fits.items() if fit]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(path, None, f"{' and '.join(fitting)} both fit: say which with --from {fitting[0]}")
    what = f"no format of judgements fits (known: {', '.join(FORMATS)}), it begins with {shown(first)}"
    raise DataError(path, None, f"{what}: say which with --from, or name the columns of a table with --columns")


def _trec(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    for line, text in lines(path):
        cells = text.split()
        if not cells:
            continue
        if len(cells) not in (4, 5):
            what = f"{len(cells)} columns in {shown(text.strip())}: TREC has query, 0, item, grade"
            raise DataError(path, line, f"{what} (ids must not contain blanks)")
        if not _ITERATION.fullmatch(cells[1]):
            what = f"the second column is {shown(cells[1])}, where TREC has 0 or Q0"
            raise DataError(path, line, f"{what}: order the columns as query, 0, item, grade")
        counts["second columns of TREC other than 0, left out"] += cells[1] not in ("0", "Q0")
        counts["fifth columns of TREC, left out"] += len(cells) == 5
        query, item = query_of(path, line, cells[0]), item_of(path, line, cells[2])
        yield Judgement(query, None, item, grade_of(path, line, cells[3]))


def _ltr(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    for line, text in lines(path):
        if not text.strip():
            continue
        found = _LTR.fullmatch(text)
        if found is None:
            raise DataError(path, line, f"{shown(text.strip())} is not 'grade qid:QUERY # ITEM text': correct the line")
        counts["features of LTR, left out"] += len(found[3].split())
        words = query_of(path, line, found[5]) if found[5] else None
        yield Judgement(found[2], words, item_of(path, line, found[4]), grade_of(path, line, found[1]))


def _quepid(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    rows = csv_rows(path)
    line, header = next(rows, (1, []))
    if [name.strip() for name in header] != QUEPID_HEADER:
        raise DataError(path, line, f"the header is {shown(header)}: Quepid's is query,docid,rating")
    for line, cells in rows:
        if len(cells) not in (1, 3):
            raise DataError(path, line, f"{len(cells)} columns, but Quepid has query, docid and rating: quote commas")
        query, docid, rating = (_without_blank(cell, counts) for cell in [*cells, "", ""][:3])
        grade, item = grade_of(path, line, rating), item_of(path, line, docid, "docid") if docid else None
        if item is None and grade is not None:
            raise DataError(path, line, f"a rating {shown(rating)} without a docid: add it, or remove the rating")
        yield Judgement(None, query_of(path, line, query), item, grade)


def _without_blank(cell: str, counts: Counter[str]) -> str:
    """Quepid writes a blank before what a spreadsheet would take for a formula."""
    guarded = cell[:1] == " " and cell[1:2] in ("-", "=", "+", "@")
    counts["blanks of Quepid before - = + @, removed"] += guarded
    return cell[1:] if guarded else cell


def _csv(path: Path, named: _Named, _: Counter[str]) -> _Rows:
    found = columns_of(path, "judgements", JUDGEMENT_ROLES, named, ("query|query_id", "item", "grade"))
    for line, values in values_of(path, "judgements", found.values()):
        cells = dict(zip(found, values, strict=True))
        grade = grade_of(path, line, cells.pop("grade"))
        read = {
            role: (query_of if role == "query" else item_of)(path, line, cells[role], found[role]) for role in cells
        }
        yield Judgement(read.get("query_id"), read.get("query"), read["item"], grade, read.get("source"))


def _book(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    for where, pair in _members(path, "", document(path), "query_doc_pairs"):
        query = query_of(path, None, pair.get("query_text"), f"{where}query_text")
        item = item_of(path, None, pair.get("doc_id"), f"{where}doc_id")
        judges = list(_members(path, where, pair, "judgements"))
        for number, (place, one) in enumerate(judges, 1):
            grade, unrateable = grade_of(path, None, one.get("rating"), place), one.get("unrateable") is True
            counts["judgements marked unrateable, left out"] += unrateable
            counts["judgements without a rating, left out"] += grade is None and not unrateable
            judge = str(one.get("user_email") or f"judge {number}")
            yield Judgement(None, query, item, None if unrateable else grade, judge)
        if not judges:
            yield Judgement(None, query, item, None)


def _rre(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    yield from _rre_group(path, "", document(path))


def _rre_group(path: Path, where: str, group: Any) -> _Rows:
    """The queries of a file, of a topic or of a group of queries, which may say the answers for all of them."""
    key = next((key for key in ("topics", "query_groups") if isinstance(group, dict) and key in group), "queries")
    for place, one in _members(path, where, group, key):
        if key != "queries":
            yield from _rre_group(path, place, one)
            continue
        holders, answers = one.get("placeholders"), one.get("relevant_documents", group.get("relevant_documents"))
        text = holders.get("$query") if isinstance(holders, dict) else None
        query = query_of(path, None, text, f"{place}placeholders.$query")
        if not isinstance(answers, dict) or not all(isinstance(ids, list) for ids in answers.values()):
            what = f"{place}relevant_documents is {shown(answers)}"
            raise DataError(path, None, f"{what}: it must be an object of grades with lists of ids")
        for grade, ids in answers.items():
            number = grade_of(path, None, grade, f"{place}relevant_documents: ")
            yield from (Judgement(None, query, item_of(path, None, i, f"{place}item"), number) for i in ids)
        if not any(answers.values()):
            yield Judgement(None, query, None, None)


def _workbench(path: Path, _: _Named, counts: Counter[str]) -> _Rows:
    content = document(path)
    found = [("", content)]
    if isinstance(content, dict) and isinstance(content.get("hits"), dict):  # the answer of OpenSearch to GET judgments
        found = [(f"{at}_source.", hit.get("_source")) for at, hit in _members(path, "hits.", content["hits"], "hits")]
    for start, one in found:
        for where, rated in _members(path, start, one, "judgmentRatings"):
            query = query_of(path, None, rated.get("query"), f"{where}query")
            ratings = list(_members(path, where, rated, "ratings"))
            for place, rating in ratings:
                item = item_of(path, None, rating.get("docId"), f"{place}docId")
                yield Judgement(None, query, item, grade_of(path, None, rating.get("rating"), place))
            if not ratings:
                yield Judgement(None, query, None, None)


def _members(path: Path, where: str, value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each object in a list; raises `DataError`."""
    found = value.get(key) if isinstance(value, dict) else value
    if not isinstance(value, dict) or not isinstance(found, list):
        raise DataError(path, None, f"{where}{key} is {shown(found)}: it must be a list of objects")
    for place, member in enumerate(found):
        if not isinstance(member, dict):
            raise DataError(path, None, f"{where}{key}[{place}] is {shown(member)}: it must be an object")
        yield f"{where}{key}[{place}].", member


_Reader: TypeAlias = Callable[[Path, _Named, Counter[str]], _Rows]
FORMATS: Mapping[str, _Reader] = dict(
    trec=_trec, csv=_csv, quepid=_quepid, book=_book, rre=_rre, ltr=_ltr, workbench=_workbench
)
"""What is read, by the name that --from takes; `csv` is any table with a header, JSONL and Parquet included."""


def named_columns(text: str) -> dict[str, str]:
    """{role: column} of "role=column,role=column"; raises `UserError`."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(role and sign and name for role, sign, name in parts):
        raise UserError(f"--columns must be role=column,role=column, such as item=sku,grade=stars, got {text!r}")
    return {role.strip(): name.strip() for role, _, name in parts}
