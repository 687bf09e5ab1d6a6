from __future__ import annotations

import pytest

from recr1.cli.main import run
from recr1.env import Environment
from recr1.errors import UserError
from recr1.recipe import load_recipe
from recr1.tasks.files import FilesTask
from recr1.tasks.reranking import RerankingTask
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25

TOY = {"type": "toy"}


def everything(task):
    return [need for split in ("train", "validation", "test") for need in task.needs(split)]


def test_judged_items_are_candidates_in_an_order_without_meaning():
    task = RerankingTask(task=TOY, count=40)
    first = []
    for need in everything(task):
        rows = [one.row for one in need.candidates]
        assert sorted(rows) == sorted(task.qrels[need.id]) and len(rows) > 1
        assert all(one.text == task.catalog.title(one.row) for one in need.candidates)
        first.append(task.qrels[need.id][rows[0]] == max(task.qrels[need.id].values()))
    assert 0 < sum(first) < len(first)  # neither always nor never the best


def test_the_order_follows_the_seed_and_nothing_else():
    one, same, other = (RerankingTask(task=TOY, seed=seed) for seed in (0, 0, 1))
    assert everything(one) == everything(same) != everything(other)
    assert [n.id for n in everything(one)] == [n.id for n in everything(other)]


def test_candidates_may_be_the_first_of_a_retriever():
    task, toy = RerankingTask(task=TOY, candidates={"type": "bm25"}, count=5), ToyTask()
    needs = everything(task)
    found = BM25(toy.catalog).search([need.text for need in needs], 5).rows_QK
    for need, rows_K in zip(needs, found, strict=True):
        assert sorted(one.row for one in need.candidates) == sorted(rows_K[rows_K >= 0])
    left_out = set(need.id for need in everything(toy)) - set(need.id for need in needs)
    assert left_out and sum(task.counts.values()) == len(left_out), task.counts
    assert set(task.counts) <= {
        "needs left out, no relevant candidate",
        "needs left out, fewer than two candidates",
    }


def test_too_many_judged_items_are_drawn_and_counted():
    task = RerankingTask(task=TOY, count=2)
    assert all(len(need.candidates) == 2 for need in everything(task))
    assert task.counts["needs with more judged items than candidates"] > 0
    assert dict(task.qrels["n03"]) == dict(ToyTask().qrels["n03"])  # the key stays whole


def test_the_policy_reads_the_field_that_is_asked_for_cut_to_some_words():
    task = RerankingTask(task=TOY, field="texts", words=2)
    assert all(len(one.text.split()) <= 2 for need in everything(task) for one in need.candidates)
    with pytest.raises(UserError, match=r"field: the catalog has no field 'colour' \(fields: title"):
        RerankingTask(task=TOY, field="colour")


def test_splits_are_those_of_the_other_task(tmp_path):
    with pytest.raises(UserError, match="no split 'nowhere'"):
        RerankingTask(task=TOY).needs("nowhere")


def test_a_split_that_loses_all_its_needs_is_an_error():
    nothing = {"type": "tests.recr1.tasks.test_reranking:FindsNothing"}
    with pytest.raises(UserError, match="the split 'train' is empty: no need has two candidates"):
        RerankingTask(task=TOY, candidates=nothing)


class FindsNothing(BM25):
    def __init__(self, catalog):
        super().__init__(catalog)

    def search(self, queries, k):
        return super().search(["zzz"] * len(queries), k)


def test_a_ranking_without_candidates_is_refused():
    task = ToyTask(format={"type": "ranking"})
    with pytest.raises(UserError, match=r"the needs of this task have no candidates; give them some with task: "):
        Environment(task, BM25(task.catalog), [], k=5)


def test_its_parts_are_checked_with_the_recipe(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "task:\n  type: reranking\n  task: {type: files}\n  candidates: {type: bm25, k3: 1}\n"
        "  format: {type: ranking, mend: 3}\n"
        "retriever: {type: bm25}\nk: 10\nrewards: [{type: measure, measure: nDCG@10}]\npolicy: {type: echo}\n"
    )
    with pytest.raises(UserError) as caught:
        load_recipe(file)
    said = str(caught.value)
    assert all(part in said for part in ("task.task.path", "task.candidates.k3", "task.format.mend")), said


def test_a_text_without_a_word_is_shown_as_its_id(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a1", "text": ""}\n{"_id": "b2", "text": "red mug"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "mug"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta1\t0\nq\tb2\t1\n")
    inner = {"type": "files", "path": str(tmp_path), "qrels": "qrels.tsv", "splits": {"test": 1.0}}
    assert FilesTask(path=str(tmp_path), qrels="qrels.tsv", splits={"test": 1.0}).catalog.texts[0] == ""
    (need,) = RerankingTask(task=inner).needs("test")
    assert sorted(one.text for one in need.candidates) == ["a1", "red mug"]


def test_recr1_check_says_so_before_training(capsys):
    assert run(["check", "toy/echo", "task.format={type: ranking}", "--data"]) == 2
    assert "the needs of this task have no candidates" in capsys.readouterr().err
