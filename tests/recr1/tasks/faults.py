"""Faults in bytes and rows: what each does to a generated folder, and what may become of it."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.recr1.tasks.generated import FORMATS, QRELS, REFUSED, REPORTED, SAME, TEXT_FORMATS, VALUE, Case

FAULTS: list[Callable[[Case], set[str]]] = []


def fault(make: Callable[[Case], set[str]]) -> Callable[[Case], set[str]]:
    FAULTS.append(make)
    return make


def _of_bytes(change: Callable[[random.Random, bytearray], object], *formats: str, may: tuple = (VALUE,)):
    def make(case: Case) -> set[str]:
        def encode(content: bytes) -> bytes:
            changed = bytearray(content)
            change(case.rng, changed)
            return bytes(changed)

        case.encode[case.pick(*formats)] = encode
        return {REFUSED, REPORTED, SAME, *may}

    make.__name__ = change.__name__
    return make


def _flip(rng: random.Random, content: bytearray) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(1, len(content)) :]


def _drop(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(len(content))]


def _insert(rng: random.Random, content: bytearray) -> None:
    content.insert(rng.randrange(len(content)), rng.choice(b'\x00\t\n\r",;|{}0 \xa0\xef'))


def _blank(rng: random.Random, content: bytearray) -> None:
    start = rng.randrange(len(content))
    content[start : start + 16] = bytes(len(content[start : start + 16]))


def _again(rng: random.Random, content: bytearray) -> None:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.randrange(1, 200)]


PACKED = tuple(ending for ending in FORMATS if ending not in TEXT_FORMATS)
IN_BYTES = (_flip, _cut, _drop, _insert, _blank, _again)
"""Each changes the bytes of a file at a random place."""
for _change in IN_BYTES:
    FAULTS += [_of_bytes(_change, *TEXT_FORMATS), _of_bytes(_change, *PACKED, may=())]
FAULTS += [_of_bytes(_flip, ending) for ending in TEXT_FORMATS] * 2
FAULTS += [_of_bytes(_cut, ending) for ending in TEXT_FORMATS]


@fault
def odd_id(case):
    name = case.pick()
    row = case.row(name)
    column = next(iter(row)) if name in ("corpus", "queries") else case.rng.choice(QRELS[:2])
    form = "{}|{} | {}|{}\xa0|{}\u200b|{}\ufeff|a{}|{}.0|0{}".split("|")
    if not case.ending[name].startswith(".tsv"):
        form += ["{}\t", "\n{}"]
    row[column] = case.rng.choice([*form[1:], "{}\0"]).format(row[column])
    if name in ("corpus", "queries"):
        case.line = None if "a" in row[column][:1] or row[column].endswith(".0") or row[column][0] == "0" else case.line
    return {REFUSED, SAME} if "\ufeff" in row[column] else {REFUSED}


@fault
def odd_id_again(case):
    return odd_id(case)


@fault
def missing_value(case):
    name = case.pick()
    row = case.row(name)
    column = case.rng.choice([one for one in row if one != "price"])
    words = ["", " ", "nan", "NaN", "None", "null", "N/A", "\\N", None]
    row[column] = case.rng.choice(words + [float("nan")] * case.ending[name].startswith(".jsonl"))
    if column == "title" or (name == "corpus" and column == "text"):
        return {REPORTED}
    return {REFUSED}


@fault
def missing_value_again(case):
    return missing_value(case)


@fault
def odd_grade(case):
    name = case.pick(*TEXT_FORMATS, of="qrels")
    values = [
        "0.5",
        "1e400",
        "2_0",
        "two",
        "\uff12",
        "1000000000000",
        "",
        "2,0",
        "0x2",
        "--1",
        "1 2",
        "inf",
        "3/4",
        "2%",
    ]
    case.row(name)["score"] = case.rng.choice([*values, *[True, 1.5] * (case.ending[name] == ".jsonl")])
    return {REFUSED}


@fault
def negative_grade(case):
    case.row(case.pick(of="qrels"))["score"], case.line = -1, None  # its need may have no positive grade then
    return {REFUSED, REPORTED}


@fault
def grade_in_another_form(case):
    row = case.row(case.pick(*TEXT_FORMATS, of="qrels"))
    row["score"] = case.rng.choice(["{}.0", "+{}", " {}", "{} ", "{}."]).format(row["score"])
    return {SAME}


@fault
def grades_as_floats(case):
    name = case.pick(".parquet", ".jsonl", of="qrels")
    for row in case.tables[name]:
        row["score"] = float(row["score"])
    return {SAME}


@fault
def grade_that_is_no_number(case):
    name = case.pick(".parquet", ".jsonl", of="qrels")
    for row in case.tables[name]:
        row["score"] = float(row["score"])
    case.row(name)["score"] = case.rng.choice([float("nan"), float("inf"), 2.5, None])
    return {REFUSED}


@fault
def ids_as_numbers(case):
    name, kind = case.pick(".parquet", ".jsonl"), case.rng.choice([int, float])
    columns = QRELS[:2] if name.startswith("qrels") else ("_id",)
    if not case.tables[name][0][columns[0]].isdecimal():
        return odd_id(case)
    for row in case.tables[name]:
        row.update({column: kind(row[column]) for column in columns})
    return {SAME} if kind is int else {REFUSED}


@fault
def rows_in_another_order(case):
    case.rng.shuffle(case.tables[case.pick(of="qrels")])
    return {SAME}


@fault
def repeated_row(case):
    name = case.pick()
    rows = case.tables[name]
    at = case.rng.randrange(len(rows) + 1)
    rows.insert(at, dict(case.rng.choice(rows)))
    return {REPORTED, SAME} if name.startswith("qrels") else {REFUSED}


@fault
def lost_row(case):
    rows = case.tables[case.pick(of=case.rng.choice(["corpus", "queries"]))]
    del rows[case.rng.randrange(len(rows))]
    return {REFUSED}


@fault
def columns_swapped(case):
    name = case.pick()
    one, other = case.rng.choice({"corpus": [("_id", "text")], "queries": [("_id", "text")]}.get(name, [*_PAIRS]))
    for row in case.tables[name]:
        row[one], row[other] = row[other], row[one]
    return {REFUSED}


_PAIRS = (QRELS[:2], QRELS[1:], QRELS[::2])


@fault
def values_of_a_row_shifted(case):
    name = case.pick()
    row = case.row(name)
    values = list(row.values())
    row.update(zip(row, [*values[1:], values[0]], strict=True))
    case.line = None  # of a shifted item the judgements are refused
    return {REFUSED}


@fault
def column_renamed(case):
    name = case.pick()
    old = case.rng.choice([column for column in case.tables[name][0] if column != "price"])
    new = case.rng.choice([old.upper(), old + "_x", "x", {"_id": "id", "score": "grade", "text": "Text"}.get(old, "y")])
    case.tables[name] = [{new if one == old else one: value for one, value in row.items()} for row in case.tables[name]]
    return {REFUSED, SAME} if old in ("_id", "score") else {REFUSED, REPORTED} if name == "corpus" else {REFUSED}


@fault
def column_that_could_be_meant(case):
    name = case.pick()
    new = {"corpus": "item_id", "queries": "query"}.get(name, case.rng.choice(["grade", "doc_id", "need_id"]))
    for row in case.tables[name]:
        row[new] = "1"
    return {REFUSED}


@fault
def column_without_header(case):
    name = case.pick(".csv", ".tsv")
    case.tables[name] = [row | {"": "x"} for row in case.tables[name]]
    return {REFUSED, SAME}
