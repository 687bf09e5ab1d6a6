"""Pairs of needs that are answered in text: guesses, of which the rewards keep the best."""

from __future__ import annotations

import pytest

from recr1.config.build import build
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.answered import AnsweredPairs
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import MeasureReward

SOURCE = {"type": "people", "users": 40, "items": 300, "purchases": 6}


@pytest.fixture(scope="module")
def env():
    tasks = {"rating": {"type": "rating", "source": SOURCE}, "title": {"type": "review_title", "source": SOURCE}}
    measures = {"rating": "RatingCloseness", "title": "RougeL"}
    task = build("task", {"type": "mixed", "tasks": tasks, "measures": measures})
    return Environment(task, BM25(task.catalog), [(MeasureReward(measure="Own@1"), 1.0)], k=1)


def made(env, folder, **options):
    run = Run.create(folder, {"seed": 3}, {})
    return AnsweredPairs(**options).pairs(env, None, run, Ranks(), FailureBudget(0.0)), run.facts()["pairs"]


def test_each_pair_is_the_best_of_its_guesses_and_more_guesses_are_better(env, tmp_path):
    one, facts = made(env, tmp_path / "one", per_need=1, at_least=0.0)
    eight, best = made(env, tmp_path / "eight", per_need=8, at_least=0.0)
    assert [pair.need for pair in one] == [pair.need for pair in eight] == list(env.task.needs("train"))
    chats = [
        chat_with(*of) for of in zip(env.prompts([p.need for p in eight]), [p.completion for p in eight], strict=True)
    ]
    step = env.step([pair.need for pair in eight], chats)
    assert set(step.outcomes) == {"ok"} and step.rewards.mean() == pytest.approx(best["reward_of_kept"])
    assert best["reward_of_kept"] > best["reward_of_guesses"] + 0.1
    assert facts["reward_of_kept"] == pytest.approx(facts["reward_of_guesses"])
    assert all(pair.completion in "12345" for pair in eight if pair.need.family == "rating")


def test_what_earns_too_little_is_left_out_and_nothing_at_all_is_said(env, tmp_path):
    _, facts = made(env, tmp_path / "some", at_least=0.9)
    assert 0 < facts["kept"] < facts["needs"] and facts["reward_of_kept"] >= 0.9
    with pytest.raises(UserError, match=r"none of \d+ answers earns 2: lower at_least"):
        made(env, tmp_path / "none", at_least=2.0)


def test_a_task_of_searches_is_refused(tmp_path):
    toy = build("task", {"type": "toy"})
    with pytest.raises(UserError, match="no training need of this task is answered in text"):
        made(Environment(toy, BM25(toy.catalog), [], k=1), tmp_path / "toy")
