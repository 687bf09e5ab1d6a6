"""Pairs made from training needs: copies, random edits, and the edits that are paid most."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recr1.baselines.edits import Edits
from recr1.config.build import Part, build
from recr1.env import chat_with, open_environment
from recr1.errors import UserError
from recr1.formats import Tag
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.edited import CopyPairs, EditPairs
from recr1.trainers.pairs.searched import SearchedPairs
from recr1.trainers.sft import SFT
from retrievers.errors import EngineError
from rewards.base import Qrels
from tests.recr1.trainers.algorithms.test_sft import TRL, VALIDATION, Scripted, begin, environment, kept, policy
from tests.recr1.trainers.layers.test_resume import Failing


def paid(**more):
    """The toy, paid by what it finds alone."""
    env = open_environment(Part("toy"), Part("bm25"), [(Part("measure", {"measure": "nDCG@10"}), 1.0)], 10)
    env.format = Tag(**more)
    return env


@pytest.fixture
def writer(random_model):
    """A policy whose tokenizer counts, and which writes three things of any need."""
    texts = ["<query>trail headlamp</query>", "no tags", "<query>trail headlamp</query>"]
    scripted = Scripted(build("policy", policy(random_model)).tokenizer, texts)
    scripted.max_new_tokens = 400
    return scripted


def search(tmp_path, writer, env=None, share=0.0, **options):
    """The pairs, the lines of the run's file, and its facts."""
    run = begin(tmp_path / "run")
    pairs = SearchedPairs(**options).pairs(env or paid(), writer, run, Ranks(), FailureBudget(share))
    return pairs, kept(run), run.facts()["pairs"]


def rewards(env, pairs):
    needs = [pair.need for pair in pairs]
    chats = [chat_with(prompt, pair.completion) for prompt, pair in zip(env.prompts(needs), pairs, strict=True)]
    return env.step(needs, chats).rewards


# without a search


def test_a_copy_asks_for_the_need_itself():
    env = paid()
    pairs = CopyPairs(needs=3).pairs(env)
    assert [pair.need for pair in pairs] == list(env.task.needs("train"))[:3]
    assert [pair.completion for pair in pairs] == [f"<query>{pair.need.text}</query>" for pair in pairs]
    assert len(CopyPairs().pairs(env)) == 12


@pytest.mark.parametrize(("changed", "least", "most"), [(0.0, 0, 0), (0.5, 30, 90), (1.0, 120, 120)])
def test_a_share_of_the_needs_is_edited(changed, least, most):
    env = paid()
    pairs = EditPairs(changed=changed, per_need=10).pairs(env)
    edits = Edits(need.text for need in env.task.needs("train"))
    different = [pair for pair in pairs if pair.completion != f"<query>{pair.need.text}</query>"]
    assert len(pairs) == 120 and least <= len(different) <= most
    for pair in different:
        assert pair.completion[7:-8] in [text for _, text in edits.of(pair.need.text)]


def test_edits_follow_their_seed_and_not_the_other_needs():
    def queries(**options):
        return [pair.completion for pair in EditPairs(changed=1.0, **options).pairs(paid())]

    assert queries() == queries() != queries(seed=1)
    assert queries(needs=4) == queries()[:4]
    assert queries(edits=2) != queries()


def test_edits_that_only_drop_leave_parts_of_the_need():
    env = paid()
    pairs = EditPairs(changed=1.0, edits=3, kinds="drop", per_need=5).pairs(env)
    for pair in pairs:
        words, kept = pair.need.text.split(), iter(pair.need.text.split())
        query = pair.completion[7:-8].split()
        assert 0 < len(query) < len(words) or len(words) == 1
        assert all(word in kept for word in query)  # in their order, none twice
    assert len({pair.completion for pair in pairs}) > len(pairs) / 2


@pytest.mark.parametrize("source", [CopyPairs(), EditPairs(), SearchedPairs()], ids=["copy", "edits", "searched"])
def test_no_need_of_another_split_is_taught(tmp_path, writer, source):
    env = paid()
    train, test = env.task.needs("train"), env.task.needs("test")
    env.task._needs["train"] = [*train[:3], type(test[0])("other", test[0].text.upper() + "!"), *train[3:]]
    env.task.qrels["other"] = env.task.qrels[test[0].id]
    pairs = source.pairs(env, writer, begin(tmp_path / "run"), Ranks(), FailureBudget(0.0))
    assert [pair.need for pair in pairs] == list(train)


