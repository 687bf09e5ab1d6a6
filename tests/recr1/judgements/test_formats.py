"""Each format of judgements: what is read, what is counted, what comes back to the byte, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest

from recr1.cli.main import run
from recr1.errors import UserError
from recr1.judgements import FORMATS, WRITERS, read_judgements, write_judgements
from recr1.tasks.files import FilesTask

TREC = "q1 0 d1 3\nq1 0 d2 0\nq2 0 d1 1\n"
QUEPID = 'query,docid,rating\nstar trek,d1,3\n"warm, dry ""tent""",d2,0\n -5 degrees,d3,1\n =sum,d3,2\n'
QUEPID += "nobody,,\nstar trek,d4,\n"
LTR = "3 qid:1 # 1370 star trek\n0 qid:1 # 12 star trek\n1 qid:2 # 1370 tent\n"
BOOK = {
    "name": "b",
    "scale": "0,1,2,3",
    "query_doc_pairs": [
        {
            "query_text": "star trek",
            "doc_id": "d1",
            "judgements": [
                {"rating": 3.0, "unrateable": False, "judge_later": False, "user_email": "a@x"},
                {"rating": 2.0, "unrateable": None, "user_email": "b@x"},
            ],
        },
        {
            "query_text": "star trek",
            "doc_id": "d2",
            "judgements": [{"rating": None, "unrateable": True}, {"rating": 1.0, "unrateable": False}],
        },
        {
            "query_text": "tent",
            "doc_id": 17,
            "judgements": [{"rating": None, "unrateable": False, "judge_later": True}],
        },
        {"query_text": "tent", "doc_id": "d4", "judgements": []},
    ],
}
RRE = {
    "id_field": "id",
    "index": "out",
    "template": "template.json",
    "queries": [
        {"placeholders": {"$query": "star trek"}, "relevant_documents": {"0": ["d2"], "3": ["d1", "d5"]}},
        {"placeholders": {"$query": "tent"}, "relevant_documents": {}},
    ],
}
WORKBENCH = {
    "name": "out",
    "description": "Imported judgements",
    "type": "IMPORT_JUDGMENT",
    "judgmentRatings": [
        {"query": "star trek", "ratings": [{"docId": "d1", "rating": "3.000"}, {"docId": "d2", "rating": "0.500"}]},
        {"query": "żółty", "ratings": [{"docId": "d1", "rating": "1.000"}]},
    ],
}


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grades(path, **options):
    found = read_judgements([path], **options)
    return {(row.query, row.item): row.grade for row in found.rows}, dict(+found.counts)


def put(folder, name, content):
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    (folder / name).write_text(text)
    return folder / name


def test_trec_is_read_with_blanks_or_tabs_and_with_four_or_five_columns(tmp_path):
    wanted = {("q1", "d1"): 3, ("q1", "d2"): 0, ("q2", "d1"): 1}
    assert grades(put(tmp_path, "a", TREC)) == (wanted, {})
    assert grades(put(tmp_path, "b", TREC.replace(" ", "\t").replace("\n", "\r\n"))) == (wanted, {})
    five = TREC.replace("\n", " x\n").replace("q2 0", "q2 Q0").replace("0 d2", "4.5 d2")
    counts = {"fifth columns of TREC, left out": 3, "second columns of TREC other than 0, left out": 1}
    assert grades(put(tmp_path, "c", five)) == (wanted, counts)


def test_quepid_has_queries_and_pairs_without_a_rating_and_blanks_before_formulas(tmp_path):
    found, counts = grades(put(tmp_path, "a.csv", QUEPID + "alone\n"))
    assert found == {
        ("star trek", "d1"): 3,
        ('warm, dry "tent"', "d2"): 0,
        ("-5 degrees", "d3"): 1,
        ("=sum", "d3"): 2,
        ("nobody", None): None,
        ("star trek", "d4"): None,
        ("alone", None): None,
    }
    assert counts == {"blanks of Quepid before - = + @, removed": 2}


