from __future__ import annotations

import gzip
import json
import sys

import pytest

from recr1.errors import DataError, MissingLibrary
from recr1.tasks.readers import ENDINGS, find, records

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


def test_broken_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    path = write(tmp_path / "items.parquet", b"PAR1 nothing more")
    with pytest.raises(DataError, match=r"items.parquet:1: not a valid Parquet file: "):
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
        ("bom.csv", b"\xef\xbb\xbfid,n\r\n1,2\r\n", [(2, {"id": "1", "n": "2"})]),
        ("blank.jsonl", '\n{"id": 1}\n  \n\n{"id": 2}', [(2, {"id": 1}), (5, {"id": 2})]),
        ("blank.tsv", "\nid\tn\n\n1\t\n", [(4, {"id": "1", "n": ""})]),
        ("windows.tsv", "id\tn\r\n1\t2\r\n", [(2, {"id": "1", "n": "2"})]),
        ("quotes.tsv", 'id\ttext\n1\t5" nails\n', [(2, {"id": "1", "text": '5" nails'})]),
        ("quotes.csv", 'id,t\n1,"5"" a\nb"\n2,\n', [(2, {"id": "1", "t": '5" a\nb'}), (4, {"id": "2", "t": ""})]),
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
        ("a.tsv", "id\tn\n1\t2\n".encode("utf-16"), "a.tsv:1: not UTF-8: byte 0xff at place 1"),
        ("a.tsv", "id\tn\n1\t2\n3\n", r"a.tsv:3: 1 columns, but the header \(line 1\) has 2"),
        ("a.csv", "id,n\n1,2,3\n", r"a.csv:2: 3 columns, but the header \(line 1\) has 2"),
        ("a.csv", 'id,n\n1,2\n3,"4\n5,6\n', r"a.csv:3: not CSV: unexpected end of data \(the row begins"),
        ("a.tsv", "id\tn\tid\n1\t2\t3\n", "a.tsv:1: two columns have the name 'id': rename one"),
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


def test_truncated_gzip_names_the_line_it_ends_on(tmp_path):
    whole = gzip.compress("".join(f'{{"id": {number * 7919 % 10007}}}\n' for number in range(5000)).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"a\.jsonl\.gz:\d{3,}: the gzip file ends here unexpectedly: copy or download it again"
    ):
        read(path)


def test_damaged_gzip_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"id": 1}\n')
    with pytest.raises(DataError, match=r"a.jsonl.gz:1: not a valid gzip file: .*\(copy or download it again\)"):
        read(path)


def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(DataError, match=r"a.jsonl: cannot be read: Is a directory"):
        read(tmp_path / "a.jsonl")


def test_find_prefers_the_exact_name(tmp_path):
    write(tmp_path / "corpus.jsonl", "")
    write(tmp_path / "corpus.jsonl.gz", "")
    assert find(tmp_path, "corpus.jsonl", "catalog").name == "corpus.jsonl"
    assert find(tmp_path, "corpus.jsonl.gz", "catalog").name == "corpus.jsonl.gz"


@pytest.mark.parametrize("ending", ENDINGS)
def test_find_tries_other_endings(tmp_path, ending):
    (tmp_path / "data").mkdir()
    path = write(tmp_path / f"data/corpus{ending}", "")
    assert find(tmp_path, "data/corpus.jsonl", "catalog") == path


def test_find_refuses_to_choose(tmp_path):
    write(tmp_path / "corpus.tsv", "")
    write(tmp_path / "corpus.csv.gz", "")
    with pytest.raises(
        DataError, match=r"corpus.tsv and corpus.csv.gz could both be the catalog: name one in the task's"
    ):
        find(tmp_path, "corpus.jsonl", "catalog")


def test_find_lists_what_it_looked_for(tmp_path):
    with pytest.raises(
        DataError, match=r"no file with the catalog: looked for corpus.jsonl, corpus.tsv, .*corpus.parquet"
    ):
        find(tmp_path, "corpus.jsonl", "catalog")
