"""Judgements as other tools read them: TREC, the folder of `task: files`, Quepid, RRE, OpenSearch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recr1.errors import UserError, shown
from recr1.judgements.base import Judgement, Judgements
from recr1.judgements.formats import QUEPID_HEADER

Rounding: TypeAlias = Literal["nearest", "down", "up"]
_ROUND = {"nearest": lambda grade: math.floor(grade + 0.5), "down": math.floor, "up": math.ceil}
_BY_ENDING = {".trec": "trec", ".qrels": "trec", ".qrel": "trec", ".txt": "trec", ".csv": "quepid"}


def writer_of(out: str) -> str:
    """The format that the name of an output says; raises `UserError` if it says none, or could be two."""
    ending = Path(out).suffix.lower()
    if out.endswith("/") or Path(out).is_dir():
        return "beir"
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    what = f"its ending says no format: say it with --to ({', '.join(WRITERS)})"
    if ending == ".json":
        what = "rre and workbench are both .json: say which with --to rre or --to workbench"
    raise UserError(f"--out {out}: {what}")


def write_judgements(
    judgements: Judgements, out: Path, kind: str, rounding: Rounding | None = None
) -> tuple[list[Path], Counter[str]]:
    """Write judgements, and say which files were written and what was left out or changed for this format.

    Raises `UserError` for a file that exists, and for what the format cannot hold: fractions where grades are integers
    (unless `rounding`), ids with blanks in TREC, queries without a text.
    """
    found = Judgements(judgements.rows, judgements.counts.copy())
    if rounding:
        found.rows = [
            row if row.grade is None else row._replace(grade=float(_ROUND[rounding](row.grade))) for row in found.rows
        ]
        changed = sum(row != before for row, before in zip(found.rows, judgements.rows, strict=True))
        found.counts[f"grades rounded ({rounding})"] += changed
    if kind != "trec" and (lacking := next((row for row in found.rows if not row.text), None)):
        raise UserError(f"query {shown(lacking.query_id)} has an id and no text: give the texts with --queries FILE")
    if kind in ("quepid", "rre", "workbench"):  # by text, which several ids may have in common
        found = Judgements([row._replace(query_id=None) for row in found.rows], found.counts).merged()
    texts = WRITERS[kind](found, out.stem)
    files = {out / name if kind == "beir" else Path(f"{out}{name}"): text for name, text in texts.items()}
    if existing := next((path for path in files if path.exists()), None):
        raise UserError(f"{existing} exists already and is not overwritten: choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    return list(files), +found.counts


def _integer(row: Judgement) -> int:
    assert row.grade is not None
    if not row.grade.is_integer():
        pair = f"{shown(row.item)} for {shown(row.text or row.query)}"
        what = f"the grade of {pair} is {row.grade:g}, and grades here are integers"
        raise UserError(f"{what}: round with --round nearest (halves up), down or up")
    return int(row.grade)


def _plain(grade: float) -> str:
    return str(int(grade)) if grade.is_integer() else repr(grade)


def _with_ids(rows: Sequence[Judgement]) -> tuple[list[Judgement], dict[str | None, str | None]]:
    """Rows with a query id each, if need be 1, 2, ... in their order; and the texts of the ids."""
    ids = {text: str(place) for place, text in enumerate(dict.fromkeys(row.text for row in rows), 1)}
    known = all(row.query_id for row in rows)
    named = list(rows) if known else [row._replace(query_id=ids[row.text]) for row in rows]
    return named, {row.query_id: row.text for row in named}


def _trec(judgements: Judgements, _: str) -> dict[str, str]:
    rows, texts = _with_ids(judgements.graded())
    for name in [name for row in rows for name in (row.query_id, row.item) if name and len(name.split()) > 1]:
        raise UserError(
            f"id {shown(name)} has a blank, which separates the columns of TREC: rename it, or choose --to beir"
        )
    body = "".join(f"{row.query_id} 0 {row.item} {_integer(row)}\n" for row in rows)
    table = "query-id\ttext\n" + "".join(f"{name}\t{text}\n" for name, text in texts.items())
    return {"": body} | ({} if all(row.query_id for row in judgements.rows) else {".queries.tsv": table})


def _beir(judgements: Judgements, _: str) -> dict[str, str]:
    rows, texts = _with_ids(judgements.graded())
    needs = (json.dumps({"_id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in texts.items())
    cells = (f"{row.query_id}\t{row.item}\t{_integer(row)}\n" for row in rows)
    return {"queries.jsonl": "".join(needs), "qrels.tsv": "query-id\tcorpus-id\tscore\n" + "".join(cells)}


def _quepid(judgements: Judgements, _: str) -> dict[str, str]:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(QUEPID_HEADER)
    for row in judgements.rows:
        cells = (row.text or "", row.item or "", "" if row.grade is None else _plain(row.grade))
        table.writerow([f" {cell}" if cell[:1] in ("-", "=", "+", "@") else cell for cell in cells])
    return {"": text.getvalue()}


def _by_query(rows: Sequence[Judgement], judgements: Judgements) -> dict[str, list[tuple[float, str]]]:
    """The text of each of the rows -> the grades and items of its judgements."""
    found: dict[str, list[tuple[float, str]]] = {row.text or "": [] for row in rows}
    for row in judgements.graded():
        found[row.text or ""].append((row.grade or 0.0, row.item or ""))
    return found


def _rre(judgements: Judgements, name: str) -> dict[str, str]:
    queries = []
    for text, graded in _by_query(judgements.rows, judgements).items():
        answers = {
            _plain(grade): [item for one, item in graded if one == grade] for grade in sorted({g for g, _ in graded})
        }
        queries.append({"placeholders": {"$query": text}, "relevant_documents": answers})
    return {"": _json({"id_field": "id", "index": name, "template": "template.json", "queries": queries})}


def _workbench(judgements: Judgements, name: str) -> dict[str, str]:
    rated = []
    for text, graded in _by_query(judgements.graded(), judgements).items():
        ratings = [(item, f"{grade:.3f}" if round(grade, 3) == grade else repr(grade)) for grade, item in graded]
        rated.append({"query": text, "ratings": [{"docId": item, "rating": rating} for item, rating in ratings]})
    about = {"name": name, "description": "Imported judgements", "type": "IMPORT_JUDGMENT"}
    return {"": _json({**about, "judgmentRatings": rated})}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


_Writer: TypeAlias = Callable[[Judgements, str], dict[str, str]]
WRITERS: Mapping[str, _Writer] = dict(trec=_trec, beir=_beir, quepid=_quepid, rre=_rre, workbench=_workbench)
"""What is written, by the name that --to takes: judgements and the name of the output -> file -> text."""