# with a search


def test_the_edit_that_is_paid_most_is_taught_and_else_the_need(tmp_path, writer):
    env = paid()
    pairs, lines, facts = search(tmp_path, writer, env)
    needs = list(env.task.needs("train"))
    assert [pair.need for pair in pairs] == needs
    copies = rewards(env, CopyPairs().pairs(env))
    np.testing.assert_allclose([line["reward"] for line in lines], rewards(env, pairs), rtol=1e-6)
    np.testing.assert_allclose([line["raw"] for line in lines], copies, rtol=1e-6)
    better = [line for line in lines if line["edits"]]
    assert 0 < len(better) < len(lines)
    assert all(line["reward"] >= line["raw"] + 0.02 for line in better)
    edits = Edits(need.text for need in needs)
    for line, need in zip(lines, needs, strict=True):  # no single edit is clearly better than what is taught
        singles = [f"<query>{text}</query>" for _, text in edits.of(need.text)][:48]
        prompts = env.prompts([need] * len(singles))
        step = env.step([need] * len(singles), list(map(chat_with, prompts, singles)))
        assert step.rewards.max() < line["reward"] + 0.02
        if not line["edits"]:
            assert line["completion"] == f"<query>{need.text}</query>"
    assert facts["needs"] == facts["kept"] == facts["needs_with_a_pair"] == len(lines)
    assert facts["needs_with_an_edit"] == len(better) == len(lines) - facts["taught_unchanged"]
    assert facts["reward_of_needs"] == facts["reward_of_taught_needs"] == pytest.approx(copies.mean())
    assert facts["reward_of_kept"] == pytest.approx(np.mean([line["reward"] for line in lines]))
    assert sum(facts["edits"].values()) == sum(len(line["edits"]) for line in lines)


def test_needs_without_a_better_edit_are_left_out_by_share(tmp_path, writer):
    _, whole, _ = search(tmp_path / "1", writer)
    _, none, facts = search(tmp_path / "2", writer, unchanged=0.0)
    assert none == [line for line in whole if line["edits"]] and facts["taught_unchanged"] == 0


def test_several_edits_are_kept_of_a_need_the_best_first(tmp_path, writer):
    _, lines, facts = search(tmp_path, writer, keep=3, unchanged=0.0)
    by_need: dict[str, list] = {}
    for line in lines:
        by_need.setdefault(line["need"], []).append(line)
    assert max(map(len, by_need.values())) == 3 and facts["needs_with_an_edit"] == len(by_need)
    for of_need in by_need.values():
        assert len({line["completion"] for line in of_need}) == len(of_need)
        assert [line["reward"] for line in of_need] == sorted((line["reward"] for line in of_need), reverse=True)


def test_what_the_policy_writes_is_tried_too(tmp_path, writer):
    _, lines, _ = search(tmp_path, writer, samples=3, at_least=0.001)
    written = [line for line in lines if "written by the policy" in line["edits"]]
    assert written and all("headlamp" in line["completion"] for line in written)


def test_expected_edits_are_chosen_by_what_other_needs_earn(tmp_path, writer):
    env = paid()
    earned = search(tmp_path / "1", writer, env, at_least=0.001)
    _, lines, facts = search(tmp_path / "2", writer, env, at_least=0.001, choose="expected")
    assert [line["need"] for line in lines] == [line["need"] for line in earned[1]]  # each need is taught something
    assert 0 < facts["needs_with_an_edit"] and facts["reward_of_kept"] <= earned[2]["reward_of_kept"]
    for line in lines:
        asked = env.need(line["need"])
        (reward,) = env.step([asked], [chat_with(env.format.render(asked), line["completion"])]).rewards
        assert line["reward"] == pytest.approx(float(reward))
    assert search(tmp_path / "3", writer, env, at_least=0.001, choose="expected")[1] == lines


