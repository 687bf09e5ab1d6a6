from __future__ import annotations

import gzip
import os
import socket

import pytest

from recr1.errors import DataError
from recr1.tasks.disk import ENDINGS, find, is_file, lines, split_files
from tests.processes import plain_user

STEMS = {"train": ("train",), "validation": ("dev", "val"), "test": ("test",)}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path, encoding=None):
    return [text for _, text in lines(path, encoding)]


def a_fifo(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as end:
        os.chdir(path.parent)  # the path of a socket is at most some 100 bytes long
        end.bind(path.name)


ODD = {
    "folder": (lambda path: path.mkdir(), "a folder, not a file: name a file, or rename the folder"),
    "broken": (lambda path: path.symlink_to("gone"), "a link to gone, which does not exist: correct the link, or"),
    "circular": (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    "fifo": (a_fifo, r"neither a file nor a folder \(a FIFO, a socket or a device\): save it as a file"),
    "socket": (a_socket, r"neither a file nor a folder \(a FIFO, a socket or a device\): save it as a file"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_refused_and_never_taken_as_absent(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make, message = ODD[kind]
    write(tmp_path / "test.tsv", "")
    make(tmp_path / "dev.tsv")
    for read in (is_file, texts, lambda path: find(path.parent, "dev.jsonl", "needs")):
        with pytest.raises(DataError, match=rf"dev\.tsv: {message}"):
            read(tmp_path / "dev.tsv")
    with pytest.raises(DataError, match=rf"dev\.tsv: {message}"):
        split_files(tmp_path, STEMS)


def test_a_forbidden_folder_is_refused():
    with plain_user() as folder:
        (folder / "data").mkdir(mode=0)
        with pytest.raises(DataError, match=r"data: cannot be read: Permission denied"):
            split_files(folder / "data", STEMS)
        with pytest.raises(DataError, match=r"data/a\.tsv: cannot be read: Permission denied"):
            find(folder / "data", "a.tsv", "needs")


def test_the_case_of_a_split_file_does_not_matter_and_other_files_beside_it_neither(tmp_path):
    for name in ("Train.TSV", "dev.csv.gz", "dev.csv.gz.md5", "train_all.tsv", "README.md"):
        write(tmp_path / name, "")
    assert split_files(tmp_path, STEMS) == {"train": tmp_path / "Train.TSV", "validation": tmp_path / "dev.csv.gz"}


@pytest.mark.parametrize("name", ["dev.txt", "dev", "VAL.json", "dev.tsv.bak"])
def test_a_split_under_a_name_that_is_not_read_is_refused(tmp_path, name):
    write(tmp_path / "train.tsv", "")
    write(tmp_path / name, "")
    message = rf"{name}: could be the validation split, but a file with this name is not read: rename it to end"
    with pytest.raises(DataError, match=message):
        split_files(tmp_path, STEMS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding_whatever_the_option_says(tmp_path, encoding):
    path = write(tmp_path / "a.tsv", "caf\u00e9\r\n\u4e2d\n".encode(encoding))
    for named in (None, "cp1252"):
        assert [text.rstrip() for text in texts(path, named)] == ["caf\u00e9", "\u4e2d"]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "gbk", "utf-16-le", "cp037"])
def test_other_encodings_are_read_by_name(tmp_path, encoding):
    assert texts(write(tmp_path / "a.tsv", "\u00e9\u00e8\nb\n".encode(encoding)), encoding) == ["\u00e9\u00e8\n", "b\n"]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"a\ncaf\xe9\n", None, r"a\.tsv:2: not UTF-8: byte 0xe9 at place 4 \(save it as UTF-8, or set the option enc"),
        (b"a\nb\x81\n", "cp1252", r"a\.tsv:2: not cp1252: byte 0x81 at place 2 \(correct the option encoding\)"),
        ("a\ncaf\u00e9\n".encode(), "cp1252", r"a\.tsv:2: this file is UTF-8, not cp1252: leave out the option"),
        ("a\nb\n".encode("utf-16-le"), None, r"a\.tsv:1: a NUL character at place 2: .* if the file is UTF-16"),
        (b"a\nb\n", "utf-16", r"a\.tsv:1: not utf-16: .*BOM \(correct the option encoding, such as utf-16-le\)"),
        (b"a\nb\0c\n", None, r"a\.tsv:2: a NUL character at place 2: remove it"),
        (b"PK\3\4...", None, r"a\.tsv: this is a ZIP archive or an Excel file: unpack it, or save its table as CSV"),
        (b"BZh91AY", None, r"a\.tsv: this is bzip2: unpack it with bunzip2"),
        (b"version https://git-lfs.github.com/spec/v1\n", None, r"a\.tsv: this is a pointer of Git LFS .* lfs pull"),
        (b"<!DOCTYPE html><html>", None, r"a\.tsv: this is a web page: download the file itself"),
        (gzip.compress(gzip.compress(b"a\n", mtime=0), mtime=0), None, r"a\.tsv: .* packed with gzip twice: unpack"),
        (gzip.compress(b"PAR1", mtime=0), None, r"a\.tsv: this is Parquet packed with gzip: unpack it with gunzip"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_cause_and_remedy(tmp_path, content, encoding, message):
    with pytest.raises(DataError, match=message):
        texts(write(tmp_path / "a.tsv", content), encoding)


def test_gzip_is_read_under_any_name(tmp_path):
    assert texts(write(tmp_path / "a.tsv", gzip.compress(b"a\nb\n"))) == ["a\n", "b\n"]


def test_truncated_gzip_names_the_line_it_ends_on(tmp_path):
    whole = gzip.compress("".join(f'{{"id": {number * 7919 % 10007}}}\n' for number in range(5000)).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"a\.jsonl\.gz:\d{3,}: the gzip file ends here unexpectedly: copy or download it again"
    ):
        texts(path)


def test_damaged_gzip_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"id": 1}\n')
    with pytest.raises(
        DataError, match=r"a.jsonl.gz: not a gzip file, though its name ends in .gz: rename it, or copy it"
    ):
        texts(path)


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


def test_latin_1_is_read_as_every_browser_reads_it(tmp_path):
    assert texts(write(tmp_path / "a.tsv", b"5\x94 \x93caf\xe9\x94\n"), "latin-1") == [
        "5\u201d \u201ccaf\u00e9\u201d\n"
    ]
