from __future__ import annotations

import gzip
import json
import sys

import pytest

from recr1.errors import DataError, MissingLibrary
from recr1.tasks.disk import ENDINGS
from recr1.tasks.readers import records

ROWS = [{"id": "a", "text": "red mug"}, {"id": "b", "text": "caf\u00e9, 1 litre"}]


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def sample(ending):
    if ending == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS)
    if ending == ".tsv":
        return "id\ttext\na\tred mug\nb\tcaf\u00e9, 1 litre\n"
    return 'id,text\na,red mug\nb,"caf\u00e9, 1 litre"\n'


def read(path):
    return list(records(path, "items"))


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != ".parquet"])
def test_every_text_ending_reads_alike(tmp_path, ending):
    path = write(tmp_path / f"items{ending}", sample(ending.removesuffix(".gz")))
    first = 1 if ".jsonl" in ending else 2
    assert read(path) == [(first, ROWS[0]), (first + 1, ROWS[1])]


def test_parquet_reads_alike_and_counts_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "items.parquet")
    assert read(tmp_path / "items.parquet") == [(1, ROWS[0]), (2, ROWS[1])]


def test_parquet_is_read_under_any_name_and_its_bytes_are_text(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    columns = {"id": pyarrow.array([b"a", None]), "tags": pyarrow.array([[b"caf\xc3\xa9"], [b"\xff"]])}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "items.jsonl")
    assert read(tmp_path / "items.jsonl") == [
        (1, {"id": "a", "tags": ["caf\u00e9"]}),
        (2, {"id": None, "tags": [b"\xff"]}),
    ]


def test_parquet_with_text_that_is_no_text_or_a_column_twice_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    path = tmp_path / "items.parquet"
    buffers = [None, pyarrow.py_buffer(b"\0\0\0\0\4\0\0\0\x08\0\0\0"), pyarrow.py_buffer(b"cafecaf\xe9")]
    pyarrow.parquet.write_table(pyarrow.table([pyarrow.Array.from_buffers(pyarrow.string(), 2, buffers)], ["id"]), path)
    with pytest.raises(DataError, match=r"items.parquet:2: a text that is not UTF-8: .* byte 0xe9"):
        read(path)
    pyarrow.parquet.write_table(pyarrow.table([pyarrow.array([1]), pyarrow.array([2])], ["id", "id"]), path)
    with pytest.raises(DataError, match=r"^\S+items.parquet: two columns have the name 'id': rename one"):
        read(path)


