"""The second opinion: gains on labels that paid and on labels that never paid, their ratio, and what is said of it."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.tasks.shop.task import ShopTask
from retrievers.bm25.bm25 import BM25

PADDING = 8
"""Words that the policy adds, which are in no need."""


class World:
    """A shop with its true grades, and a judge: people's grades, or those of one who likes what long queries find."""

    def __init__(self, folder, *, seed=0, helpful=False):
        self.folder = folder
        shop = ShopTask(items=600, train=0, validation=0, test=120, seed=seed)
        self.needs, catalog = shop.needs("test"), shop.catalog
        self.texts = {need.id: need.text for need in self.needs}
        self.truth = {n.id: {catalog.ids[row]: grade for row, grade in shop.qrels[n.id].items()} for n in self.needs}
        words = Counter(word for text in catalog.texts for word in set(text.lower().split()))
        padding = " ".join(word for word, _ in words.most_common(PADDING))
        self.answers = {n.text: f"{n.text} {padding}" for n in self.needs}
        if helpful:  # every second query also has the text of a good item
            for need in self.needs[::2]:
                best = max(shop.qrels[need.id], key=lambda row: shop.qrels[need.id][row])
                self.answers[need.text] += f" {catalog.texts[best]}"
        engine = BM25(catalog)
        self.shown = {}
        for name, queries in (("raw", list(self.answers)), ("long", list(self.answers.values()))):
            rows_QK = engine.search(queries, 10).rows_QK
            self.shown[name] = {
                n.id: [catalog.ids[row] for row in rows_K if row >= 0]
                for n, rows_K in zip(self.needs, rows_QK, strict=True)
            }
        self.write(
            "corpus.jsonl", ({"_id": i, "text": text} for i, text in zip(catalog.ids, catalog.texts, strict=True))
        )
        self.write("queries.jsonl", ({"_id": need.id, "text": need.text} for need in self.needs))

    def write(self, name, rows):
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def true(self, need, item):
        return self.truth[need].get(item, 0)

    def planted(self, need, item):
        return 3 if item in self.shown["long"][need] else self.true(need, item)

    def labels(self, judge):
        """Need -> item -> grade of all that raw needs and long queries show, and of what is good in truth."""
        pool = {
            n.id: dict.fromkeys([*self.shown["raw"][n.id], *self.shown["long"][n.id], *self.truth[n.id]])
            for n in self.needs
        }
        return {need: {item: judge(need, item) for item in items} for need, items in pool.items()}

    def pay(self, judge):
        """The labels of the task, and a recipe whose policy writes long queries."""
        rows = [(need, item, grade) for need, items in self.labels(judge).items() for item, grade in items.items()]
        text = "query-id\tcorpus-id\tscore\n" + "".join(f"{need}\t{item}\t{grade}\n" for need, item, grade in rows)
        (self.folder / "qrels").mkdir(exist_ok=True)
        (self.folder / "qrels/test.tsv").write_text(text)
        recipe = {
            "task": {"type": "files", "path": str(self.folder), "without_positive": "exclude"},
            "retriever": {"type": "bm25"},
            "k": 10,
            "rewards": [{"type": "measure", "measure": "nDCG@10"}],
            "policy": {"type": "scripted", "answers": self.answers},
            "evaluate": {"split": "test", "measures": ["nDCG@10", "RR@10"]},
        }
        (self.folder / "r.yaml").write_text(json.dumps(recipe))

    def ask(self, labels, name="second.csv"):
        """The second labels as ratings of Quepid."""
        with (self.folder / name).open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("query", "docid", "rating"))
            table.writerows(
                (self.texts[need], i, grade) for need, items in labels.items() for i, grade in items.items()
            )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def held(*overrides, second="second.csv"):
    """The second opinion as `eval.json` has it."""
    out = Path(f"out{len(list(Path().glob('out*')))}")
    assert run(["eval", "r.yaml", f"evaluate.second_opinion={second}", *overrides, "--out", str(out)]) == 0
    return json.loads((out / "eval.json").read_text())["second_opinion"]