def test_a_book_gives_the_mean_over_judges_and_counts_what_has_no_grade(tmp_path):
    found, counts = grades(put(tmp_path, "a.json", BOOK))
    wanted = {("star trek", "d1"): 2.5, ("star trek", "d2"): 1, ("tent", "17"): None, ("tent", "d4"): None}
    assert found == wanted
    assert counts == {
        "pairs of several judges, mean taken": 1,
        "pairs whose judges differ": 1,
        "judgements marked unrateable, left out": 1,
        "judgements without a rating, left out": 1,
    }


def test_judges_of_a_book_or_a_table_are_chosen_and_several_mean_their_mean(tmp_path):
    book = put(tmp_path, "a.json", BOOK)
    found, counts = grades(book, sources=["b@x"])
    assert found == {("star trek", "d1"): 2, ("tent", "d4"): None}
    assert counts["judgements of other judges, left out"] == 4
    table = put(tmp_path, "t.csv", "query,item,grade,judge\na,x,3,p\na,x,0,m\na,x,1,m\na,y,1,m\na,x,9,other\n")
    assert grades(table, sources=["m"])[0] == {("a", "x"): 1, ("a", "y"): 1}
    found, counts = grades(table, sources=["p", "m"])
    assert found == {("a", "x"): 2, ("a", "y"): 1}
    assert counts == {
        "judgements of other judges, left out": 1,
        "judgements of a pair that has one already, other grade, highest kept": 1,
        "pairs of several judges, mean taken": 1,
        "pairs whose judges differ": 1,
    }
    with pytest.raises(UserError, match=r"3 judges graded these pairs \(p, m, other\): choose one with --source p"):
        read_judgements([table])
    with pytest.raises(UserError, match=":3: field 'judge' is empty"):
        read_judgements([put(tmp_path, "e.csv", "query,item,grade,judge\na,x,3,p\na,x,0,\n")])


def test_rre_is_read_with_and_without_topics(tmp_path):
    wanted = {("star trek", "d2"): 0, ("star trek", "d1"): 3, ("star trek", "d5"): 3, ("tent", None): None}
    assert grades(put(tmp_path, "a.json", RRE))[0] == wanted
    group = {"name": "g", "queries": [{"placeholders": {"$query": "a"}}], "relevant_documents": {"1": ["d"]}}
    topics = {"index": "i", "topics": [{"description": "t", "query_groups": [group]}]}
    assert grades(put(tmp_path, "b.json", topics))[0] == {("a", "d"): 1}


def test_ltr_has_query_ids_and_texts_and_its_features_are_counted(tmp_path):
    found = read_judgements([put(tmp_path, "a.txt", LTR.replace("qid:2 #", "qid:2 1:0.5 2:7 #"))])
    assert [row[:4] for row in found.rows] == [
        ("1", "star trek", "1370", 3),
        ("1", "star trek", "12", 0),
        ("2", "tent", "1370", 1),
    ]
    assert +found.counts == {"features of LTR, left out": 2}


def test_the_workbench_has_ratings_as_text_also_in_the_answer_of_a_search(tmp_path):
    wanted = {("star trek", "d1"): 3, ("star trek", "d2"): 0.5, ("żółty", "d1"): 1}
    assert grades(put(tmp_path, "a.json", WORKBENCH))[0] == wanted
    answer = {"took": 1, "hits": {"total": {"value": 1}, "hits": [{"_id": "x", "_source": WORKBENCH}]}}
    assert grades(put(tmp_path, "b.json", answer))[0] == wanted


def test_tables_have_usual_names_or_those_of_columns(tmp_path):
    assert grades(put(tmp_path, "a.csv", "query;item;grade\na b;x;2\n"))[0] == {("a b", "x"): 2}
    assert grades(put(tmp_path, "b.tsv", "query-id\tcorpus-id\tscore\nq\tx\t2\n"))[0] == {("q", "x"): 2}
    assert grades(put(tmp_path, "c.jsonl", '{"query": "a", "doc_id": 7, "grade": 2.0}\n'))[0] == {("a", "7"): 2}
    named = {"query": "q", "item": "sku", "grade": "stars"}
    assert grades(put(tmp_path, "d.csv", "q,sku,stars\na,x,2\n"), columns=named)[0] == {("a", "x"): 2}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("o.trec", TREC, "trec"),
        ("o.csv", QUEPID, "quepid"),
        ("out.json", RRE, "rre"),
        ("out.json", WORKBENCH, "workbench"),
    ],
)
def test_a_round_trip_is_equal_to_the_byte(name, content, kind, tmp_path):
    first = put(tmp_path, name, content)
    written, _ = write_judgements(read_judgements([first]), tmp_path / "again" / name, kind)
    assert written[0].read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", WRITERS)
