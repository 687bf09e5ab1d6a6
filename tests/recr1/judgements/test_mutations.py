"""Files of judgements and clicks with one fault each: refused, reported, or read with the same meaning.

What no reader can know is allowed, and only that: one value that is another one (a text, an id, a grade), and whole
lines, or all of a query, that a cut took away or a copy added.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from recr1.errors import UserError
from recr1.judgements import read_judgements
from recr1.judgements.clicks import Impressions, read_log
from recr1.judgements.ubi import read_ubi
from tests.recr1.tasks.faults import IN_BYTES
from tests.recr1.tasks.generated import REFUSED, REPORTED, SAME, VALUE, WORDS, at_most, checked_id, written

pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
FEWER = "lines lost or added"
QUERIES, ITEMS = 12, 9
SEEDS = 12


class Meaning(NamedTuple):
    """What a file says: rows of (query, item, value) in their order, and what was counted."""

    rows: list[tuple]
    counts: Counter[str]


# --- sound files, all of the same judgements


def judged(rng):
    """(query id, text, item, grade) of each judgement."""
    rows = []
    for query in range(QUERIES):
        text = f"need {query} tête " + " ".join(rng.choice(WORDS).replace(",", "") for _ in range(4))
        for item in rng.sample(range(ITEMS), 3):
            rows.append((checked_id("q", query), text, checked_id("i", item), rng.randrange(4)))
    return rows


def _trec(rows):
    return "".join(f"{query} 0 {item} {grade}\n" for query, _, item, grade in rows).encode()


def _ltr(rows):
    return "".join(f"{grade} qid:{query} # {item} {text}\n" for query, text, item, grade in rows).encode()


def _quepid(rows):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(
        [("query", "docid", "rating"), *((text, item, grade) for _, text, item, grade in rows)]
    )
    return stream.getvalue().encode()


def _by_text(rows):
    found = {}
    for _, text, item, grade in rows:
        found.setdefault(text, []).append((item, grade))
    return found.items()


def _json(value):
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _rre(rows):
    queries = []
    for text, judged_items in _by_text(rows):
        grades = {}
        for item, grade in judged_items:
            grades.setdefault(str(grade), []).append(item)
        queries.append({"placeholders": {"$query": text}, "relevant_documents": grades})
    return _json({"id_field": "id", "index": "i", "template": "t", "queries": queries})


def _book(rows):
    return _json(
        {
            "name": "book",
            "query_doc_pairs": [
                {"query_text": text, "doc_id": item, "judgements": [{"rating": float(grade), "user_email": "a@x"}]}
                for _, text, item, grade in rows
            ],
        }
    )


def _workbench(rows):
    rated = [
        {"query": text, "ratings": [{"docId": item, "rating": f"{grade}.000"} for item, grade in items]}
        for text, items in _by_text(rows)
    ]
    return _json({"name": "n", "type": "IMPORT_JUDGMENT", "judgmentRatings": rated})


def _table(ending):
    def make(rows):
        return written([{"query": text, "item": item, "grade": grade} for _, text, item, grade in rows], ending)

    return make


def impressions(rows):
    return [
        {"query": text, "item": item, "position": place % 3 + 1, "clicked": grade % 2, "session": f"s{query}"}
        for place, (query, text, item, grade) in enumerate(rows)
    ]


def _log(ending):
    return lambda rows: written(impressions(rows), ending)


def _events(ending):
    def make(rows):
        found = []
        for row in impressions(rows):
            event = {"query_id": row["session"], "event_attributes.position.ordinal": row["position"]}
            event["event_attributes.object.object_id"] = row["item"]
            found += [{"action_name": action, **event} for action in ("impression", "click")[: 1 + row["clicked"]]]
        return written(found, ending)

    return make


def _asked(ending):
    def make(rows):
        texts = {f"s{query}": text for query, text, _, _ in rows}
        return written([{"query_id": name, "user_query": text} for name, text in texts.items()], ending)

    return make


def of_judgements(path: Path, _: Path) -> Meaning:
    found = read_judgements([path])
    return Meaning([(row.query, row.item, row.grade) for row in found.graded()], +found.counts)


def of_log(log: Impressions) -> Meaning:
    columns = (log.query_N, log.item_N, log.position_N, log.clicked_N)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return Meaning(
        [(log.queries[query], log.items[item], (position, clicked)) for query, item, position, clicked in rows],
        +log.counts,
    )


class Kind(NamedTuple):
    """A kind of file."""

    make: Callable
    read: Callable[[Path, Path], Meaning]
    name: str
    checked: bool = False
    """Whether the file has a checksum, so that changed bytes must be found."""
    beside: Callable | None = None
    """The other file that it is read with."""


KINDS = {
    "trec": Kind(_trec, of_judgements, "x"),
    "ltr": Kind(_ltr, of_judgements, "x.txt"),
    "quepid": Kind(_quepid, of_judgements, "x.csv"),
    "book": Kind(_book, of_judgements, "x.json"),
    "rre": Kind(_rre, of_judgements, "x.json"),
    "workbench": Kind(_workbench, of_judgements, "x.json"),
    **{
        f"table{ending}": Kind(_table(ending), of_judgements, f"x{ending}", ending[-3:] in (".gz", "uet"))
        for ending in (".csv", ".tsv", ".jsonl", ".csv.gz", ".parquet")
    },
    **{
        f"log{ending}": Kind(
            _log(ending),
            lambda path, _: of_log(read_log(path, {}, sessions=True)),
            f"x{ending}",
            ending[-3:] in (".gz", "uet"),
        )
        for ending in (".csv", ".tsv", ".jsonl", ".csv.gz", ".parquet")
    },
    "ubi events": Kind(
        _events(".jsonl"), lambda path, beside: of_log(read_ubi(path, beside)), "x.jsonl", beside=_asked(".jsonl")
    ),
    "ubi queries": Kind(
        _asked(".jsonl"), lambda path, beside: of_log(read_ubi(beside, path)), "x.jsonl", beside=_events(".jsonl")
    ),
}
LINES = [name for name in KINDS if name in ("trec", "ltr", "quepid") or name.endswith(("csv", "tsv", "jsonl"))]
JSON = ("book", "rre", "workbench")


def outcome(kind: Kind, rows, content: bytes, folder: Path) -> tuple[str, str]:
    """What became of a file, and what there is to say about it."""
    path, beside = folder / kind.name, folder / "beside.jsonl"
    beside.write_bytes(kind.beside(rows) if kind.beside else b"")
    path.write_bytes(kind.make(rows))
    before = kind.read(path, beside)
    path.write_bytes(content)
    try:
        with at_most(seconds=20):
            after = kind.read(path, beside)
    except UserError as error:
        assert re.match(rf"{re.escape(str(folder))}/\S+: |query id .* has two texts", str(error)), str(error)
        return REFUSED, str(error)
    if after.rows == before.rows:
        return SAME, ""
    if after.counts != before.counts:
        return REPORTED, str(after.counts - before.counts)
    if one_value(before.rows, after.rows):
        return VALUE, ""
    lost, new = (Counter(one) - Counter(other) for one, other in ((before.rows, after.rows), (after.rows, before.rows)))
    return (
        FEWER if len({row[0] for row in set(new) - set(before.rows)}) <= 1 else "silent"
    ), f"lost {list(lost)}, new {list(new)}"


def one_value(before, after):
    """Whether the rows differ as if one written value were another: of one row, or of all rows of a query."""
    lost, new = (Counter(one) - Counter(other) for one, other in ((before, after), (after, before)))
    if max(lost.total(), new.total()) <= 1:
        return True
    queries = {row[0] for row in lost}, {row[0] for row in new}
    if lost.total() != new.total() or max(map(len, queries)) > 1:
        return False
    renamed = Counter(row[1:] for row in lost.elements()) == Counter(row[1:] for row in new.elements())
    items = Counter(row[1] for row in lost.elements()) == Counter(row[1] for row in new.elements())
    return renamed or (items and len({row[2] for row in lost}) == len({row[2] for row in new}) == 1)


def check(kind, rows, content, folder, may):
    found, why = outcome(KINDS[kind], rows, content, folder)
    assert found in may, f"{found} ({why}); expected {sorted(may)}"


# --- bytes


@pytest.mark.parametrize("change", IN_BYTES)
@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_found_or_change_one_value(kind, change, tmp_path):
    for seed in range(SEEDS):
        rng = random.Random(f"{kind} {change.__name__} {seed}")
        rows = judged(rng)
        content = bytearray(KINDS[kind].make(rows))
        change(rng, content)
        may = {REFUSED, SAME} if KINDS[kind].checked else {REFUSED, REPORTED, SAME, VALUE}
        lines = change.__name__ == "_again" or (change.__name__ == "_cut" and kind not in JSON)
        check(kind, rows, bytes(content), tmp_path, may | ({FEWER} if lines and not KINDS[kind].checked else set()))


# --- lines


def header_lost(rng, lines):
    return lines[1:], {REFUSED}


def header_twice(rng, lines):
    place = rng.randrange(1, len(lines))
    return [*lines[:place], lines[0], *lines[place:]], {REFUSED}


def header_alone(rng, lines):
    return lines[:1], {REFUSED}


def lines_joined(rng, lines):
    place = rng.randrange(1, len(lines) - 1)
    return [*lines[:place], lines[place].rstrip("\n"), *lines[place + 1 :]], {REFUSED}


def line_cut_in_two(rng, lines):
    place = rng.randrange(1, len(lines))
    at = rng.randrange(1, len(lines[place]) - 1)
    cut = [lines[place][:at] + "\n", lines[place][at:]]
    return [*lines[:place], *cut, *lines[place + 1 :]], {REFUSED, SAME, REPORTED}


def empty_lines(rng, lines):
    place = rng.randrange(1, len(lines))
    return [*lines[:place], "\n", "\r\n", *lines[place:], "\n\n"], {SAME}


def other_line_ends(rng, lines):
    end = rng.choice(["\r\n", "\r"])
    return [line.replace("\n", end) for line in lines], {SAME}


def value_missing(rng, lines):
    values = r"[^\s,\"{}\[\]:|#]+"
    place = rng.choice([place for place, line in enumerate(lines) if place and re.search(values, line)])
    value = rng.choice(re.findall(values, lines[place]))
    return [*lines[:place], lines[place].replace(value, "", 1), *lines[place + 1 :]], {REFUSED, REPORTED, VALUE, SAME}


def rows_repeated(rng, lines):
    return [*lines, rng.choice(lines[1:])], {REPORTED, SAME, VALUE, FEWER}


def other_encoding(rng, lines):
    content = "".join(lines).encode(rng.choice(["cp1252", "latin-1", "utf-16-le", "cp437", "mac-roman"]), "replace")
    return content, {SAME} if content.isascii() and b"\0" not in content else {REFUSED}


def encoding_with_a_mark(rng, lines):
    return "".join(lines).encode(rng.choice(["utf-8-sig", "utf-16", "utf-32"])), {SAME}


IN_LINES = (
    *(header_lost, header_twice, header_alone, lines_joined, line_cut_in_two, empty_lines, other_line_ends),
    *(value_missing, rows_repeated, other_encoding, encoding_with_a_mark),
)
TEXTS = [name for name in (*LINES, *JSON, "ubi events", "ubi queries") if not KINDS[name].checked]


def fits(kind, change):
    """Whether a file of this kind has a header, or lines that mean something."""
    tabular = kind == "quepid" or kind.endswith((".csv", ".tsv"))
    return tabular if change.__name__.startswith("header") else kind not in JSON or change is not lines_joined


@pytest.mark.parametrize(("kind", "change"), [(k, change) for k in TEXTS for change in IN_LINES if fits(k, change)])
def test_changed_lines_are_found_or_change_one_value(kind, change, tmp_path):
    for seed in range(max(SEEDS // 5, 3)):
        rng = random.Random(f"{kind} {change.__name__} {seed}")
        rows = judged(rng)
        content, may = change(rng, KINDS[kind].make(rows).decode().splitlines(keepends=True))
        content = content if isinstance(content, bytes) else "".join(content).encode()
        if change in (line_cut_in_two, value_missing, rows_repeated) and kind in (*JSON, "ubi events", "ubi queries"):
            may |= {REFUSED, REPORTED, SAME, VALUE}
        check(kind, rows, content, tmp_path, may)


# --- JSON


def places(value, path=()):
    """The place of every value inside of a JSON document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def value_of_another_kind(rng, holder, key):
    old = holder[key]
    values = [None, True, 7, -1.5, "x", "", [], {}, [[]], [None], {"a": 1}, float("nan"), "1e400", "\u200b", 10**400]
    holder[key] = rng.choice([one for one in values if type(one) is not type(old)])