@pytest.mark.parametrize("seed", range(3))
def test_a_policy_that_games_a_judge_who_likes_long_queries_is_found_out(seed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for helpful in (False, True):
        world = World(tmp_path, seed=seed, helpful=helpful)
        world.pay(world.planted)
        world.ask(world.labels(world.true))
        planted = held()["measures"]["nDCG@10"]
        said = capsys.readouterr().out
        assert "against the raw need: +" in said and "p < 0.001, 120 needs): better." in said
        assert planted["paid"]["low"] > 0.3
        if helpful:  # half of the queries are better in truth too: a gain that the judge makes more than twice as large
            assert planted["second"]["low"] > 0.1
            assert 1.5 < planted["inflation"]["low"] < planted["inflation"]["mean"] < planted["inflation"]["high"] < 4
            mean = planted["paid"]["difference"] / planted["second"]["difference"]
            assert planted["inflation"]["mean"] == pytest.approx(mean)
            assert f"on the second labels: {mean:.2f} times as much" in said
        else:
            assert planted["second"]["difference"] < 0.02
            assert planted["inflation"] is None
            assert "there is no ratio, and the gain may be the judge's alone." in said


def test_the_second_gain_is_what_an_evaluation_on_these_labels_finds_and_fair_judges_do_not_inflate(world):
    world = World(world.folder, helpful=True)
    rng = random.Random(0)
    fair = lambda need, item: max(world.true(need, item) - (rng.random() < 0.3), 0)  # noqa: E731 - a little stricter
    world.ask(world.labels(fair))
    world.pay(world.true)
    found = held()["measures"]["nDCG@10"]
    assert found["inflation"]["low"] < 1 < found["inflation"]["high"] < 1.5
    world.ask(world.labels(world.planted))
    second = held()["measures"]
    world.pay(world.planted)
    run(["eval", "r.yaml", "--out", "own"])
    own = json.loads(Path("own/eval.json").read_text())["measures"]
    assert {name: one["second"] for name, one in second.items()} == {n: one["versus_floor"] for n, one in own.items()}


def test_queries_are_needs_by_their_texts_or_without_texts_by_their_ids(world):
    world.pay(world.planted)
    labels = world.labels(world.true)
    world.ask(labels)
    lines = [f"{need} 0 {item} {grade}\n" for need, items in labels.items() for item, grade in items.items()]
    Path("second.trec").write_text("".join(lines))
    by_text, by_id = held(), held(second="second.trec")
    assert (by_text["file"], by_id["file"]) == ("second.csv", "second.trec")
    assert by_text | {"file": ""} == by_id | {"file": ""}
    rows = [["id", "query", "item", "grade"]]  # numbers of another tool, which are ids of other needs
    ids = list(labels)
    for place, need in enumerate(ids):
        rows += [[ids[place - 1], f" {world.texts[need]}  ", item, grade] for item, grade in labels[need].items()]
    with open("second.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert held() == by_text


def test_what_is_left_out_is_counted_and_the_rest_compared_on_the_needs_of_both(world):
    world.pay(world.planted)
    labels = world.labels(world.true)
    first, second, *others = labels
    few = {need: labels[need] for need in others[:50]} | {
        first: {"nothing": 3},
        second: dict.fromkeys(labels[second], 0),
    }
    few[others[0]] = few[others[0]] | {world.shown["raw"][others[0]][0]: -2}
    world.ask(few)
    with open("second.csv", "a") as file:
        file.write("no such query,x,1\nnobody,,\n")
    found = held()
    assert (found["needs"], found["of"]) == (50, 120)
    assert found["counts"] == {
        "queries without a judgement, left out": 1,
        "judgements of queries that are none of these needs, left out": 1,
        "judgements of items that are not in the catalog, left out": 1,
        "judgements with a grade below 0, counted as 0": 1,
        "needs without a positive grade, left out": 1,
    }
    tests = found["measures"]["nDCG@10"]
    assert [sum(tests[labels][kind] for kind in ("wins", "ties", "losses")) for labels in ("paid", "second")] == [
        50,
        50,
    ]
    assert "It covers 50 of 120 needs: the others may be different." in found["remarks"]
    lines = [json.loads(line) for line in Path("out0/per_need.jsonl").read_text().splitlines()]
    assert [line["need"] for line in lines if "second" in line] == others[:50]
    gain = np.mean([line["second"]["nDCG@10"]["policy"] - line["second"]["nDCG@10"]["floor"] for line in lines[2:52]])
    assert gain == pytest.approx(tests["second"]["difference"])


def test_a_second_opinion_that_saw_few_or_uneven_items_or_no_bad_ones_or_is_the_first_is_said(world):
    world.pay(world.planted)
    labels = world.labels(world.true)
    assert not any("judged" in remark for remark in world_remarks(world, labels))
    raw = {n: {i: g for i, g in items.items() if i in world.shown["raw"][n] or g > 0} for n, items in labels.items()}
    assert any("the raw need shows and" in r and "its gain may be too low" in r for r in world_remarks(world, raw))
    long = {n: {i: g for i, g in items.items() if i in world.shown["long"][n] or g > 0} for n, items in labels.items()}
    assert any("its gain may be too high" in remark for remark in world_remarks(world, long))
    good = {need: {item: grade for item, grade in items.items() if grade > 0} for need, items in labels.items()}
    said = world_remarks(world, good)
    assert any("of what the policy shows (Judged@10); the rest counts as irrelevant." in remark for remark in said)
    assert "Its lowest grade is 1: every item that it judged counts as relevant." in said
    same = world_remarks(world, world.labels(world.planted))
    assert same == ["Its grades are those of the task: this is no second opinion."]


def world_remarks(world, labels):
    world.ask(labels)
    return held()["remarks"]


def test_samples_of_a_need_are_averaged_on_both_labels(world):
    world.pay(world.planted)
    world.ask(world.labels(world.true))
    one, four = held()["measures"], held("--samples", "4")["measures"]  # the same query four times
    for measure in one:
        assert one[measure]["second"]["difference"] == pytest.approx(four[measure]["second"]["difference"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [[*row[:2], "0.5"] for row in rows],
            "is 0.5, and measures need integers: round with recr1 judge",
        ),
        (
            lambda rows: [[f"x {row[0]}", *row[1:]] for row in rows],
            "no positive grade for any of the 120 needs (judgem",
        ),
        (lambda rows: [[row[0], "x", row[2]] for row in rows], "items such as 'x' there, and '"),
        (lambda rows: [[*row[:2], "0"] for row in rows], "needs without a positive grade, left out: 120"),
        (lambda rows: [[*row[:2], ""] for row in rows], "pairs without a grade, left out: "),
        (lambda rows: [[*row[:2], "good"] for row in rows], "second.csv:2: grade 'good' is not a number"),
        (lambda rows: [], "second.csv: no judgements: the file has no rows"),
        (None, "second.csv: no such file"),
    ],
)
def test_a_second_opinion_that_says_nothing_is_refused_before_a_policy_writes(change, message, world, capsys):
    world.pay(world.planted)
    world.ask(world.labels(world.true))
    path = Path("second.csv")
    if change:
        header, *rows = csv.reader(path.read_text().splitlines())
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *change(rows)])
    else:
        path.unlink()
    for command in (["eval", "r.yaml"], ["check", "r.yaml", "--data"]):
        assert run([*command, "evaluate.second_opinion=second.csv"]) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert "floor" not in said.out


