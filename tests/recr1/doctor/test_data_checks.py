"""Every fault of a data set is found by its name, and no sound data set is blamed."""

from __future__ import annotations

import csv
import gzip
import json
import re
from functools import cache

import pytest

from recr1.cli.main import run
from recr1.doctor import CHECKS, Setup
from recr1.env import Environment
from recr1.tasks.files import FilesTask
from recr1.tasks.shop.task import ShopTask
from recr1.tasks.splits import hash_split
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.base import Need
from rewards.measures.reward import MeasureReward
from tests.docs.pages import read
from tests.recr1.doctor import faulty_judgements, faulty_texts
from tests.recr1.doctor.data import FAULTS, Data, Task
from tests.recr1.tasks.folders import jsonl
from tests.recr1.tasks.test_files_task import real

assert faulty_texts and faulty_judgements  # imported for what they add to FAULTS
OF_DATA = ("item_texts", "need_texts", "qrels", "judgements", "splits")
HARD = {"shared": 0.0, "indirect": 1.0, "typos": 1.0}
PRIVATE = {"shared": 0.0, "canary": "kestrel-7f3a-never-shown"}


@cache
def shop(**options):
    return Data.of(ShopTask(**({"items": 300, "train": 60, "validation": 30, "test": 30} | options)))


@cache
def keywords():
    """The shop with needs that are words of a best item, as where people know what things are called."""
    data = shop()

    def name(data, rng):
        words = {item: f"{fields['title']} {fields['description']}".split() for item, fields in data.items}
        for need in data.needs:
            need[1] = " ".join(rng.sample(words[data.best[need[0]]], 4))

    return data.spoiled(name)


def found(name, task):
    return CHECKS[name](Setup(Environment(task, BM25(task.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)))


def complaints(task):
    findings = [found(name, task) for name in OF_DATA]
    return [finding.message for finding in findings if finding.verdict != "ok"]


def must_be_found(case, data):
    check, name, verdict, spoil = FAULTS[case]
    finding = found(check, Task(data.spoiled(spoil)))
    assert re.search(rf"(^|; ){name}: ", finding.message), finding.message
    assert finding.verdict == verdict


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_the_data_is_found_by_name(case):
    must_be_found(case, keywords() if FAULTS[case][0] == "judgements" else shop())


OF_JUDGEMENTS = [case for case, (check, *_) in FAULTS.items() if check == "judgements"]


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in OF_JUDGEMENTS if "unrelated" not in FAULTS[case][1]])
@pytest.mark.parametrize("options", [{}, HARD, PRIVATE | {"dialect": "a"}], ids=["shop", "hard", "private"])
def test_a_fault_of_judgements_is_found_where_needs_and_items_share_few_words(options, case):
    must_be_found(case, shop(items=1000, train=400, validation=200, test=200, **options))


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in OF_JUDGEMENTS if FAULTS[case][1] == "unrelated"])
@pytest.mark.parametrize("options", [HARD, PRIVATE | {"dialect": "a"}], ids=["hard", "private"])
def test_judgements_without_sense_are_a_warning_where_needs_and_items_share_few_words(options, case):
    data = shop(items=1000, train=400, validation=200, test=200, **options).spoiled(FAULTS[case][3])
    finding = found("judgements", Task(data))
    assert finding.verdict == "warning" and "unrelated: in all needs" in finding.message


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_JUDGEMENTS)
def test_a_fault_of_judgements_is_found_among_real_searches(case):
    must_be_found(case, movies())


@cache
def movies():
    """Some needs of msrd_movies, with all items."""
    return Data.of(FilesTask(path=real("msrd_movies"), max_needs=150))


# --- sound and odd data


ODD = ["", " ", ":-)", "²", "\ud800", "!" * 5000, "a", "{}", "12 ²³ x9", "静か", "%s {0}", "\n"]


@pytest.mark.parametrize(
    "needs", [ODD, ODD * 5, [":-)"] * 40, [""] * 40, []], ids=["odd", "many", "signs", "blank", "none"]
)
@pytest.mark.parametrize("items", [1, 2, 60])
def test_odd_texts_are_examined_without_an_exception(needs, items):
    rows = [(f"²{n}", {"title": ODD[n % len(ODD)], "{category}": None}) for n in range(items)]
    members = [[f"{'9' * 5000}²{n}", text] for n, text in enumerate(needs)]
    grades = {need: {rows[n % items][0]: 1 + n % 3} for n, (need, _) in enumerate(members)}
    complaints(Task(Data(rows, {"train": members[::2], "validation": [], "test": members[1::2]}, grades)))


@pytest.mark.parametrize("options", [{}, {"seed": 1, "dialect": "b", **PRIVATE}, {"seed": 2, **HARD}], ids=str)
def test_a_sound_shop_is_not_blamed(options):
    assert complaints(ShopTask(**({"items": 400, "train": 120, "validation": 40, "test": 40} | options))) == []


