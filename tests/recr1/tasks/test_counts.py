"""What a task left out, merged, moved or lacks is said by `check --data` and by evaluations."""

from __future__ import annotations

import json

import pytest

from recr1.cli.main import run
from recr1.config.shipped import find_recipe
from tests.recr1.tasks.folders import CORPUS, QRELS, QUERIES, jsonl, tsv, write_folder


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe of a folder with a copied item, a repeated judgement, and a long text."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_folder(folder)
    long = {"_id": "long", "title": "Lamp\n", "text": "that shines " * 20}
    signs = [{"_id": "sign", "title": "--", "text": "\u200b"}, {"_id": "blank", "title": "\u00a0", "text": ""}]
    (folder / "corpus.jsonl").write_text(jsonl([long, *CORPUS, {**CORPUS[0], "_id": "mug-2"}, *signs]))
    (folder / "queries.jsonl").write_text(jsonl([*QUERIES[1:], {"_id": "q0", "text": ":-)"}]))
    (folder / "qrels.tsv").write_text(tsv([*QRELS, QRELS[0]]))
    (tmp_path / "mine.yaml").write_text(
        find_recipe("toy/echo").read_text().replace("{type: toy}", "{type: files, path: data}")
    )
    monkeypatch.chdir(tmp_path)
    return "mine.yaml"


def test_check_says_what_texts_are_made_of_and_every_count_within_80_columns(recipe, capsys):
    assert run(["check", recipe, "--data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    start = lines.index("items       7")
    assert lines[start + 1 : start + 5] == [
        "judgements  60 of 60 needs",
        "text        title + text; the first item's:",
        "  Lamp" + " that shines" * 5 + " that shine...",
        "fields      title (6), text (4), price (3), tags (2), brand (1)",
    ]
    assert [line for line in lines if line.startswith("counted ")] == [
        "counted     items without 'title': 1",
        "counted     items without 'text': 3",
        "counted     items without a word in their text: 2",
        "counted     items with the text of an earlier item: 1",
        "counted     needs without a word: 1",
        "counted     judgements merged, same grade: 1",
    ]


def test_an_evaluation_says_the_counts_and_writes_them(recipe, capsys):
    assert run(["eval", recipe, "--out", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "data: items without 'title': 1; items without 'text': 3; items without a word in their text: 2; "
        "items with the text of an earlier item: 1; needs without a word: 1; judgements merged, same grade: 1"
    )
    counts = json.loads(open("out/eval.json").read())["data"]
    assert counts == {
        "items without 'title'": 1,
        "items without 'text'": 3,
        "items without a word in their text": 2,
        "items with the text of an earlier item": 1,
        "needs without a word": 1,
        "judgements merged, same grade": 1,
    }
