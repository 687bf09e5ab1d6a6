"""What a grade is worth: letters and numbers of a task's `gains`, and the measure that reads them."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.config import yaml12
from recr1.config.build import check_part
from recr1.config.shipped import find_recipe
from recr1.env import Environment
from recr1.errors import DataError, UserError
from recr1.evaluate import Evaluator
from recr1.recipe import load_recipe
from recr1.tasks.files import FilesTask
from recr1.tasks.grades import grade_scale
from rewards.measures import parse_measure
from rewards.measures.reward import MeasureReward
from tests.recr1.baselines.world import Overlap, World
from tests.recr1.tasks.folders import QRELS, QUERIES, jsonl, tsv, write_folder

ESCI = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0}


@pytest.fixture
def letters(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "qrels.tsv").write_text(tsv([(need, item, "CSE"[grade - 1]) for need, item, grade in QRELS]))
    return tmp_path


def test_letters_become_grades_in_the_order_of_their_gains(letters):
    task = FilesTask(path=str(letters), gains=ESCI)
    assert {grade for key in task.qrels.values() for grade in key.values()} == {1, 2, 3}
    row = task.catalog.row("pot")
    assert dict(task.qrels["q2"]) == {row: 3} and task.qrels["q2"].gains == {3: 1.0, 2: 0.1, 1: 0.01}


def test_the_measure_reads_the_gains_that_the_recipe_says(letters):
    (letters / "qrels.tsv").write_text(
        tsv([(f"q{n}", *judged) for n in range(60) for judged in (("mug", "E"), ("pan", "C"))])
    )
    task = FilesTask(path=str(letters), gains=ESCI)
    rows = np.array([[task.catalog.row("pan"), task.catalog.row("mug")]], np.int32)
    found = parse_measure("nDCG(gain=task)@2")(rows, [task.qrels["q0"]])
    assert found[0] == pytest.approx((0.01 + 0.6309298) / (1 + 0.01 * 0.6309298), abs=1e-6)


def test_numbers_stay_the_grades_that_they_are(tmp_path):
    task = FilesTask(path=str(write_folder(tmp_path)), gains={"3": 1.0, "2": 0.1, "1": 0.01, "0": 0})
    plain = FilesTask(path=str(tmp_path))
    assert task.qrels == plain.qrels
    assert task.qrels["q0"].gains == {3: 1.0, 2: 0.1, 1: 0.01} and plain.qrels["q0"].gains is None


def test_json_numbers_are_grades_as_well(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "qrels.tsv").unlink()
    rows = [{"query-id": need, "corpus-id": item, "score": grade} for need, item, grade in QRELS]
    (tmp_path / "qrels.jsonl").write_text(jsonl(rows))
    task = FilesTask(path=str(tmp_path), qrels="qrels.jsonl", gains={"3": 1.0, "2": 0.5, "1": 0.1})
    assert task.qrels["q1"] == {task.catalog.row("pan"): 2}


def test_a_recipe_and_an_override_may_write_grades_as_numbers(tmp_path):
    recipe = load_recipe(find_recipe("your_data"), ["task.path=x", "task.gains={3: 1.0, 2: 0.1}", "task.gains.1=0.01"])
    assert recipe.task.options["gains"] == {"3": 1.0, "2": 0.1, "1": 0.01}
    (tmp_path / "again.yaml").write_text(yaml12.write(recipe.to_dict()))
    assert load_recipe(tmp_path / "again.yaml").to_dict() == recipe.to_dict()


def test_equal_gains_are_one_grade():
    grade_of, worth = grade_scale({"exact": 1.0, "bought": 1.0, "seen": 0.2, "no": 0})
    assert grade_of == {"exact": 2, "bought": 2, "seen": 1, "no": 0} and worth == {2: 1.0, 1: 0.2}


def test_a_gain_for_the_word_none_holds_for_that_word_alone(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "queries.jsonl").write_text(jsonl(QUERIES[:1]))
    (tmp_path / "qrels.tsv").write_text(tsv([("q0", "mug", "E"), ("q0", "pan", "None")]))
    options = {"path": str(tmp_path), "gains": {"E": 1.0, "None": 0}, "splits": {"test": 1.0}}
    assert FilesTask(**options).qrels["q0"] == {0: 1, 1: 0}
    (tmp_path / "qrels.tsv").write_text(tsv([("q0", "mug", "E"), ("q0", "pan", "S")]))
    with pytest.raises(DataError, match=r"qrels.tsv:3: grade 'S' has no gain \(known: E, None\)"):
        FilesTask(**options)


def test_a_grade_without_a_gain_is_refused_with_its_line(letters):
    with pytest.raises(DataError, match=r"qrels.tsv:4: grade 'E' has no gain \(known: S, C, I\): add it"):
        FilesTask(path=str(letters), gains={name: gain for name, gain in ESCI.items() if name != "E"})


@pytest.mark.parametrize(
    ("gains", "problem"),
    [
        ({"E": 1.0, "2": 0.1}, "gains: '2' is a number and 'E' is not"),
        ({"E": -1.0}, "gains.E: must be a number >= 0, got -1.0"),
        ({"E": float("nan")}, "gains.E: must be a number >= 0, got nan"),
        ({"E": float("inf")}, "gains.E: must be a number >= 0, got inf"),
        ({"0": 0.5, "1": 1.0}, "gains: the gain of 0 must be 0, got 0.5: only a grade above 0"),
        ({"1": 1.0, "+1": 0.5}, "gains: a grade number is listed twice"),
        ({"E": 0.0}, "gains: all gains are 0"),
        ({}, "gains: all gains are 0"),
    ],
)
def test_gains_that_cannot_be_meant_are_refused_before_a_file_is_opened(gains, problem):
    with pytest.raises(UserError, match=problem):
        FilesTask(path="nowhere", gains=gains)


def test_check_says_it_under_the_option():
    found = check_part("task", {"type": "files", "path": "x", "gains": {"E": "much"}}, "task")
    assert [problem.path for problem in found] == ["task.gains.E"]
    found = check_part("task", {"type": "files", "path": "x", "gains": {"E": -1}}, "task")
    assert [problem.path for problem in found] == ["task.gains.E"]


def test_a_task_without_gains_is_refused_by_what_reads_them_before_anything_is_searched():
    world, measure = World(), "nDCG(gain=task)@3"
    retriever = Overlap(world.catalog)
    with pytest.raises(
        UserError, match=r"reward 'nDCG\(gain=task\)@3' does not fit this task: .* what a grade is worth"
    ):
        Environment(world, retriever, [(MeasureReward(measure=measure), 1.0)], 4)
    with pytest.raises(UserError, match="what a grade is worth"):
        Evaluator(Environment(world, retriever, [], 4), "train", [measure])
    with pytest.raises(UserError, match=r"field 'category', which does not exist \(fields: title\)"):
        Evaluator(Environment(world, retriever, [], 4), "train", ["alpha_nDCG@3"])
