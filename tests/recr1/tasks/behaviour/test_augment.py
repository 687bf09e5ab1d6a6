"""Rewriting items: who judges a text, that true words are paid and wrong ones cost, and all texts measured together."""

import json

import numpy as np
import pytest

from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.evaluate.reindex import reindexed, rewrites_of
from recr1.evaluate.report import tables
from recr1.tasks.behaviour.augment import AugmentTask, with_words
from retrievers.behaviour.content import Content
from rewards.base import Qrels
from rewards.rewriting import LiftReward

SOURCE = {
    **{"type": "people", "users": 800, "items": 400, "split": "users"},
    "shares": {"validation": 0.25, "test": 0.25},
}
EVERYTHING = ("train", "validation", "test")


@pytest.fixture(scope="module")
def task():
    return AugmentTask(source=SOURCE, truth="features", neighbours=2)


@pytest.fixture(scope="module")
def env(task):
    recommender = Content(task.catalog, encoder={"type": "hashing", "dim": 1024}, field="title", store=None)
    return Environment(task, recommender, [(LiftReward(), 1.0)], k=10)


class Texts:
    """A policy that answers each prompt with a text that is known."""

    def __init__(self, env, text_of):
        needs = [need for split in EVERYTHING for need in env.task.needs(split)]
        self._texts = {
            prompt[-1]["content"]: text_of(need) for prompt, need in zip(env.prompts(needs), needs, strict=True)
        }

    def generate(self, chats, n):
        return [[self._texts[chat[-1]["content"]]] for chat in chats]


def paid(env, needs, texts):
    chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(needs), texts, strict=True)]
    return env.step(needs, chats).rewards


def test_people_and_items_of_the_splits_have_nothing_in_common(task):
    learned = {}
    for event in task.catalog.interactions:
        learned.setdefault(int(event["user"]), set()).add(int(event["row"]))
    learned = {frozenset(rows) for rows in learned.values()}
    held_out = {split: {frozenset(past.history + past.targets) for past in task._source.pasts(split)}
                for split in EVERYTHING[1:]}  # fmt: skip
    for split in EVERYTHING:
        judges = learned if split == "train" else held_out[split]
        for need in task.needs(split):
            key = task.qrels[need.id]
            row = task.catalog.row(need.id)
            assert all(row in history for history in key.holders)
            assert not any(row in history for history in key.others)
            assert {frozenset(history) for history in (*key.holders, *key.others)} <= judges
    assert not held_out["validation"] & held_out["test"] and not learned & held_out["test"]


def test_true_attributes_are_paid_and_shuffled_ones_cost(task, env):
    """Before any policy: true words added to the title, true words alone, and those of another item instead."""
    features, nouns = task.catalog.fields["features"], task.catalog.fields["category"]
    for split, count in (("train", 60), ("test", 60)):
        needs = [need for need in task.needs(split) if task.qrels[need.id].gold not in need.text][:count]
        rows = [task.catalog.row(need.id) for need in needs]
        shuffled = rows[7:] + rows[:7]
        assert paid(env, needs, [task.qrels[need.id].gold for need in needs]).mean() > 0.01
        assert paid(env, needs, [" ".join([*features[row], nouns[row]]) for row in rows]).mean() > 0.05
        mixed = [" ".join([*features[other], nouns[row]]) for row, other in zip(rows, shuffled, strict=True)]
        assert paid(env, needs, mixed).mean() < -0.02
        assert not paid(env, needs, [task.catalog.title(row) for row in rows]).any()


def test_needs_show_the_titles_of_what_the_same_people_took(task):
    """By cosine, counted here item by item."""
    took = {}
    for event in task.catalog.interactions:
        took.setdefault(int(event["row"]), set()).add(int(event["user"]))
    for need in task.needs("train")[:20]:
        own, *shown = need.text.split("\n")
        row = task.catalog.row(need.id)
        cosines = {other: len(users & took[row]) / np.sqrt(len(users)) for other, users in took.items() if other != row}
        best = sorted(cosines.values(), reverse=True)[:2]
        titles = {task.catalog.title(other): cosine for other, cosine in cosines.items()}
        assert own == task.catalog.title(row)
        assert [titles[title] for title in shown] == pytest.approx(best)