def test_a_need_has_no_part_in_the_choice_of_its_own_edits(tmp_path, writer):
    env = paid()
    _, lines, _ = search(tmp_path / "1", writer, env, at_least=0.001, choose="expected")
    own = next(
        need for need in env.task.needs("train") if any(line["need"] == need.id and line["edits"] for line in lines)
    )
    env.task.qrels[own.id] = Qrels({row: 3 - grade for row, grade in env.task.qrels[own.id].items()} | {0: 1})
    _, other, _ = search(tmp_path / "2", writer, env, at_least=0.001, choose="expected")
    before, after = ([line["completion"] for line in some if line["need"] == own.id] for some in (lines, other))
    assert before == after


def test_samples_are_no_edits_to_choose_among():
    options = {"choose": "expected", "samples": 4}
    assert SearchedPairs.check_options(options) == [
        "samples: only with choose: earned; the linear model chooses among edits"
    ]


def test_no_pair_is_longer_than_the_policy_may_write(tmp_path, writer):
    _, whole, _ = search(tmp_path / "1", writer)
    lengths = [len(writer.tokenizer(line["completion"])["input_ids"]) + 1 for line in whole]
    writer.max_new_tokens = sorted(lengths)[len(lengths) // 2]
    pairs, lines, facts = search(tmp_path / "2", writer)
    assert max(len(writer.tokenizer(pair.completion)["input_ids"]) + 1 for pair in pairs) <= writer.max_new_tokens
    assert 0 < len(lines) < len(whole) and facts["needs_with_a_pair"] == len(lines)


@pytest.mark.parametrize("needs", [1, 5])
def test_the_first_needs_alone_are_searched(tmp_path, writer, needs):
    pairs, _, facts = search(tmp_path, writer, needs=needs)
    assert len(pairs) == facts["needs"] == needs


def test_a_lost_search_is_no_reward_and_costs_of_the_budget(tmp_path, writer):
    env = paid()
    env.retriever = Failing(env.retriever, lost=[2])
    with pytest.raises(EngineError, match=r"no connection; \d+ of the last \d+ rollouts have no reward"):
        search(tmp_path / "1", writer, env)
    assert not (tmp_path / "1/run/pairs.jsonl").exists()
    env.retriever = Failing(paid().retriever, lost=[2])
    _, lines, _ = search(tmp_path / "2", writer, env, share=0.9, rounds=1)
    assert all(math.isfinite(line["reward"]) for line in lines)


def test_nothing_to_teach_and_nothing_to_choose_by_is_said(tmp_path, writer):
    with pytest.raises(UserError, match=r"of 12 training needs none has an edit that earns 9 more, .* lower at_least"):
        search(tmp_path / "1", writer, at_least=9.0, unchanged=0.0)
    env = paid()
    env.rewards = ()
    with pytest.raises(UserError, match="'searched' chooses by rewards, and the recipe has none: add `rewards`"):
        search(tmp_path / "2", writer, env)


def test_pairs_are_searched_once(tmp_path, writer):
    pairs, _, _ = search(tmp_path, writer)
    again = begin(tmp_path / "again")
    (again.path / "pairs.jsonl").write_text((tmp_path / "run/pairs.jsonl").read_text())
    env = paid()
    env.retriever = Failing(env.retriever, raised=[1])
    assert SearchedPairs().pairs(env, writer, again, Ranks(), FailureBudget(0.0)) == pairs


def test_needs_that_the_policy_cannot_write_are_said(tmp_path, writer):
    writer.max_new_tokens = 3
    with pytest.raises(UserError, match=r"none is taught as it is: .* raise policy.max_new_tokens"):
        search(tmp_path, writer)


@pytest.mark.parametrize("source", ["copy", "edits", "searched"])
def test_a_policy_is_trained_on_them(tmp_path, source):
    pairs = {"type": source, "needs": 4}
    run = begin(tmp_path / "run")
    SFT(steps=1, pairs=pairs, trl=TRL).train(
        policy("tiny-shopper", max_new_tokens=24), environment(), run, seed=3, evaluation=VALIDATION
    )
    assert (run.path / "policy/model.safetensors").exists()
