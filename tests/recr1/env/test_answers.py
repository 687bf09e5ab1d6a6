"""A step with answers in text: nothing is searched, nothing is counted as lost."""

from __future__ import annotations

import pytest

from recr1.answers import TextAnswer
from recr1.env import Environment, answer_metrics, chat_with, metrics, recorded, written
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.base import Answer, Qrels
from rewards.guards.form import LengthReward
from rewards.measures.reward import MeasureReward


class Counted(BM25):
    searches = 0

    def search(self, queries, k):
        self.searches += 1
        return super().search(queries, k)


def step_of(*completions):
    task = ToyTask()
    needs = task.needs("train")[: len(completions)]
    task.qrels = {**task.qrels, **{need.id: Qrels(dict(task.qrels[need.id]), gold="4") for need in needs}}
    rewards = [(MeasureReward(measure="RatingCloseness"), 1.0), (LengthReward(budget=1), 0.0)]
    env = Environment(task, Counted(task.catalog), rewards, k=3, answer_format=TextAnswer(scale=[1, 5]))
    chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(needs), completions, strict=True)]
    return env, env.step(needs, chats)


def test_an_answer_is_neither_searched_nor_a_search_without_hits():
    env, step = step_of("4", "it is 2", "6", "none")
    assert env.retriever.searches == 0
    assert (step.batch.hits.rows_QK == -1).all()
    assert step.outcomes == ["ok", "ok", "invalid", "invalid"]
    assert step.rewards.tolist() == [1.0, 0.5, 0.0, 0.0]
    numbers = metrics(step)
    assert (numbers["outcome/ok"], numbers["outcome/no_hits"]) == (0.5, 0)
    assert numbers["invalid/number outside of scale"] == numbers["invalid/no number"] == 0.25
    assert (numbers["answer/entropy"], numbers["answer/spread"], numbers["answer/different"]) == (1.0, 1.0, 1.0)


def test_a_collapse_to_one_answer_shows():
    assert answer_metrics(["4"] * 9) == {
        **{"answer/words": 1.0, "answer/different": 1 / 9, "answer/entropy": 0.0, "answer/spread": 0.0}
    }
    assert answer_metrics([]) == {} and "answer/spread" not in answer_metrics(["soft", "4"])


def test_the_text_is_what_is_recorded_and_shown():
    assert recorded(Answer("4")) == {"answer": "4"}
    assert written(Answer("4"), "I say 4.") == "4"


@pytest.mark.parametrize(
    ("completion", "meant"),
    [
        ("4/5", "more than one number"),
        ("3-4", "more than one number"),
        ("-1", "number outside of scale"),
        ("5.01", "number outside of scale"),
        ("12345678901234567890", "no number"),
        ("v4", "no number"),
        ("4.", "4"),
        ("", "empty answer"),
        ("4" + " good" * 300, "answer too long"),
    ],
)
def test_numbers_are_read_strictly(completion, meant):
    action = TextAnswer(scale=[1, 5]).parse(completion)
    assert meant in (getattr(action, "text", ""), getattr(action, "reason", ""))


def test_answers_are_written_as_they_are_read():
    form = TextAnswer(tagged=True)
    assert form.write_answer(" soft,\nwarm") == "<answer>soft, warm</answer>"
    with pytest.raises(ValueError, match="no answer in this format says '9': number outside of scale"):
        TextAnswer(scale=[1, 5]).write_answer("9")