def test_people_who_judge_in_training_too_are_refused():
    with pytest.raises(UserError, match="users of validation also judge in training: give the source split: users"):
        AugmentTask(source={"type": "people", "users": 40, "items": 100})
    with pytest.raises(UserError, match="no field 'colour'"):
        AugmentTask(source={**SOURCE, "users": 40, "items": 100}, truth="colour")


def test_only_words_that_a_text_lacks_are_added():
    assert with_words("Red oak table", ["red", "small", "oak"]) == "Red oak table small"


def test_all_rewrites_together_are_measured_on_held_out_people(task, env):
    """Gold texts as the policy: better than raw ones, and worse when each is on another item."""
    gold = Texts(env, lambda need: task.qrels[need.id].gold)
    evaluation = Evaluator(env, "test", ["Standing"])(gold, whole=True)
    assert len(evaluation.rewrites) == sum(len(task.needs(split)) for split in EVERYTHING)
    assert (evaluation.values["Standing"][:, 0] <= evaluation.references.ceiling["Standing"] + 1e-6).all()
    systems = reindexed([evaluation])["systems"]
    means = {name: one["all"]["mean"] for name, one in systems.items()}
    assert means["shuffled rewrites"] < means["raw texts"] < means["policy"] == means["gold texts"]
    histories, keys = task.people("test")
    texts = [evaluation.rewrites.get(row, title) for row, title in enumerate(task.catalog.fields["title"])]
    changed = type(task.catalog)(task.catalog.ids, texts)
    fresh = Content(changed, encoder={"type": "hashing", "dim": 1024}, store=None).search(histories, 10)
    gains = [
        sum(1 / np.log2(place + 2) for place, row in enumerate(rows) if row in key)
        / sum(1 / np.log2(place + 2) for place in range(min(10, len(key))))
        for rows, key in zip(fresh.rows_QK.tolist(), keys, strict=True)
    ]
    assert np.mean(gains) == pytest.approx(means["policy"], abs=1e-6)
    assert "test: the whole catalog with new texts" in [table.title for table in tables([evaluation])]


def test_where_no_person_is_asked_for_an_item_of_the_split_all_items_are_measured(task, env, monkeypatch):
    of_test = {task.catalog.row(need.id) for need in task.needs("test")}
    histories, keys = task.people("test")
    other = [Qrels({row: 1 for row in key if row not in of_test}) for key in keys]
    monkeypatch.setattr(AugmentTask, "people", lambda self, split: (histories, other))
    evaluation = Evaluator(env, "test", ["Standing"])(Texts(env, lambda need: "red lamp"), whole=True)
    held = reindexed([evaluation])
    assert held["people"] == {"all": len(keys), "held_out": 0}
    assert {tuple(one) for one in held["systems"].values()} == {("all",)}
    assert tables([evaluation])[-1].header == ["", "nDCG@10, all items"]


def test_an_item_without_a_valid_answer_keeps_its_text(task, env):
    silent = Texts(env, lambda need: "" if need.id in {one.id for one in task.needs("test")} else "red lamp")
    rewrites = rewrites_of(env, silent)
    assert not {task.catalog.row(need.id) for need in task.needs("test")} & rewrites.keys()
    assert set(rewrites.values()) == {"red lamp"}


def test_items_without_a_word_are_counted(tmp_path):
    items = [
        {"id": f"i{place}", "title": title} for place, title in enumerate(["red mug", "!!", "blue cup", "pink jug"])
    ]
    events = [
        {"user": f"u{user}", "item": f"i{(user + step) % 4}", "time": step} for user in range(40) for step in range(3)
    ]
    for name, rows in (("items", items), ("interactions", events)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"type": "interactions", "path": str(tmp_path), "split": "users"}
    task = AugmentTask(source=source, shares={"train": 1.0})
    assert [need.id for need in task.needs("train")] == ["i0", "i2", "i3"]
    assert task.counts["items left out, no word in their title"] == 1