def test_broken_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    path = write(tmp_path / "items.parquet", b"PAR1 nothing more")
    with pytest.raises(DataError, match=r"items.parquet:1: cannot be read as Parquet: "):
        read(path)


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingLibrary, match=r"items.parquet needs the library 'pyarrow'.*pip install 'recr1\[parquet\]'"
    ):
        read(write(tmp_path / "items.parquet", b"PAR1"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"id": 1}\n', [(1, {"id": 1})]),
        ("boms.jsonl", b'\xef\xbb\xbf\xef\xbb\xbf{"id": 1}\n\xef\xbb\xbf{"id": 2}', [(1, {"id": 1}), (2, {"id": 2})]),
        ("bom.csv", b"\xef\xbb\xbfid,n\r\n1,2\r\n", [(2, {"id": "1", "n": "2"})]),
        ("blank.jsonl", '\n{"id": 1}\n  \n\n{"id": 2}', [(2, {"id": 1}), (5, {"id": 2})]),
        ("blank.tsv", "\nid\tn\n\n1\t\n", [(4, {"id": "1", "n": ""})]),
        ("windows.tsv", "id\tn\r\n1\t2\r\n", [(2, {"id": "1", "n": "2"})]),
        ("quotes.tsv", 'id\ttext\n1\t5" nails\n', [(2, {"id": "1", "text": '5" nails'})]),
        ("phrases.tsv", 'a\tb\n"a b"\t"a" "b" ""c', [(2, {"a": '"a b"', "b": '"a" "b" ""c'})]),
        ("quotes.csv", 'id,t\n1,"5"" a\nb"\n2,\n', [(2, {"id": "1", "t": '5" a\nb'}), (4, {"id": "2", "t": ""})]),
        ("long.csv", f"id,t\n1,{'x' * 200_000}\n", [(2, {"id": "1", "t": "x" * 200_000})]),
        ("semicolon.csv", '\nid;"a,b"\n1;"x;y"\n', [(3, {"id": "1", "a,b": "x;y"})]),
        ("tab.csv", 'id\tt\n1\t"a\nb"\n2\tc\n', [(2, {"id": "1", "t": "a\nb"}), (4, {"id": "2", "t": "c"})]),
        ("bar.csv", "id|t\n1|2\n", [(2, {"id": "1", "t": "2"})]),
        ("mac.csv", "id,t\r1,2\r3,4", [(2, {"id": "1", "t": "2"}), (3, {"id": "3", "t": "4"})]),
        ("mac.jsonl", '{"id": "\u00e9"}\r{"id": 2}\r', [(1, {"id": "\u00e9"}), (2, {"id": 2})]),
        ("excel.csv", "sep=;\n\nid;t\n1;2\n", [(4, {"id": "1", "t": "2"})]),
        ("spaced.csv", "id, t\n1, 2\n", [(2, {"id": "1", "t": " 2"})]),
        ("UPPER.TSV", "id\tt\n1\t2\n", [(2, {"id": "1", "t": "2"})]),
        ("breaks.jsonl", '{"text": "a\u2028b\x85c"}\n', [(1, {"text": "a\u2028b\x85c"})]),
        ("pair.jsonl", '{"text": "\\ud83d\\ude00"}\n', [(1, {"text": "\U0001f600"})]),
    ],
)  # fmt: skip
def test_what_a_file_may_look_like(tmp_path, name, content, expected):
    assert read(write(tmp_path / name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"id": 1}\n{"id": 2\n', r"a.jsonl:2: not JSON: .* at place \d+ \(write one JSON object"),
        ("a.jsonl", '[\n{"id": 1}\n]\n', r"a.jsonl:1: not JSON: .*\(write one JSON object per line\)"),
        ("a.jsonl", '{"id": 1}\n["id"]\n', r"a.jsonl:2: not a JSON object \(write one JSON object per line\)"),
        ("a.jsonl", '{"n": ' + "1" * 5000 + "}\n", "a.jsonl:1: JSON that cannot be read: Exceeds the limit"),
        ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl:1: JSON that cannot be read: maximum recursion depth"),
        ("a.jsonl", '{"t": "ok"}\n{"t": "\\ud83d"}\n', r"a.jsonl:2: half of a surrogate pair .* remove it"),
        ("a.jsonl", b'{"t": "ok"}\n{"t": "caf\xe9"}\n', r"a.jsonl:2: not UTF-8: byte 0xe9 at place 11 \(save it"),
        ("a.jsonl", '{"id": 1}\n{"id": 2, "t": {"a": 1, "a": 2}}\n', r"a.jsonl:2: .*the key 'a' appears twice: remove"),
        ("a.tsv", '{"id": 1, "t": 2}\n', "a.tsv:1: JSON, not a table: rename the file to end in .jsonl"),
        ("a.tsv", "id,t\n1,2\n", r"a.tsv:1: not TSV, the header has no tab: rename the file to end in .csv"),
        ("a.tsv", '"id"\t"t"\n"1"\t"2"\n', r"a.tsv:1: not TSV, the header has quotes: .* end in .csv, where both"),
        ("a.tsv", 'id\tt\n1\t"5"" nails"\n', r"""a.tsv:2: '"5"" nails"' has the quotes of CSV, which .* end in .csv"""),
        ("a.tsv", 'id\tt\tn\n1\t"a\nb"\t3\n', r"a.tsv:2: 2 columns, .* \(TSV has no quotes: for line breaks"),
        ("a.tsv", 'id\tt\n1\t"a\nb"\n', r"a.tsv:3: 1 columns, .* \(TSV has no quotes: for line breaks"),
        ("a.csv", "id,n\n1,a\rb\n", r"a.csv:2: not CSV: a carriage return alone, outside of quotes \(the row"),
        ("a.parquet", "id,n\n1,2\n", r"a.parquet: not a Parquet file, though its name ends in .parquet: rename it"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1\n", r"a.parquet: this is a pointer of Git LFS"),
        ("a.parquet", "", r"a.parquet: no items: the file has no rows"),
        ("a.tsv", "id\tn\n1\t2\n3\n", r"a.tsv:3: 1 columns, but the header \(line 1\) has 2"),
        ("a.csv", "id,n\n1,2,3\n", r"a.csv:2: 3 columns, but the header \(line 1\) has 2"),
        ("a.csv", 'id,n\n1,2\n3,"4\n5,6\n', r"a.csv:3: not CSV: unexpected end of data \(the row begins"),
        ("a.tsv", "id\tn\tid\n1\t2\t3\n", "a.tsv:1: two columns have the name 'id': rename one"),
        ("a.csv", "id,t,,\n1,2,,\n", "a.csv:1: two columns have no name: name them, or remove them"),
        ("a.tsv", "id\tt\r1\t2\n3\t4\n", r"a.tsv:2: 2 columns, .* has 3 \(some lines end with CR alone: end all w"),
        ("a.jsonl", "", "a.jsonl: no items: the file has no rows"),
        ("a.jsonl.gz", "", "a.jsonl.gz: no items: the file has no rows"),
        ("a.tsv", "id\tn\n", "a.tsv: no items: the file has no rows"),
        ("a.csv", "", "a.csv: no items: the file has no rows"),
        ("a.xml", "<a/>", r"a.xml: unknown kind of file: the name must end in \.jsonl, \.tsv"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))