def test_grades_are_rounded_for_every_format_and_counted(kind, tmp_path):
    found = read_judgements([put(tmp_path, "a.csv", "query,item,grade\na,x,0.5\na,y,2\n")])
    files, counts = write_judgements(found, tmp_path / "o", kind, "nearest")
    assert counts["grades rounded (nearest)"] == 1
    texts = put(tmp_path, "q.tsv", "query-id\ttext\n1\ta\n")
    assert grades(files[-1] if kind == "beir" else files[0], queries=texts)[0] in (
        {("1", "x"): 1, ("1", "y"): 2},
        {("a", "x"): 1, ("a", "y"): 2},
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_that_is_written_is_read_with_the_same_grades(kind, tmp_path):
    found = read_judgements([put(tmp_path, "a.txt", LTR)])
    files, _ = write_judgements(found, tmp_path / ("x" if kind != "beir" else "folder"), kind)
    texts = None if kind not in ("trec", "beir") else put(tmp_path, "q.tsv", "query-id\ttext\n1\tstar trek\n2\ttent\n")
    again = read_judgements([files[-1]] if kind == "beir" else files[:1], queries=texts)
    assert {(r.text, r.item, r.grade) for r in again.rows} == {(r.text, r.item, r.grade) for r in found.rows}


def test_beir_is_what_a_task_of_files_reads(tmp_path):
    write_judgements(read_judgements([put(tmp_path, "a.csv", QUEPID)]), tmp_path / "shop", "beir")
    put(tmp_path / "shop", "corpus.jsonl", "".join(f'{{"_id": "d{n}", "text": "thing {n}"}}\n' for n in range(1, 5)))
    task = FilesTask(path=str(tmp_path / "shop"), splits={"train": 1.0}, without_positive="exclude")
    assert {need.text: dict(task.qrels[need.id]) for need in task.needs("train")} == {
        "star trek": {0: 3},
        "-5 degrees": {2: 1},
        "=sum": {2: 2},
    }


def test_trec_from_texts_has_new_ids_and_a_table_of_their_texts(tmp_path):
    files, counts = write_judgements(read_judgements([put(tmp_path, "a.csv", QUEPID)]), tmp_path / "o.trec", "trec")
    assert [path.name for path in files] == ["o.trec", "o.trec.queries.tsv"]
    assert files[0].read_text() == "1 0 d1 3\n2 0 d2 0\n3 0 d3 1\n4 0 d3 2\n"
    assert files[1].read_text().splitlines()[:2] == ["query-id\ttext", "1\tstar trek"]
    assert counts["pairs without a grade, left out"] == counts["queries without a judgement, left out"] == 1
    again = read_judgements(files[:1], queries=files[1])
    assert [row.text for row in again.rows][:2] == ["star trek", 'warm, dry "tent"']


def test_repeated_pairs_keep_the_highest_grade_and_are_counted(tmp_path):
    one, two = put(tmp_path, "a", TREC), put(tmp_path, "b", "q1 0 d1 1\nq1 0 d2 2\nq2 0 d1 1\n")
    found = read_judgements([one, two])
    assert [row.grade for row in found.rows] == [3, 2, 1]
    assert +found.counts == {
        "judgements of a pair that has one already, other grade, highest kept": 2,
        "judgements of a pair that has one already, same grade": 1,
    }


def test_the_command_says_what_it_wrote_and_counts_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "book.json", BOOK)
    assert run(["judgements", "convert", "book.json", "--out", "o.trec", "--round", "nearest"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote o.trec, o.trec.queries.tsv (trec): 2 judgements of 1 queries",
        "counted     judgements marked unrateable, left out: 1",
        "counted     judgements without a rating, left out: 1",
        "counted     pairs of several judges, mean taken: 1",
        "counted     pairs whose judges differ: 1",
        "counted     grades rounded (nearest): 1",
        "counted     pairs without a grade, left out: 2",
    ]
    assert (tmp_path / "o.trec").read_text() == "1 0 d1 3\n1 0 d2 1\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a", TREC, "--out o.json", "rre and workbench are both .json: say which with --to"),
        ("a", TREC, "--out o.xyz", "its ending says no format: say it with --to"),
        ("a", TREC, "--out a --to trec", "a exists already and is not overwritten"),
        ("a", TREC, "--out o.csv", "query 'q1' has an id and no text: give the texts with --queries FILE"),
        ("b.json", BOOK, "--out o.trec", "the grade of 'd1' for 'star trek' is 2.5, and grades here are integers"),
        ("c.csv", "query,docid,rating\na,b c,1\n", "--out o.trec", "id 'b c' has a blank"),
        ("d.csv", QUEPID, "--out o.trec --columns item=docid", "quepid and csv both fit"),
        ("e.json", {**RRE, **WORKBENCH}, "--out o.trec", "rre and workbench both fit: say which with --from"),
        ("f.json", {"a": 1}, "--out o.trec", "no format of judgements fits (known: trec, csv, quepid"),
        ("g", "", "--out o.trec", "no format of judgements fits"),
        (
            "h.csv",
            "query,item,grade,score\na,b,1,1\n",
            "--out o.trec",
            "'score' and 'grade' could both be the grade",
        ),
        ("i.csv", "query,item,grade\na,b,1\n", "--out o.trec --columns item=sku", "no column 'sku'; the"),
        (
            "j.csv",
            "query,item,grade\na,b,1\n",
            "--out o.trec --columns sku",
            "--columns must be role=column",
        ),
        ("k.csv", "query,item,grade\na,b,1\n", "--out o.trec --columns x=y", "no role 'x' here"),
        ("l.txt", LTR + "1 qid:1 # 7 tents\n", "--out o.trec", "query id '1' has two texts"),
        ("m", TREC, "--out o.trec --queries none.tsv", "none.tsv: no such file"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_a_remedy(name, content, options, message, in_folder, capsys):
    put(in_folder, name, content)
    assert run(["judgements", "convert", name, *options.split()]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in in_folder.iterdir()} == {name}


FAULTS = [
    ("trec", TREC.replace("d2 0", "d2 x"), ":2: grade 'x' is not a number"),
    ("trec", TREC.replace("d2 0", "d2 1e400"), ":2: grade '1e400' is not a number"),
    ("trec", TREC.replace("d2 0", "d2 3,5"), ":2: grade '3,5' is not a number"),
    ("trec", TREC.replace("d2 0", "d2"), ":2: 3 columns in 'q1 0 d2'"),
    ("trec", TREC.replace("0 d2", "d2 0 0"), ":2: the second column is 'd2', where TREC has 0 or Q0"),
    ("trec", TREC.replace("d2", "nan"), ":2: field 'item' is 'nan', which means that it is missing"),
    ("quepid", QUEPID.replace("d1,3", "d1,three"), ":2: grade 'three' is not a number"),
    ("quepid", QUEPID.replace("d1,3", "d1"), ":2: 2 columns, but Quepid has query, docid and rating"),
    ("quepid", QUEPID.replace('""tent"""', '"tent"'), ":3: not CSV"),
    ("quepid", QUEPID.replace('""tent"""', '""tent""'), ":3: not CSV"),
    ("quepid", QUEPID.replace("trek,d1", "trek,"), ":2: a rating '3' without a docid"),
    ("quepid", QUEPID.replace("docid", "doc"), "the header is ['query', 'doc', 'rating']: Quepid's is"),
    ("quepid", QUEPID.replace("star trek,d1", ",d1"), ":2: field 'query' is empty"),
    ("quepid", QUEPID.replace("=sum", "a\0b"), ":5: a NUL character"),
    ("ltr", LTR.replace("12 star", " "), None),
    ("ltr", LTR.replace("qid:1 # 12", "# 12"), ":2: '0 # 12 star trek' is not 'grade qid:QUERY # ITEM text'"),
    ("ltr", LTR.replace("0 qid", "x qid"), ":2: grade 'x' is not a number"),
    ("csv", "query,item,grade\na,b,1\nc,d\n", ":3: 2 columns, but the header (line 1) has 3"),
    ("csv", "query,item,grade\na,b,True\n", ":2: grade 'True' is not a number"),
    ("csv", "query,item\na,b\n", ":2: no column for the grade; the columns are: query, item"),
    ("csv", "item,grade\nb,1\n", ":2: no column for the query"),
    ("csv", "query,item,grade\na,b ,1\n", ":2: id 'b ' begins or ends with a blank"),
    ("csv", "query,item,grade\n", "no judgements: the file has no rows"),
    ("csv", 'query,item,grade\n"a\nb",c,1\n', ":2: query 'a\\nb' has a tab or a line break"),
    ("book", json.dumps(BOOK)[:-60], ":1: not JSON"),
    ("book", {**BOOK, "query_doc_pairs": None}, "query_doc_pairs is None: it must be a list of objects"),
    ("book", json.dumps(BOOK).replace("2.0", '"two"'), "query_doc_pairs[0].judgements[1].grade 'two' is not a number"),
    ("book", json.dumps(BOOK).replace("2.0", "true"), "query_doc_pairs[0].judgements[1].grade True is not a number"),
    ("book", json.dumps(BOOK).replace("2.0", "NaN"), "query_doc_pairs[0].judgements[1].grade nan is not a number"),
    ("book", json.dumps(BOOK).replace('"doc_id": 17', '"id": 17'), "'query_doc_pairs[2].doc_id' is empty"),
    ("rre", json.dumps(RRE).replace('"0": [', '"3": ['), "the key '3' appears twice"),
    ("rre", json.dumps(RRE).replace('["d2"]', '"d2"'), "queries[0].relevant_documents is {'0': 'd2'"),
    ("rre", json.dumps(RRE).replace("$query", "$q"), "'queries[0].placeholders.$query' is empty"),
    (
        "rre",
        json.dumps(RRE).replace('"0": [', '"none": ['),
        "queries[0].relevant_documents: grade 'none' is not a number",
    ),
    ("workbench", json.dumps(WORKBENCH).replace("3.000", "high"), "judgmentRatings[0].ratings[0].grade 'high' is not"),
    ("workbench", json.dumps(WORKBENCH).replace("docId", "doc"), "'judgmentRatings[0].ratings[0].docId' is empty"),
    ("workbench", "[1]", "judgmentRatings is [1]: it must be a list of objects"),
]


@pytest.mark.parametrize(("kind", "content", "message"), FAULTS)
def test_a_mutated_file_is_refused_with_its_place(kind, content, message, tmp_path):
    path = put(tmp_path, "bad.csv" if kind in ("csv", "quepid") else "bad", content)
    if message is None:
        message = "is not 'grade qid:QUERY # ITEM text'"
        path.write_text("0 qid:1 #\n")
    with pytest.raises(UserError) as raised:
        read_judgements([path], kind)
    assert message in str(raised.value)


VALID = {"trec": TREC, "quepid": QUEPID, "ltr": LTR, "book": BOOK, "rre": RRE, "workbench": WORKBENCH}


@pytest.mark.parametrize("kind", VALID)
def test_a_file_cut_anywhere_gives_no_traceback(kind, tmp_path):
    """Only what no reader can know is accepted: whole lines that are missing, and a last value that is shorter."""
    whole = put(tmp_path, "whole.csv", VALID[kind])
    rows, text = read_judgements([whole], kind).rows, whole.read_text()
    for end in range(len(text)):
        path = put(tmp_path, "cut.csv", text[:end])
        try:
            found = read_judgements([path], kind).rows
        except UserError:
            continue
        assert kind in ("trec", "quepid", "ltr") or text[end:].isspace()
        assert found[:-1] == rows[: len(found) - 1]


@pytest.mark.parametrize("kind", FORMATS)
def test_files_of_another_kind_are_refused(kind, tmp_path):
    for content in (b"", b"PK\x03\x04", b"\xff\xfe\x00", b"\x1f\x8b\x08", b"{" * 3000, gzip.compress(b"[" * 3000)):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(UserError):
            read_judgements([tmp_path / "x.csv"], kind)
