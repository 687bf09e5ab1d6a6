"""The head table: rewrites of the queries that come most, made before they come.

A row has `query` (the raw need), `rewrite` (what to search for), `gate` (whether it may be used; null without a gate),
`evidence` (what is known of it; JSON text in Parquet) and `bundle` (the id of the bundle that wrote it).
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recr1.errors import DataError, MissingLibrary, UserError, shown
from recr1.judgements.base import columns_of, query_of, values_of
from recr1.runs.files import append_lines, read_lines, write_lines, writing
from retrievers.progress import ProgressBar
from retrievers.store import expanded

if TYPE_CHECKING:
    from recr1.serve.rewriter import Rewriter

COLUMNS = ("query", "rewrite", "gate", "evidence", "bundle")
ENDINGS = (".jsonl", ".parquet")
BEGIN = b'{"query": '
CHUNK = 512
"""Needs that are written before they are on disk."""


def normal(need: str) -> str:
    """The key of a need: NFKC, case folded, white space collapsed. Needs with equal keys get one rewrite."""
    return " ".join(unicodedata.normalize("NFKC", need).casefold().split())


class Entry(NamedTuple):
    """A row of a table."""

    query: str
    """The raw need."""
    rewrite: str
    gate: bool | None
    evidence: Mapping[str, Any]

    @property
    def used(self) -> bool:
        """Whether the rewrite is searched, and not the raw need."""
        return self.gate is not False and self.rewrite != self.query

    def to_dict(self, bundle: str) -> dict[str, Any]:
        """The row."""
        return dict(zip(COLUMNS, (*self, bundle), strict=True))


@dataclass(frozen=True)
class Table:
    """A head table in memory."""

    bundle: str
    """The id of the bundle that wrote it."""
    entries: Sequence[Entry]
    _by_key: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {normal(entry.query): entry for entry in self.entries})

    def get(self, need: str) -> Entry | None:
        """The row of a need; None where there is none."""
        return self._by_key.get(normal(need))

    @classmethod
    def load(cls, path: str | Path, *, bundle: str) -> Table:
        """The table of a file, .jsonl or .parquet; raises `UserError` where another bundle than this wrote it."""
        file = expanded(path)
        _check_ending(file)
        entries, writers = [], set[str]()
        for line, (query, rewrite, gate, evidence, writer) in values_of(file, "rows of a head table", COLUMNS):
            if not (gate is None or isinstance(gate, bool)):
                raise DataError(file, line, f"gate must be true, false or null, got {shown(gate)}")
            known = evidence if isinstance(evidence, Mapping) else _evidence(file, line, evidence)
            entries.append(Entry(query_of(file, line, query), query_of(file, line, rewrite, "rewrite"), gate, known))
            writers.add(str(writer))
        made = cls(bundle, entries)
        if others := writers - {bundle}:
            remedy = "remove it, and write it again: recr1 rewrite BUNDLE QUERIES --out TABLE"
            raise UserError(
                f"{path} was written by the bundle {min(others)}, and this is the bundle {bundle}: {remedy}"
            )
        if len(made._by_key) < len(entries):
            raise DataError(file, None, "two rows have queries that differ in case or white space alone: keep one")
        return made


def _evidence(file: Path, line: int, text: Any) -> Mapping[str, Any]:
    try:
        known = json.loads(text)
    except (ValueError, TypeError):
        known = None
    if not isinstance(known, dict):
        raise DataError(file, line, f"evidence must be a JSON object, got {shown(text)}")
    return known


def read_queries(path: str | Path, named: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Key of a need -> its text as it came first, and how often it came, in the order of the file.

    A file of lines (.txt: a query in each), or a table with a column `query` and, if it has one, `count`; `named` gives
    other names for these roles. Empty lines are left out. Raises `DataError`, and `UserError` for a file without any.
    """
    file = expanded(path)
    found: dict[str, tuple[str, int]] = {}
    for text, count in _lines(file) if file.suffix == ".txt" else _rows(file, named):
        key = normal(text)
        if key:
            first, before = found.get(key, (text, 0))
            found[key] = (first, before + count)
    if not found:
        raise UserError(f"{path} has no queries")
    return found


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for line in lines:
                yield " ".join(line.split()), 1
    except UnicodeDecodeError as error:
        raise DataError(file, None, f"is not UTF-8 ({error.reason}): convert it") from error


