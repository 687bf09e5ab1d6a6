from __future__ import annotations

import gzip

import pytest

from recr1.config.build import build
from recr1.errors import DataError, OptionError, UserError
from recr1.tasks.files import FilesTask
from tests.recr1.tasks.folders import CORPUS, HEADER, QRELS, QUERIES, jsonl, tsv, write_folder, write_split_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture
def beir(tmp_path):
    return write_split_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", "", r"corpus\.jsonl: no catalog items: the file has no rows"),
        ("corpus.jsonl", '{"_id": "a"}\n', r"corpus\.jsonl:1: no field 'title' or 'text'; the fields are: _id"),
        ("corpus.jsonl", '{"sku": "a", "text": "b"}\n', r"1: no field '_id' or .* \(name it with columns: \{it"),
        ("corpus.jsonl", jsonl([*CORPUS, {"text": "b"}]), r"corpus\.jsonl:4: no field '_id'; the fields are: text"),
        ("corpus.jsonl", jsonl([*CORPUS, CORPUS[1]]), r"corpus\.jsonl:4: item id 'pan' is on line 2 .*_items: first"),
        ("corpus.csv", "Doc_ID,text\na,b\n", r"\(name it with columns: \{item_id: Doc_ID\}"),
        ("corpus.jsonl", '{"_id": "a", "Title": "b"}\n', r"1: a field 'Title', but no field 'title': rename it, or"),
        ("corpus.csv", "_id,Title,text\na,b,c\n", r"csv:2: a field 'Title', but no field 'title': .*: \[Ti"),
        ("corpus.jsonl", '{"_id": "a", "text": "b", "TEXT": "c"}\n', r"1: a field 'TEXT', and field 'text': rename it"),
        ("corpus.jsonl", '{"_id": "", "text": "b"}\n', r"corpus\.jsonl:1: field '_id' is empty: it must be text"),
        ("corpus.jsonl", '{"_id": 1.0, "text": "b"}\n', r"corpus\.jsonl:1: field '_id' is 1.0: it must be text"),
        ("corpus.jsonl", '{"_id": true, "text": "b"}\n', r"corpus\.jsonl:1: field '_id' is True: it must be text"),
        ("corpus.jsonl", '{"_id": "a", "text": ""}\n', r"no item's text \(text\) has a word: name other"),
        ("corpus.jsonl", '{"_id": "a", "text": "\u200b"}\n{"_id": "b", "text": "--"}\n', r"no item.s text .* has a w"),
        ("queries.jsonl", '{"_id": "q0", "text": "\u00a0\u200b"}\n', r"queries\.jsonl:1: field 'text' is empty"),
        ("corpus.jsonl", '{"_id": "a", "text": "b"\n', r"corpus\.jsonl:1: not JSON: "),
        ("queries.jsonl", '{"_id": "q0"}\n', r"queries\.jsonl:1: no field 'text' or 'query'; the fields are: _id"),
        ("queries.jsonl", '{"_id": "q0", "text": " "}\n', r"queries\.jsonl:1: field 'text' is empty"),
        ("queries.jsonl", '{"_id": "q0", "text": null}\n', r"queries\.jsonl:1: field 'text' is empty"),
        ("queries.jsonl", jsonl([*QUERIES, QUERIES[0]]), r"queries\.jsonl:61: need id 'q0' is on line 1 already"),
        ("queries.jsonl", b'{"_id": "q0", "text": "caf\xe9"}\n', r"queries\.jsonl:1: not UTF-8: byte 0xe9 at place 27"),
        ("qrels.tsv", tsv([("q0", "mug", "0.5")]), r"qrels\.tsv:2: grade '0.5' is not an integer: write"),
        ("qrels.tsv", tsv([("q0", "mug", "9" * 30)]), r"qrels\.tsv:2: grade '9999.*' has more than 9 digits: wr"),
        ("qrels.tsv", tsv([("q0", "mug", "")]), r"qrels\.tsv:2: grade '' is not an integer"),
        ("qrels.tsv", "query-id\tcorpus-id\nq0\tmug\n", r"qrels\.tsv:2: no field 'score' or 'grade' or 'relev"),
        ("qrels.tsv", "q0\tmug\t1\nq1\tpan\t1\n", r"qrels\.tsv:2: .* are: q0, mug, 1 .*; if these are values, wr"),
        ("qrels.tsv", tsv([*QRELS, ("q0", "mug ", 1)]), r"qrels\.tsv:62: unknown item 'mug ', but there is 'mug': "),
        ("qrels.tsv", tsv([*QRELS, ("q0", "mu\u00adg", 1)]), r"tsv:62: unknown item '.*', but there is 'mug': wr"),
        ("qrels.tsv", tsv([("q0.0", "mug", 1)]), r"qrels\.tsv:2: unknown need 'q0\.0', but there is 'q0': write"),
        ("qrels.tsv", tsv([("q0", "None", 1)]), r"qrels\.tsv:2: field 'corpus-id' is 'None', which means that it is"),
        ("qrels.tsv", tsv([("q0", "mug", "nan")]), r"qrels\.tsv:2: grade 'nan' is not an integer"),
        ("qrels.tsv", tsv([("q0", "mug", "1e400")]), r"qrels\.tsv:2: grade '1e400' is not an integer"),
        ("queries.jsonl", '{"_id": "q0", "text": NaN}\n', r"queries\.jsonl:1: field 'text' is empty"),
        ("queries.jsonl", '{"_id": "q0 ", "text": "a"}\n', r"queries\.jsonl:1: id 'q0 ' begins or ends with a blank"),
        ("corpus.jsonl", '{"_id": "a\\tb", "text": "a"}\n', r"corpus\.jsonl:1: id 'a\\tb' has a character that cannot"),
        ("corpus.jsonl", '{"_id": "a", "text": NaN}\n', r"no item's text \(text\) has a word"),
        ("qrels.tsv", HEADER + "q0\tmug\n", r"qrels\.tsv:2: 2 columns, but the header \(line 1\) has 3"),
        ("qrels.tsv", tsv(QRELS) + tsv([("q0", "pan", 1)]), r"qrels\.tsv:62: the header again: several files were joi"),
        ("qrels.tsv", HEADER, r"qrels\.tsv: no judgements: the file has no rows"),
        ("qrels.tsv", tsv([*QRELS, ("q0", "mgu", 1)]), r"qrels\.tsv:62: unknown item 'mgu': add them to the"),
        ("qrels.tsv", tsv([*QRELS, ("q99", "mug", 1)]), r"qrels\.tsv:62: unknown need 'q99': add them to the file of"),
        ("qrels.tsv", tsv([("q0", "mug", 0), *QRELS[5:]]), r"5 of 60 needs .* \('q0', 'q1', 'q2', \.\.\.\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_file_and_line(folder, name, content, message):
    (folder / f"{name.split('.')[0]}.jsonl").unlink(missing_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        FilesTask(path=str(folder))


def test_many_unknown_items_are_one_error_with_their_count(folder):
    (folder / "qrels.tsv").write_text(tsv([*QRELS, *(("q0", f"gone{n}", 1) for n in range(5000))]))
    with pytest.raises(
        DataError, match=r"tsv:62: unknown item 'gone0' \(the first of 5,000 such rows\): .*unknown_items"
    ):
        FilesTask(path=str(folder))


def test_truncated_gzip_is_named(folder):
    whole = gzip.compress(tsv(QRELS).encode())
    (folder / "qrels.tsv").unlink()
    (folder / "qrels.tsv.gz").write_bytes(whole[:-20])
    with pytest.raises(
        DataError, match=r"qrels\.tsv\.gz:\d+: the gzip file ends here unexpectedly: copy or download it again"
    ):
        FilesTask(path=str(folder))


def test_a_missing_folder_is_named_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere: no such folder \(relative to .*\): set the task's path to your data"
    ):
        FilesTask(path=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("corpus.jsonl", r"no file with the catalog \(corpus\): looked for corpus\.jsonl, corpus\.tsv"),
        ("queries.jsonl", r"no file with the needs \(queries\): looked for queries\.jsonl, "),
        ("qrels.tsv", r"no file with the judgements \(qrels\): looked for qrels, qrels\.jsonl, qrels\.tsv"),
    ],
)
def test_a_missing_file_is_named_with_what_was_looked_for(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(DataError, match=message):
        FilesTask(path=str(folder))


def test_a_need_in_two_split_files_is_refused(beir):
    (beir / "qrels/test.tsv").write_text(tsv(QRELS[48:]))
    with pytest.raises(DataError, match=r"test\.tsv: 2 needs are also in dev\.tsv, the first is 'q48': a need belongs"):
        FilesTask(path=str(beir))


def test_a_split_file_without_a_positive_is_refused_whatever_is_excluded(beir):
    (beir / "qrels/dev.tsv").write_text(tsv([("q40", "mug", 0)]))
    with pytest.raises(DataError, match=r"dev\.tsv: 1 of 1 needs have no positive grade \('q40'\): judge them, or"):
        FilesTask(path=str(beir))
    with pytest.raises(DataError, match=r"dev\.tsv: the split 'validation' is empty: no need has a positive grade"):
        FilesTask(path=str(beir), without_positive="exclude")


def test_a_share_that_no_need_falls_into_is_refused(folder):
    (folder / "queries.jsonl").write_text(jsonl(QUERIES[:2]))
    (folder / "qrels.tsv").write_text(tsv(QRELS[:2]))
    with pytest.raises(DataError, match=r"qrels\.tsv: the split '\w+' is empty: none of 2 needs fell into its share"):
        FilesTask(path=str(folder))


def test_two_files_for_one_thing_are_refused(beir):
    (beir / "qrels.csv").write_text("")
    with pytest.raises(DataError, match=r"qrels/ and qrels\.csv could both be the judgements: choose one with qrels"):
        FilesTask(path=str(beir))
    (beir / "qrels/validation.tsv").write_text("")
    with pytest.raises(DataError, match=r"dev\.tsv and validation\.tsv could both be the validation split"):
        FilesTask(path=str(beir), qrels="qrels/")


def test_a_folder_without_split_files_is_refused(beir):
    for file in (beir / "qrels").iterdir():
        file.unlink()
    with pytest.raises(
        DataError, match=r"qrels: no split file: looked for train\.tsv, dev\.tsv, .*test\.tsv, and with"
    ):
        FilesTask(path=str(beir))


def test_an_unknown_text_field_is_refused_with_those_there(folder):
    with pytest.raises(
        DataError, match=r"text_fields: no item has a flat field 'tilte'; did you mean 'title'\? \(fields: t"
    ):
        FilesTask(path=str(folder), text_fields=["tilte", "text"])
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: field 'metadata' is .* name other text_fields"):
        FilesTask(path=str(folder), text_fields=["title", "metadata"])


def test_splits_beside_a_file_for_each_split_is_refused(beir):
    with pytest.raises(UserError, match="splits: leave it out, because the data has a qrels file for each split"):
        FilesTask(path=str(beir), splits={"train": 1.0})


def test_two_columns_that_fit_one_role_are_refused_with_the_option_that_says_which(folder):
    both = [{**QUERIES[0], "id": "x"}]
    (folder / "queries.jsonl").write_text(jsonl([*QUERIES[1:], *both]))
    message = (
        r"queries\.jsonl:60: '_id' and 'id' could both be the need_id: say which with .* columns: \{need_id: _id\}"
    )
    with pytest.raises(DataError, match=message):
        FilesTask(path=str(folder))
    assert FilesTask(path=str(folder), columns={"need_id": "_id"}).needs("train")


@pytest.mark.parametrize(
    ("name", "role", "columns"),
    [
        ("corpus", "item_id", {"_id": "mug", "item_id": 1, "text": "a"}),
        ("queries", "need_text", {"_id": "q0", "text": "a", "query": "b"}),
        ("qrels", "grade", {"query_id": "q0", "doc_id": "mug", "score": 1, "relevance": 0}),
        ("qrels", "qrels_need", {"query_id": "q0", "need_id": "q0", "doc_id": "mug", "score": 1}),
        ("qrels", "qrels_item", {"query_id": "q0", "doc_id": "mug", "item_id": "mug", "score": 1}),
    ],
)
def test_two_columns_are_refused_for_every_role(folder, name, role, columns):
    (folder / "qrels.tsv").rename(folder / "qrels.jsonl")
    (folder / "qrels.jsonl").write_text(jsonl([{"query_id": "q0", "doc_id": "mug", "score": 1}]))
    (folder / f"{name}.jsonl").write_text(jsonl([columns]))
    with pytest.raises(DataError, match=rf"{name}\.jsonl:1: '\w+' and '\w+' could both be the {role}: say which with"):
        FilesTask(path=str(folder))


def test_one_column_for_two_roles_is_refused(folder):
    with pytest.raises(
        DataError, match=r"queries\.jsonl:1: columns: '_id' is both the need_id and the need_text: corr"
    ):
        FilesTask(path=str(folder), columns={"need_text": "_id"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"item": "sku"}}, r"task.columns: no role 'item'; did you mean 'item_id'\? \(roles: item_id, "),
        ({"splits": {"train": 0.5}}, r"task.splits: the shares must sum to 1, got 0.5"),
        ({"splits": {}}, r"task.splits: the shares must sum to 1, got 0"),
        ({"qrels": {"dev": "a.tsv"}}, r"task.qrels: no split 'dev'.* \(splits: train, validation, test\)"),
        ({"encoding": "latin-99"}, r"task.encoding: Python knows no encoding 'latin-99' \(usual ones: cp1252"),
        ({"encoding": "base64"}, "task.encoding: Python knows no encoding 'base64'"),
        ({"text_fields": []}, r"task.text_fields: must be a list of strings with at least 1 item, or null, got \[\]"),
        (
            {"text_fields": ["title", "text", "title"]},
            r"task.text_fields: 'title' is listed twice, and would count twice",
        ),
        ({"gains": {3: 1.0, "E": 1}}, r"task.gains: '3' is a number and 'E' is not: write all grades in one way"),
        ({"qrels": {}}, r"task.qrels: must have a file for at least one of train, validation, test"),
        ({"min_grade": 0}, r"task.min_grade: must be an integer >= 1, got 0"),
        ({"max_needs": 0}, r"task.max_needs: must be an integer >= 1, or null, got 0"),
        ({"without_positive": "drop"}, r"task.without_positive: must be one of 'refuse', 'exclude', got 'drop'"),
    ],
)
def test_wrong_options_are_refused_before_a_file_is_opened(options, message):
    with pytest.raises(OptionError, match=message):
        build("task", {"type": "files", "path": "/nowhere"} | options)