def test_training_refuses_it_before_it_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["task.items=300", "task.train=20", "task.validation=10", "task.test=10"]
    (tmp_path / "strange.trec").write_text("q1 0 d1 3\n")
    assert run(["train", "quickstart", *small, "evaluate.second_opinion=strange.trec", "--out", "run"]) == 2
    assert "strange.trec: no positive grade for any of the 40 needs" in capsys.readouterr().err
    assert not (tmp_path / "run/run.json").exists()


def test_several_judges_are_refused_with_the_command_that_chooses_one(world, capsys):
    world.pay(world.planted)
    lines = [
        f"{n.text!r},{world.shown['raw'][n.id][0]},1,{judge}".replace("'", '"') for n in world.needs for judge in "ab"
    ]
    Path("second.csv").write_text("query,item,grade,source\n" + "\n".join(lines) + "\n")
    assert run(["eval", "r.yaml", "evaluate.second_opinion=second.csv"]) == 2
    assert "choose one with recr1 judgements convert second.csv --out NEW --source a" in capsys.readouterr().err
    assert run(["judgements", "convert", "second.csv", "--out", "new.csv", "--source", "b"]) == 0
    assert held(second="new.csv")["needs"] == 120


def test_a_check_of_the_data_says_how_many_needs_it_judges(world, capsys):
    world.pay(world.planted)
    world.ask(dict(list(world.labels(world.true).items())[:7]))
    assert run(["check", "r.yaml", "--data", "evaluate.second_opinion=second.csv"]) == 0
    line = "second opinion: second.csv judges needs: "
    judged = next(text for text in capsys.readouterr().out.splitlines() if text.startswith(line))
    assert 1 <= int(judged.removeprefix(line).split(" of 120 of test")[0]) <= 7


def test_a_comparison_has_it_for_every_rival_but_not_for_bounds(world, capsys):
    world.pay(world.planted)
    world.ask(world.labels(world.true))
    command = ["compare", "r.yaml", "--policies", "raw,untrained,best_item", "evaluate.second_opinion=second.csv"]
    assert run([*command, "--out", "c"]) == 0
    assert "Second opinion on test: second.csv, 120 of 120 needs" in capsys.readouterr().out
    found = json.loads(Path("c/compare.json").read_text())["second_opinion"]
    assert list(found) == ["untrained"]
    assert found["untrained"] == held()