def _rows(file: Path, named: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    roles = {"query": ("query", "query_text", "text", "user_query"), "count": ("count", "frequency", "searches")}
    found = columns_of(file, "queries", roles, named, ["query"])
    for line, values in values_of(file, "queries", list(found.values())):
        of = dict(zip(found, values, strict=True))
        count = of.get("count", 1)
        if str(count).strip().isdecimal():
            yield query_of(file, line, of["query"]), int(count)
        else:
            raise DataError(file, line, f"count must be an integer >= 0, got {shown(count)}")


def write_table(rewriter: Rewriter, queries: Mapping[str, tuple[str, int]], out: str | Path) -> Table:
    """Write the table of all queries, in their order; what an interrupted call has written is not written again.

    Raises `UserError` for another ending, and where the rest of an interrupted call is of another bundle; what the
    model raises passes through.
    """
    file, bundle = expanded(out), rewriter.by
    _check_ending(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = file.with_name(f".{file.name}.part.jsonl")
    _drop_half_line(begun)
    done = Table.load(begun, bundle=bundle).entries if begun.exists() and begun.stat().st_size else ()
    have = {normal(entry.query): entry for entry in done}
    left = [key for key in queries if key not in have]
    with ProgressBar() as bar:
        bar.begin(f"rewriting, {len(have):,} done before" if have else "rewriting", len(left))
        for start in range(0, len(left), CHUNK):
            keys = left[start : start + CHUNK]
            entries = rewriter.entries([queries[key][0] for key in keys])
            have.update(
                (key, one._replace(evidence={**one.evidence, "count": queries[key][1]}))
                for key, one in zip(keys, entries, strict=True)
            )
            append_lines(begun, (have[key].to_dict(bundle) for key in keys))
            bar.advance(start + len(keys), len(left))
    table = Table(bundle, [have[key] for key in queries])
    _write(table, file)
    begun.unlink(missing_ok=True)
    return table


def kept_on_disk(file: Path, bundle: str, most: int) -> list[Entry]:
    """The newest rewrites that a server of this bundle has kept in a file, at most this many; others are removed.

    A missing file is made. Raises `UserError` for a file of another bundle, or of something else, which stays as it is.
    """
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = read_lines(file) if file.exists() else []
    try:
        if not rows and file.exists() and not BEGIN.startswith(file.read_bytes()[: len(BEGIN)]):
            raise TypeError  # what a kill left of a first line begins as one
        kept = {normal(row["query"]): row for row in rows}  # of two, the later
        entries = [Entry(*(row[name] for name in COLUMNS[:-1])) for row in kept.values()][-most:]
        others = {str(row["bundle"]) for row in rows} - {bundle}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} has no rewrites: name a new file, or one that this bundle's server wrote") from error
    if others:
        what = f"{file} was written by the bundle {min(others)}, and this is the bundle {bundle}"
        raise UserError(f"{what}: name a new file, or remove this one")
    with writing(file.parent):
        write_lines(file, (entry.to_dict(bundle) for entry in entries))
    return entries


def _check_ending(file: Path) -> None:
    if file.suffix not in ENDINGS:
        raise UserError(f"{file}: a head table is a file with the ending {' or '.join(ENDINGS)}")
    if file.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingLibrary("pyarrow", "parquet", f"the head table {file}")


def _drop_half_line(file: Path) -> None:
    """Cut the line that a kill left half written."""
    if file.exists():
        whole = file.read_bytes()
        os.truncate(file, whole.rfind(b"\n") + 1)


def _write(table: Table, file: Path) -> None:
    rows = [entry.to_dict(table.bundle) for entry in table.entries]
    if file.suffix == ".jsonl":
        return write_lines(file, rows)
    import pyarrow
    import pyarrow.parquet

    part = file.with_name(f".{file.name}.new")
    kinds = {**dict.fromkeys(COLUMNS, pyarrow.string()), "gate": pyarrow.bool_()}
    texts = [{**row, "evidence": json.dumps(row["evidence"])} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts, pyarrow.schema(list(kinds.items()))), part)
    part.replace(file)
    return None
