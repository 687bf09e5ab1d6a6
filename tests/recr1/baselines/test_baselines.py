"""The baselines as policies: what each writes, what it declares, and that nobody else gets what they get."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.baselines.access import NeedsAccess, prepare
from recr1.baselines.best_of import BestOf, votes
from recr1.baselines.ceilings import BestItem, TermOracle
from recr1.baselines.feedback import RM3
from recr1.baselines.prompting import FewShot, Prompt, PromptSearch, Shot, best_shots
from recr1.baselines.without_model import Echo, Keywords
from recr1.config.build import find_class
from recr1.env import Environment
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.policies import BUILTIN
from recr1.tasks.shop.task import ShopTask
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import MeasureReward
from tests.recr1.baselines.world import Overlap, World

TOY = ToyTask()
SPEAKER = {"type": "tests.recr1.policies.speaker:Speaker", "lines": ["[red pan]", "[tea]", "no brackets"]}


def world(rewards=True):
    task = World()
    return Environment(task, Overlap(task.catalog), [(MeasureReward(measure="nDCG@3"), 1.0)] if rewards else [], k=3)


def toy():
    return Environment(TOY, BM25(TOY.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)


def mean(policy, env, split="test", measure="nDCG@10"):
    return Evaluator(env, split, [measure])(policy).per_need(measure).mean()


def test_keywords_keep_the_telling_words_in_the_order_of_the_need():
    chats = [[{"role": "user", "content": "is there a Waterproof lamp for the garden?"}]]
    assert Keywords(top=3).generate(chats, 2) == [["Waterproof lamp garden"] * 2]
    assert Keywords(top=1).generate(chats, 0)[0][0] in {"Waterproof", "lamp", "garden"}


def test_a_need_without_keywords_is_searched_as_it_is():
    assert Keywords().generate([[{"role": "user", "content": "is it of the"}]], 0) == [["is it of the"]]


def test_feedback_adds_the_words_of_what_the_need_finds_by_their_weight():
    env, policy = world(), RM3(items=1, terms=2, weight=0.5, words=8)
    prepare(policy, env)
    # "tea" finds three texts; the first, of the lowest row, is "green tea loose leaf": each word has a quarter of it,
    # and the two kept are the first of equals, green and tea. Half of 8 words is tea, the rest is shared by the two.
    assert policy.generate([[{"role": "user", "content": "tea"}]], 0) == [["tea tea tea tea tea tea green green"]]


def test_feedback_that_finds_nothing_searches_the_need():
    env, policy = world(), RM3()
    prepare(policy, env)
    assert policy.generate([[{"role": "user", "content": "zzz!"}]], 0) == [["zzz!"]]


def test_feedback_leaves_common_words_out():
    task = ShopTask(items=300, train=5, validation=5, test=5)
    env, policy = Environment(task, BM25(task.catalog), [], k=10), RM3()
    prepare(policy, env)
    assert "the" in policy._common
    added = policy.generate([[{"role": "user", "content": "mug"}]], 0)[0][0].split()
    assert "mug" in added and not policy._common & set(added) - {"mug"}


def test_the_best_item_is_searched_by_its_text():
    env, policy = world(), BestItem(words=1)
    prepare(policy, env)
    chats = [policy.format.render(need) for need in env.task.needs("train")]
    assert policy.generate(chats, 0) == [["red"], ["green"], ["tea"]]


def test_the_oracle_adds_the_word_that_helps_most_until_none_does():
    env, policy = world(), TermOracle(measure="nDCG@3")
    prepare(policy, env)
    chats = [policy.format.render(need) for need in env.task.needs("train")]
    # n1: "red" finds mug (grade 3) then pan; "mug" both mugs, 3 then 1: perfect at once. n2: "green". n3: "pot".
    assert policy.generate(chats, 0) == [["mug"], ["green"], ["pot"]]


def test_the_oracle_goes_on_while_a_word_helps():
    env = world()
    env.task.qrels["n3"] = type(env.task.qrels["n3"])({5: 1})  # "tea pot blue": "tea" comes too late, "pot" suffices
    env.task.qrels["n2"] = type(env.task.qrels["n2"])({1: 1})  # "blue mug": each word alone finds another item first
    policy = TermOracle(measure="nDCG@1")
    env.retriever.sets[0] = {"mug", "red"}
    prepare(policy, env)
    queries = policy.generate([policy.format.render(need) for need in env.task.needs("train")[1:]], 0)
    assert queries == [["blue"], ["pot"]]


def test_bounds_are_above_the_floor_on_the_toy_task():
    floor, ceiling, oracle = (mean(policy, toy()) for policy in (Echo(), BestItem(), TermOracle()))
    assert floor < ceiling and floor < oracle


def test_the_oracle_refuses_a_measure_that_looks_deeper_than_k():
    with pytest.raises(UserError, match=r"policy 'term_oracle': measure: .*nDCG@10"):
        prepare(TermOracle(measure="nDCG@10"), world())


def test_best_of_n_chooses_what_is_paid_most():
    env, policy = world(), BestOf(policy=SPEAKER, n=3)
    prepare(policy, env)
    needs = [*env.task.needs("test"), env.task.needs("train")[1]]
    chats = [policy.render(need) for need in needs]
    assert policy.generate(chats, 0) == [["[red pan]"], ["[tea]"]]
    assert [len(texts) for texts in policy.generate(chats, 4)] == [4, 4]


def test_best_of_n_is_never_below_the_mean_of_its_samples():
    evaluator = Evaluator(world(), "train", ["nDCG@3"])
    sampled = evaluator(find_class("policy", SPEAKER["type"])(lines=SPEAKER["lines"]), samples=3)
    best = evaluator(BestOf(policy=SPEAKER, n=3))
    assert (best.per_need("nDCG@3") >= sampled.values["nDCG@3"].max(axis=1) - 1e-6).all()


def test_agreement_takes_the_ranking_that_holds_what_others_found():
    rows = np.array([[1, 2, -1], [2, 1, 3], [7, 8, 9], [-1, -1, -1]], np.int32)
    assert votes(rows) == pytest.approx([2, 5 / 3, 1, 0])


def test_agreement_reads_no_answers():
    assert BestOf(policy=SPEAKER, choose="agreement").sees == ("hits",)
    assert BestOf(policy=SPEAKER).sees == ("answers",)
    agreeing = {**SPEAKER, "lines": ["[pan]", "[tea]", "[green tea]"]}
    env, policy = world(rewards=False), BestOf(policy=agreeing, n=3, choose="agreement")
    prepare(policy, env)
    env.task.qrels.clear()
    assert policy.generate([policy.render(env.task.needs("test")[0])], 0) == [["[tea]"]]


def test_best_of_needs_rewards_and_a_policy_with_chances():
    with pytest.raises(UserError, match="chooses by rewards, and there are none"):
        prepare(BestOf(policy=SPEAKER), world(rewards=False))
    with pytest.raises(UserError, match="'echo' always answers a need the same way"):
        BestOf(policy={"type": "echo"})


def test_shots_are_the_best_paid_completions_of_training_needs():
    env = world()
    speaker = find_class("policy", SPEAKER["type"])(lines=SPEAKER["lines"])
    shots = best_shots(env, speaker, needs=3, samples=3, seed=0)
    # n1 is paid for "red pan" (finds the mug after the pan), n2 and n3 for "tea".
    assert {shot.completion for shot in shots} == {"[red pan]", "[tea]"}
    assert [shot.reward for shot in shots] == sorted((shot.reward for shot in shots), reverse=True)
    assert all(shot.prompt[-1]["content"] != "red thing to fry" for shot in shots)


def test_examples_stand_as_turns_before_the_need_and_instructions_in_the_system_message():
    chat = [{"role": "system", "content": "Write."}, {"role": "user", "content": "mug"}]
    shot = Shot([{"role": "system", "content": "Write."}, {"role": "user", "content": "pan"}], "red pan", 1.0)
    assert Prompt("Be short.", (shot,)).of(chat) == [
        {"role": "system", "content": "Write.\n\nBe short."},
        {"role": "user", "content": "pan"},
        {"role": "assistant", "content": "red pan"},
        {"role": "user", "content": "mug"},
    ]
    assert Prompt().of(chat[1:]) == chat[1:]


def test_few_shot_shows_as_many_examples_as_asked_for():
    env, policy = world(), FewShot(policy=SPEAKER, shots=2, samples=3)
    prepare(policy, env)
    policy.generate(env.prompts(env.task.needs("test")), 0)
    assert [message["role"] for message in policy._policy.read[-1]] == ["system", *["user", "assistant"] * 2, "user"]


def test_the_prompt_search_finds_the_prompt_that_is_paid_and_stays_within_its_budget():
    obedient = {"type": "tests.recr1.policies.speaker:Obedient", "word": "shout", "otherwise": "[zzz]"}
    env = toy_in_brackets()
    policy = PromptSearch(policy=obedient, instructions=["whisper", "shout", "sing"], prompts=6, budget=200)
    prepare(policy, env)
    assert policy.chosen.instruction == "shout"
    assert 0 < policy._policy.written <= 200


def test_a_prompt_that_is_not_better_does_not_replace_the_plain_one():
    deaf = {"type": "tests.recr1.policies.speaker:Obedient", "word": "never said", "otherwise": "[red]"}
    policy = PromptSearch(policy=deaf, instructions=["whisper", "sing"], prompts=4, budget=100)
    prepare(policy, world())
    assert policy.chosen == Prompt()


def toy_in_brackets():
    env = world()
    env.task.splits["train"] = env.task.splits["train"] * 10
    return env


@pytest.mark.parametrize("name", [*BUILTIN, "tests.recr1.policies.speaker:Speaker"])
def test_only_baselines_that_declare_it_are_introduced(name):
    declared = {"prf", "few_shot", "prompt_search", "best_of", "best_item", "best_edit", "linear_edits", "term_oracle"}
    declared |= {"echo", "field_clauses", "mean_rating", "recommender"}
    cls = find_class("policy", name)
    assert (hasattr(cls, "prepare") and hasattr(cls, "sees")) == (name in declared)


def test_a_policy_without_a_declaration_gets_nothing():
    class Curious:
        format = Echo.format
        met = None

        def generate(self, chats, n):
            return [["mug"] for _ in chats]

    curious = Curious()
    assert not isinstance(curious, NeedsAccess)
    prepare(curious, world())
    assert curious.met is None
