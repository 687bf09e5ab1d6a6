from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from recr1.env import Environment, chat_with, metrics
from recr1.errors import UserError
from recr1.formats import REASONS, Plain, Tag
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import FOUND_NOTHING, RecR1Reward
from tests.recr1.baselines.world import Better, Lossy, Overlap, World
from tests.recr1.env.test_env import make, run


@pytest.fixture
def world():
    return World()


def test_signs_of_hacking_are_counted_on_the_queries_of_a_step(world):
    completions = ["[red mug red mug]", '[+tea "zelt"]', "[mug-blue]", "junk"]
    logged = metrics(run(make(world), ["n1", "n2", "n3", "n3"], completions))
    assert logged["query/repeated_pairs"] == pytest.approx(1 / 5)  # (red mug) twice, of 3 + 1 + 1 pairs
    assert logged["query/from_need"] == pytest.approx(3 / 8)  # red twice, tea once
    assert logged["query/operators"] == pytest.approx(2 / 3)
    assert logged["query/known"] == pytest.approx(7 / 8)  # zelt
    assert logged["query/copied"] == pytest.approx(1 / 3)  # the id mug-blue


def test_signs_of_hacking_are_nought_without_a_query(world):
    logged = metrics(run(make(world), ["n1"], ["junk"]))
    assert [logged[f"query/{name}"] for name in ("repeated_pairs", "from_need", "operators", "known", "copied")] == [
        0
    ] * 5


def test_rec_r1_pays_what_the_paper_pays_for_its_answers():
    answers = {
        '<think>pool</think><answer>{"query": "waterproof speaker"}</answer>': 0.1 + 1.0,
        '<think>pool</think><answer>{"query": "zzz"}</answer>': 0.0,
        '<think>pool</think><answer>{"query": ""}</answer>': 0.0,
        '<think>pool</think><answer>{"query": 7}</answer>': 0.0,
        '<think>pool</think><answer>{"text": "speaker"}</answer>': -2.0,
        '<think>pool</think><answer>speaker</answer>': -2.0,
        '<answer>{"query": "waterproof speaker"}</answer>': -2.0,
        '<think>pool</think><answer>{"query": "a"}</answer><answer>{"query": "waterproof speaker"}</answer>': -2.0,
    }  # fmt: skip
    task = ToyTask(format={"type": "json_answer"})
    env = Environment(task, BM25(task.catalog), [(RecR1Reward(measure="Success@10"), 1.0)], k=10)
    need = env.need("n17")  # music at the pool
    step = env.step([need] * len(answers), [chat_with(env.format.render(need), text) for text in answers])
    assert step.rewards.tolist() == pytest.approx([*answers.values()])
    assert FOUND_NOTHING < REASONS  # what formats say


class Farther:
    """1 where the other retriever finds the item that the first one does."""

    name, elsewhere = "farther", {"other": {"type": "tests.recr1.baselines.world:Overlap"}}

    def __call__(self, batch):
        hits, _ = batch.elsewhere["other"]
        return (hits.rows_QK[:, 0] == batch.hits.rows_QK[:, 0]).astype(np.float32)


def test_another_retriever_is_built_on_the_catalog_and_searched_once_a_step_over_the_same_queries(world):
    env = make(world, rewards=[(Farther(), 1.0)])
    step = run(env, ["n1", "n1", "n2"], ["[tea]", "[mug]", "[tea]"])
    assert env.elsewhere["other"].calls == env.retriever.calls == [["tea", "mug"]]
    assert step.parts["farther"].tolist() == [1, 1, 1]


def test_another_retriever_searches_the_raw_needs_too_where_a_reward_asks(world):
    env = make(world, rewards=[(Farther(), 1.0), (Better(), 1.0)])
    batch = run(env, ["n2"], ["[mug]"]).batch
    assert env.elsewhere["other"].calls == [["mug", "green tea"]]
    assert batch.elsewhere["other"].raw_hits.rows_QK[0, 0] == world.catalog.row("tea-green")


def test_what_is_built_once_is_shared_by_environments_with_another_format_or_retriever(world):
    env = make(world, rewards=[(Farther(), 1.0)])
    assert env.with_format(Tag()).elsewhere["other"] is env.elsewhere["other"]
    assert env.with_retriever(Overlap(world.catalog)).elsewhere["other"] is env.elsewhere["other"]


@pytest.mark.parametrize("which", ["own", "other"])
def test_no_answer_of_one_of_several_retrievers_is_no_reward(world, which):
    lossy, sound = Lossy(world.catalog, {"tea": 9}), Overlap(world.catalog)
    own, other = (lossy, sound) if which == "own" else (sound, lossy)
    env = Environment(world, own, [(Farther(), 1.0)], 3, elsewhere={"other": other})
    step = run(env, ["n1", "n2", "n3"], ["[red mug]", "[tea]", "junk"])
    assert step.rewards.tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert step.outcomes == ["ok", "retriever_error", "invalid"]
    assert list(step.faults) == [1] and len(step.batch.elsewhere["other"].hits.rows_QK) == 3


def test_another_retriever_that_is_not_there_is_named_with_its_reward(world):
    class Nowhere(Farther):
        elsewhere: ClassVar = {"other": {"type": "bm52"}}

    with pytest.raises(UserError, match=r"retrievers of reward 'farther'.*no 'bm52' here"):
        make(world, rewards=[(Nowhere(), 1.0)])


def test_a_prompt_offers_what_every_retriever_understands(world):
    class Knowing(Overlap):
        capabilities = frozenset({"boolean", "phrases"})

    class KnowsLess(Overlap):
        capabilities = frozenset({"phrases"})

    world.format = Plain()
    env = Environment(
        world, Knowing(world.catalog), [(Farther(), 1.0)], 3, elsewhere={"other": KnowsLess(world.catalog)}
    )
    prompt = str(env.prompts(world.needs("test"))[0])
    assert "quotation marks" in prompt and "AND" not in prompt


class Counted:
    """The number of training steps that are done; -1 in evaluation."""

    name = "counted"

    def __call__(self, batch):
        return np.full(len(batch), -1 if batch.training_step is None else batch.training_step, np.float32)


def test_rewards_are_told_the_step_of_training_and_none_in_evaluation(world):
    env = make(world, rewards=[(Counted(), 1.0)])
    needs = [env.need("n1")]
    chats = [chat_with(env.prompts(needs)[0], "[mug]")]
    assert env.step(needs, chats, training_step=7).parts["counted"].tolist() == [7]
    assert env.step(needs, chats).parts["counted"].tolist() == [-1]
