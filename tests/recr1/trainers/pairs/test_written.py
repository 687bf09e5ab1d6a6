"""Pairs that another policy writes: a rule is taught, and nothing of what the engine holds."""

from __future__ import annotations

import pytest

from recr1.config.build import build
from recr1.errors import UserError
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.written import WrittenPairs
from tests.recr1.trainers.algorithms.test_sft import begin, kept, policy
from tests.recr1.trainers.pairs.test_edited import paid, rewards


@pytest.fixture
def reader(random_model):
    """A policy whose tokenizer counts, with room for long queries."""
    made = build("policy", policy(random_model))
    made.max_new_tokens = 400
    return made


def written(tmp_path, reader, teacher, **options):
    run, env = begin(tmp_path / "run"), paid()
    pairs = WrittenPairs(policy=teacher, **options).pairs(env, reader, run, Ranks(), FailureBudget(0.0))
    return env, pairs, kept(run), run.facts()["pairs"]


def twice(env):
    return {"type": "scripted", "answers": {need.text: f"{need.text} lamp" for need in env.task.needs("train")}}


def test_every_query_is_taught_as_the_format_asks_for_it(tmp_path, reader):
    env, pairs, lines, facts = written(tmp_path, reader, twice(paid()))
    assert [pair.completion for pair in pairs] == [f"<query>{n.text} lamp</query>" for n in env.task.needs("train")]
    assert [line["reward"] for line in lines] == pytest.approx(rewards(env, pairs).tolist())
    assert (facts["kept"], facts["taught_unchanged"]) == (12, 0)


def test_a_query_that_earns_too_little_gives_way_to_its_need(tmp_path, reader):
    _, pairs, lines, facts = written(tmp_path, reader, twice(paid()), at_least=0.0)
    worse = {line["need"] for line in lines if not line["taken"]}
    assert 0 < len(worse) < 12 and facts["taught_unchanged"] == len(worse)
    assert all((pair.completion == f"<query>{pair.need.text}</query>") == (pair.need.id in worse) for pair in pairs)
    assert all(line["reward"] >= line["raw"] for line in lines)
    assert facts["reward_of_kept"] >= facts["reward_of_taught_needs"]


def test_an_empty_query_is_no_answer(tmp_path, reader):
    teacher = twice(env := paid())
    first = env.task.needs("train")[0]
    teacher["answers"][first.text] = ""
    _, pairs, _, facts = written(tmp_path, reader, teacher)
    assert pairs[0].completion == f"<query>{first.text}</query>" and facts["taught_unchanged"] == 1


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"type": "prf"}, "it reads hits and catalog|it reads catalog and hits|it reads hits"),
        ({"type": "best_edit"}, "answers"),
        ({"type": "transformers", "model": "tiny-shopper"}, "a language model has no rule to teach"),
    ],
)
def test_what_must_not_be_taught_is_refused(tmp_path, reader, teacher, said):
    with pytest.raises(UserError, match=said):
        written(tmp_path, reader, teacher)


def test_a_policy_that_is_not_there_is_found_before_anything_loads():
    with pytest.raises(UserError, match="field_clause"):
        WrittenPairs(policy={"type": "field_clause"})
