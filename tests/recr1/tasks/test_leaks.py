"""Splits that share needs are refused, or accepted by an option; answers in prompts are found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from recr1.cli.main import run
from recr1.errors import UserError
from recr1.formats import Plain
from recr1.tasks.splits import copied, find_overlaps, refuse_leaks
from retrievers import Catalog
from rewards.base import Need, Qrels
from tests.recr1.cli.test_cli_train import TOY

PLACES = ["kitchen", "garden", "garage", "attic", "cellar"]


@dataclass
class Lamps:
    """Lamps by place; each split wants some of them, in its own words."""

    held: list[str] = field(default_factory=list)

    def __post_init__(self):
        texts = [f"lamp for the {place} number {number}" for place in PLACES for number in range(10)]
        self.catalog = Catalog([f"lamp-{row:04}" for row in range(len(texts))], texts)
        self.format, self.counts = Plain(prompt="{need}"), {"lamps that do not shine": 2}
        self.splits = {
            "train": [f"something bright to hang in {place} {number}" for place in PLACES for number in range(4)],
            "validation": self.held or [f"what lights my {place}" for place in PLACES],
            "test": [f"dark {place} needs help" for place in PLACES],
        }
        self.qrels = {
            need.id: Qrels({row % 50: 1}) for split in self.splits for row, need in enumerate(self.needs(split))
        }

    def needs(self, split):
        return [Need(f"{split}{row}", text) for row, text in enumerate(self.splits[split])]


def test_splits_that_are_apart_leak_nothing_and_shared_targets_are_counted():
    overlaps = {overlap.pair: overlap for overlap in find_overlaps(Lamps())}
    assert list(overlaps) == ["train and validation", "train and test", "validation and test"]
    assert not any(overlap.leaks() + overlap.remarks() for overlap in overlaps.values())
    expected = {"equal_ids": 0, "equal_needs": 0, "near_equal_needs": 0, "targets": 5, "shared_targets": 5}
    assert overlaps["train and test"].counts() == expected
    assert refuse_leaks(list(overlaps.values()), accepted=False)["accepted"] == []


def test_a_need_of_training_in_validation_is_refused_whatever_its_case():
    task = Lamps(["Something BRIGHT to hang, in attic 3!", "another one"])
    message = r"1 of 2 needs of validation appear with the same text in train .*\n.*evaluate.accept_leaks=true"
    with pytest.raises(UserError, match=message):
        refuse_leaks(find_overlaps(task), accepted=False)


def test_near_equal_needs_are_refused_from_a_fifth_of_the_split_on_and_below_are_worth_a_word():
    others = [f"thing {row} of its own kind {row}" for row in range(9)]
    few, many = (
        Lamps(["something bright to hang in attic 3 please", *others]),
        Lamps(["something bright to hang in attic 3 please", *others[:4]]),
    )
    (overlap, *_), (leak, *_) = find_overlaps(few), find_overlaps(many)
    assert (overlap.leaks(), len(overlap.remarks())) == ([], 1)
    assert "1 of 5 needs of validation have nearly the same words" in leak.leaks()[0]


def test_an_accepted_leak_is_recorded_in_words():
    task = Lamps(["something bright to hang in attic 3"])
    record = refuse_leaks(find_overlaps(task), accepted=True)
    assert "1 of 1 needs of validation appear with the same text" in record["accepted"][0]
    assert record["pairs"]["train and validation"]["equal_needs"] == 1


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """A recipe whose task has a need of training in its validation."""
    (tmp_path / "leaky_task.py").write_text(
        "from tests.recr1.tasks.test_leaks import Lamps\n\n\nclass Task(Lamps):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__(['something bright to hang in attic 3'])\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "leaky.yaml"
    recipe.write_text(TOY.replace('{type: toy, format: {type: plain, prompt: "{need}"}}', "{type: leaky_task:Task}"))
    return recipe


@pytest.mark.parametrize("command", [["check", "--data", "--trust"], ["train", "--out", "run"]])
def test_commands_refuse_a_leak_and_name_the_key_that_accepts_it(command, leaky, capsys, random_model, tmp_path):
    name, *flags = command
    assert run([name, str(leaky), f"policy.model={random_model}", *flags]) == 2
    said = capsys.readouterr().err
    assert "the splits share needs" in said
    assert "evaluate.accept_leaks=true" in said
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_says_accepted_leaks_and_counts_at_its_start_and_in_its_card(leaky, capsys, random_model, tmp_path):
    options = ["evaluate.accept_leaks=true", "trainer.steps=1", f"policy.model={random_model}"]
    assert run(["train", str(leaky), *options, "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "the splits are not quite disjoint: 1 of 1 needs of validation appear with the same text" in said
    assert "data: lamps that do not shine: 2\n" in said
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "1 of 1 needs of validation" in card["splits"]["accepted"][0]
    assert card["data"] == {"lamps that do not shine": 2}


def test_answers_that_stand_whole_in_a_text_are_seen():
    texts = ["I want LAMP-0003, please", "a lamp 0003x", "a tent", "the dark knight rises again", "12 of them"]
    answers = [["lamp-0003"], ["lamp-0003"], ["tents"], ["The Dark Knight!"], ["12"]]
    assert copied(texts, answers) == [0, 3]