def member_lost(rng, holder, key):
    del holder[key]


def member_again(rng, holder, key):
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), holder[key])
    else:
        holder[f"{key} "] = holder.pop(key)


@pytest.mark.parametrize("change", [value_of_another_kind, member_lost, member_again])
@pytest.mark.parametrize("kind", [*JSON, "table.jsonl", "log.jsonl", "ubi events", "ubi queries"])
def test_a_changed_document_is_found_or_loses_what_its_owner_may_have_left_out(kind, change, tmp_path):
    """A member of a list, or all of a grade, may be absent in a sound file too."""
    for seed in range(SEEDS):
        rng = random.Random(f"{kind} {change.__name__} {seed}")
        rows = judged(rng)
        made = KINDS[kind].make(rows)
        content = json.loads(made) if kind in JSON else list(map(json.loads, made.splitlines()))
        *path, key = rng.choice(list(places(content)))
        holder = content
        for step in path:
            holder = holder[step]
        absent = change is member_lost and (isinstance(holder, list) or path[-1:] == ["relevant_documents"])
        change(rng, holder, key)
        may = {REFUSED, REPORTED, SAME, VALUE} | ({FEWER} if absent else set())
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        check(kind, rows, _json(content) if kind in JSON else lines.encode(errors="surrogatepass"), tmp_path, may)