def test_the_toy_task_is_not_blamed():
    assert complaints(ToyTask()) == []


def test_a_need_without_a_key_stops_no_check():
    data = shop().spoiled(lambda data, rng: data.grades.pop(data.needs[0][0]))
    assert [message.split(" (")[0] for message in complaints(Task(data))] == ["1 of 120 needs have no answer key"]


def test_one_item_for_all_needs_is_called_that_and_not_shifted_or_unrelated():
    def spoil(data, rng):
        data.grades = {need: {data.items[0][0]: 1} for need in data.grades}

    (message,) = complaints(Task(shop().spoiled(spoil)))
    assert re.findall(r"(?:^|; )([a-z ]+): ", message) == ["one item", "popular items"]


def test_keywords_are_not_blamed():
    assert complaints(Task(keywords())) == []


def test_needs_that_differ_in_a_digit_or_a_sign_are_no_typing_errors():
    data = shop().spoiled(lambda data, rng: None)
    for text in ("静かな台所で使う軽い{}", "model 310{} charger"):
        for split, signs in (("train", "鍋皿机椅傘鞄靴時1234567"), ("test", "帽額棚箱筆890")):
            for need, sign in zip(data.splits[split], signs, strict=False):
                need[1] = text.format(sign)
        assert "edited needs" not in found("splits", Task(data)).message


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 9))
@pytest.mark.parametrize("options", [{}, HARD, PRIVATE | {"dialect": "a"}], ids=["shop", "hard", "private"])
@pytest.mark.parametrize("items", [500, 5000])
def test_shops_of_any_seed_and_size_are_not_blamed(items, options, seed):
    size = {"train": items // 5, "validation": items // 20, "test": items // 10}
    assert complaints(ShopTask(items=items, seed=seed, **size, **options)) == []


@pytest.mark.slow
def test_what_is_found_in_real_data_is_true_and_no_error():
    of_icecat = complaints(FilesTask(path=real("chorus_icecat"), without_positive="exclude"))
    assert [message.split(": ")[0] for message in of_icecat] == ["markup", "small split"]
    assert "465 of 18685 texts of items hold HTML" in of_icecat[0]
    assert "test has 7 needs beside 96" in of_icecat[1]
    of_movies = complaints(FilesTask(path=real("msrd_movies")))
    assert len(of_movies) == 1 and of_movies[0].startswith("248 of 1694 needs of validation have nearly the same words")
    assert complaints(baskets()) == []


def baskets():
    """A task of online_retail: the titles of a basket, to find what is new in the next one."""
    folder = real("online_retail")
    with gzip.open(f"{folder}/items.jsonl.gz", "rt") as file:
        items = [json.loads(line) for line in file]
    bought = {}
    with gzip.open(f"{folder}/interactions.tsv.gz", "rt") as file:
        for event in csv.DictReader(file, delimiter="\t"):
            bought.setdefault(event["user"], {}).setdefault(event["timestamp"], []).append(event["item"])
    title, needs, grades = {item["id"]: item["title"] for item in items}, [], {}
    for user, by_time in bought.items():
        *before, last = [by_time[time] for time in sorted(by_time)]
        if new := set(last) - {item for basket in before for item in basket}:
            if before:
                needs.append(Need(user, " ".join(title[item] for item in before[-1][:20])))
                grades[user] = dict.fromkeys(sorted(new), 1)
    splits = hash_split(needs, {"train": 0.8, "validation": 0.1, "test": 0.1}, 0)
    rows = [(item["id"], {"title": item["title"]}) for item in items]
    return Task(Data(rows, {split: [[n.id, n.text] for n in some] for split, some in splits.items()}, grades))


# --- the command and the page


def test_the_command_names_a_fault_of_a_folder(tmp_path, capsys):
    data = keywords().spoiled(FAULTS["judgements_are_those_of_the_next_item"][3])
    (tmp_path / "corpus.jsonl").write_text(jsonl([{"_id": item, **fields} for item, fields in data.items]))
    (tmp_path / "queries.jsonl").write_text(jsonl([{"_id": need, "text": text} for need, text in data.needs]))
    rows = [f"{need}\t{item}\t{grade}" for need, key in data.grades.items() for item, grade in key.items()]
    (tmp_path / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    assert run(["doctor", "your_data", f"task.path={tmp_path}", "task.text_fields=[title, description]"]) == 3
    assert (
        "\nerror    judgements     shifted items: in all needs, the items 1 line above fit" in capsys.readouterr().out
    )


def test_the_page_lists_every_fault_of_data_with_what_to_do():
    named = re.findall(r"^\| (\w+): `([a-z ]+)` \|", read("docs/doctor.md"), re.MULTILINE)
    assert sorted(set(named)) == sorted(named) == sorted({(check, name) for check, name, *_ in FAULTS.values()})
