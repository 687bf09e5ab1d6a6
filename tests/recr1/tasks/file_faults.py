"""Faults in lines, files and the folder: what each does to a generated one, and what may become of it."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable

from tests.recr1.tasks.faults import FAULTS, PACKED, fault, repeated_row
from tests.recr1.tasks.generated import FORMATS, REFUSED, REPORTED, SAME, TEXT_FORMATS, VALUE, Case, table, written

__all__ = ["FAULTS"]

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def in_lines(case: Case, name: str, change: Callable[[list[str]], list[str]]) -> None:
    """Changes the lines of a text file, packed or not."""
    packed = case.ending[name].endswith(".gz")

    def encode(content: bytes) -> bytes:
        text = (gzip.decompress(content) if packed else content).decode()
        changed = "".join(change(text.splitlines(keepends=True))).encode()
        return gzip.compress(changed, mtime=0) if packed else changed

    case.encode[name] = encode


def in_text(case: Case, name: str, change: Callable[[str], bytes]) -> None:
    """Changes a text file as a whole."""
    case.encode[name] = lambda content: change(content.decode())


@fault
def header_lost(case):
    in_lines(case, case.pick(*TABLES), lambda lines: lines[1:])
    return {REFUSED}


@fault
def header_twice(case):
    name = case.pick(*TABLES)
    place = case.rng.randrange(1, len(case.tables[name]))
    case.line = place + 1
    in_lines(case, name, lambda lines: [*lines[:place], lines[0], *lines[place:]])
    return {REFUSED}


@fault
def header_alone(case):
    in_lines(case, case.pick(*TABLES), lambda lines: lines[:1])
    return {REFUSED}


@fault
def line_cut_in_two(case):
    name = case.pick(".csv", ".tsv", ".jsonl")
    place = case.rng.randrange(1, len(case.tables[name]))

    def cut(lines):
        line = lines[place]
        at = case.rng.randrange(1, len(line) - 1)
        return [*lines[:place], line[:at] + "\n" + line[at:], *lines[place + 1 :]]

    in_lines(case, name, cut)
    return {REFUSED, SAME, VALUE} if case.ending[name] == ".csv" else {REFUSED, SAME}


@fault
def lines_joined(case):
    name = case.pick(".csv", ".tsv", ".jsonl")
    case.line = place = case.rng.randrange(2, len(case.tables[name]) - 1)
    in_lines(case, name, lambda lines: [*lines[: place - 1], lines[place - 1].rstrip("\n"), *lines[place:]])
    return {REFUSED}


@fault
def empty_lines(case):
    name = case.pick(*TEXT_FORMATS)
    place = case.rng.randrange(1, len(case.tables[name]))
    in_lines(case, name, lambda lines: [*lines[:place], "\n", "\r\n", *lines[place:], "\n\n"])
    return {SAME}


@fault
def other_line_ends(case):
    name, end = case.pick(*TEXT_FORMATS), case.rng.choice(["\r\n", "\r"])
    in_lines(case, name, lambda lines: [line.replace("\n", end) for line in lines])
    return {SAME}


@fault
def mixed_line_ends(case):
    name, end = case.pick(*TEXT_FORMATS), case.rng.choice(["\r\n", "\r"])
    places = set(case.rng.sample(range(1, len(case.tables[name])), 3))
    in_lines(
        case, name, lambda lines: [line.replace("\n", end) if n in places else line for n, line in enumerate(lines)]
    )
    return {SAME, REFUSED}


@fault
def other_delimiter(case):
    name, sign = case.pick(".csv", ".tsv"), case.rng.choice(";|,\t:")
    rows = case.tables[name]
    case.encode[name] = lambda _: table([list(rows[0]), *(list(row.values()) for row in rows)], sign).encode()
    return {REFUSED, SAME}


@fault
def values_without_quotes(case):
    in_lines(case, case.pick(".csv"), lambda lines: [line.replace('"', "") for line in lines])
    return {REFUSED, SAME}


@fault
def quote_never_closed(case):
    name = case.pick(".csv")
    place = case.rng.randrange(1, len(case.tables[name]))
    in_lines(case, name, lambda lines: [*lines[:place], '"' + lines[place].replace('"', ""), *lines[place + 1 :]])
    return {REFUSED}


@fault
def other_encoding(case):
    name = case.pick(*TEXT_FORMATS, of=case.rng.choice(["corpus", "queries"]))
    case.tables[name][0]["text"] += " tête"
    encoding = case.rng.choice(["cp1252", "latin-1", "utf-16-le", "utf-16-be", "cp437", "mac-roman", "shift_jis"])
    in_text(case, name, lambda text: text.encode(encoding, "replace"))
    return {REFUSED}


@fault
def encoding_with_a_mark(case):
    encoding = case.rng.choice(["utf-8-sig", "utf-16", "utf-32"])
    in_text(case, case.pick(*TEXT_FORMATS), lambda text: text.encode(encoding))
    return {SAME}


@fault
def encoding_that_is_not_theirs(case):
    case.tables["corpus"][0]["text"] += " tête"
    case.ending = {name: ".csv" for name in case.ending}
    case.options["encoding"] = case.rng.choice(["cp1252", "latin-1", "utf-16", "cp437", "ascii", "gbk"])
    return {REFUSED}


@fault
def files_joined(case):
    name = case.pick(*TEXT_FORMATS, *PACKED[:-1], of=case.rng.choice(["corpus", "queries"]))
    half = len(case.tables[name]) // 2
    ending, rows = case.ending[name], case.tables[name]
    case.encode[name] = lambda _: written(rows[:half], ending) + written(rows[half:], ending)
    return {SAME} if ".jsonl" in ending else {REFUSED}


@fault
def json_of_another_kind(case):
    name = case.pick(".jsonl")
    place = case.rng.randrange(len(case.tables[name]))
    case.line = place + 1
    twice = '{"_id": "a", "text": "b", "score": 1, "'
    changes = [("}\n", "},\n"), ('"', "'"), ("{", "["), (": ", " "), ('{"', twice), ("{", "")]
    old, new = case.rng.choice(changes)
    in_lines(case, name, lambda lines: [*lines[:place], lines[place].replace(old, new, 1), *lines[place + 1 :]])
    return {REFUSED}


@fault
def json_with_line_breaks(case):
    name = case.pick(".jsonl")
    case.line = 1
    in_lines(case, name, lambda lines: [line.replace(", ", ",\n  ", 1) for line in lines])
    return {REFUSED}


@fault
def nested_or_half_a_text(case):
    case.pick(".jsonl", of="corpus")
    case.row("corpus")[case.rng.choice(["title", "text"])] = case.rng.choice([{"en": "cup"}, [["cup"]], True, "\ud800"])
    return {REFUSED}


@fault
def packed_or_under_another_name(case):
    name = case.pick(*TEXT_FORMATS, ".parquet")
    if case.ending[name] == ".parquet":
        _renamed(case, name, case.rng.choice([".csv", ".tsv", ".jsonl", ".csv.gz"]))
    else:
        case.encode[name] = gzip.compress
    return {SAME}


def _renamed(case: Case, name: str, ending: str) -> None:
    old = case.ending[name]
    case.after = lambda folder: (folder / f"{name}{old}").rename(folder / f"{name}{ending}")


@fault
def file_under_a_wrong_name(case):
    name = case.pick()
    old = case.ending[name]
    _renamed(case, name, case.rng.choice([one for one in FORMATS if one != old] + [".txt", ".json", ""]))
    return {REFUSED, SAME}


@fault
def file_that_is_no_data(case):
    name = case.pick()
    contents = [b"", b"\n", b"\xff\xfe", b"PK\x03\x04", b"<!DOCTYPE html><html>", b"\x1f\x8b", b"PAR1", b"{}\n", b"[]"]
    contents += [b"\0" * 99, gzip.compress(gzip.compress(b"a,b\n", mtime=0), mtime=0)]
    content = case.rng.choice(contents)
    case.encode[name] = lambda _: content
    return {REFUSED}


@fault
def no_file_but_something_else(case):
    name = case.pick()
    kind = case.rng.choice(["broken", "circle", "folder", "fifo", "link to the folder", "nothing"])

    def after(folder):
        path = folder / f"{name}{case.ending[name]}"
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind != "nothing":
            path.symlink_to({"broken": "gone.csv", "circle": path.name}.get(kind, "."))

    case.after = after
    # A split that is not there was perhaps never there; then no other split has its needs.
    return {REFUSED, REPORTED} if kind == "nothing" and "/" in name else {REFUSED}


@fault
def link_to_the_file(case):
    name = case.pick()

    def after(folder):
        path = folder / f"{name}{case.ending[name]}"
        path.rename(folder / "elsewhere")
        path.symlink_to(folder / "elsewhere")

    case.after = after
    return {SAME}


@fault
def two_files_for_one(case):
    name = case.pick()
    ending = case.rng.choice([one for one in FORMATS if one != case.ending[name]])
    case.after = lambda folder: (folder / f"{name}{ending}").write_bytes(written(case.tables[name][:9], ending))
    return {REFUSED, SAME}  # corpus.jsonl and queries.jsonl are named by the options: then they are meant


@fault
def need_in_two_splits(case):
    if "qrels" in case.tables:
        case.after = lambda folder: (folder / "qrels").mkdir()
        return {REFUSED}
    moved = case.rng.choice(case.tables["qrels/train"])
    case.tables["qrels/test"].append(dict(moved))
    return {REFUSED}


@fault
def split_under_another_name(case):
    if "qrels" in case.tables:
        return repeated_row(case)
    name = case.rng.choice(["qrels/train", "qrels/dev", "qrels/test"])
    _renamed(case, name, case.rng.choice([".txt", ".tsv.bak", "", ".json"]))
    return {REFUSED}


@fault
def parquet_of_other_types(case):
    import pyarrow
    import pyarrow.parquet

    name = case.pick(".parquet")

    def encode(content: bytes) -> bytes:
        read = pyarrow.parquet.read_table(io.BytesIO(content))
        stream = io.BytesIO()
        kinds = [pyarrow.large_string(), pyarrow.binary(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())]
        kind = case.rng.choice(kinds)
        columns = [column.cast(kind) if column.type == pyarrow.string() else column for column in read.columns]
        compression = case.rng.choice(["none", "snappy", "gzip", "zstd"])
        changed = pyarrow.table(columns, names=read.column_names)
        pyarrow.parquet.write_table(changed, stream, row_group_size=5, compression=compression)
        return stream.getvalue()

    case.encode[name] = encode
    return {SAME}
