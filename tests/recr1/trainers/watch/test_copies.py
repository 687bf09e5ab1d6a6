"""A policy that was taught to copy its needs, and what training says of it."""

from __future__ import annotations

import json

import pytest

from recr1.config.build import AlarmSpec, EvaluationSpec, Part, build
from recr1.env import open_environment
from recr1.runs import Run
from recr1.trainers.stages import train_stages
from tests.recr1.trainers.algorithms.arms import make_speaker

TAUGHT, STEPS = 40, 3
WATCHED = EvaluationSpec(split="train", measures=("nDCG@10",), every=100, keep="last", alarm=AlarmSpec(warn_after=2))


@pytest.fixture(scope="module")
def environment():
    rewards = [(Part(name, {"measure": "nDCG@10"}), weight) for name, weight in (("measure", 1.0), ("gain", 0.0))]
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    return open_environment(task, Part("bm25"), rewards, 10)


@pytest.fixture(scope="module")
def start(tmp_path_factory, environment):
    """A random policy that can say the words of the training needs."""
    words = dict.fromkeys(word for need in environment.task.needs("train") for word in need.text.split())
    return make_speaker(tmp_path_factory.mktemp("speaker"), words, width=64)


@pytest.fixture(scope="module")
def copying(tmp_path_factory, environment, start):
    """A run of two stages: SFT on copies of the needs, then GRPO."""
    return two_stages(tmp_path_factory.mktemp("copying"), environment, start, {"type": "copy"})


def two_stages(folder, environment, start, pairs):
    taught = {"steps": TAUGHT, "pairs": pairs, "trl": {"per_device_train_batch_size": 12, "learning_rate": 1e-2}}
    run, parts = Run.create(folder / "run", {}, {}), [Part("sft", taught), grpo(temperature=0.5)]
    stages = [(part, build("trainer", part)) for part in parts]
    train_stages(stages, policy(start), environment, run, seed=3, evaluation=WATCHED, say=print)
    return run


def policy(model):
    return Part("transformers", {"model": str(model), "max_new_tokens": 14})


def grpo(**trl):
    group = {"num_generations": 8, "per_device_train_batch_size": 32, "learning_rate": 1e-4, **trl}
    return Part("grpo", {"steps": STEPS, "trl": group})


def alerts(run):
    written = run.path / "alerts.jsonl"
    return [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []


def trained(run):
    return [line for line in run.read_metrics() if "train/reward" in line]


def test_a_policy_that_was_taught_copies_stalls_and_the_alarm_names_it(copying):
    (alert,) = alerts(copying)
    assert (alert["level"], alert["sign"], alert["step"]) == ("warning", "copies", TAUGHT + 2)
    assert all(line["train/query/copies_need"] > 0.9 and line["train/groups/flat"] > 0.9 for line in trained(copying))
    gained = [abs(line["train/reward/gain(nDCG@10)"]) for line in trained(copying)]
    assert max(gained) < 0.05 < min(line["train/reward/nDCG@10"] for line in trained(copying))


def test_a_validation_says_that_its_queries_are_the_needs(copying):
    first, *_, last = [line for line in copying.read_metrics() if "time/validation" in line]
    assert first["eval/train/query/copies_need"] < 0.1 and last["eval/train/query/copies_need"] > 0.9
    assert last["eval/train/nDCG@10"] == pytest.approx(last["eval/train/nDCG@10/floor"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("taught", [False, True], ids=["untaught", "hotter"])
def test_a_policy_that_tries_other_queries_raises_no_alarm(tmp_path, environment, start, copying, taught):
    """The start itself; and at a higher temperature, the policy that was taught copies."""
    model = copying.path / "stages/1-sft/policy" if taught else start
    run = Run.create(tmp_path / "run", {}, {})
    trainer = build("trainer", grpo(temperature=3.0 if taught else 1.0))
    trainer.train(policy(model), environment, run, seed=3, evaluation=WATCHED)
    assert len(trained(run)) == STEPS and alerts(run) == []


@pytest.mark.slow
def test_a_policy_that_was_taught_edits_raises_no_alarm(tmp_path, environment, start):
    run = two_stages(tmp_path, environment, start, {"type": "edits", "changed": 1.0})
    assert all(line["train/query/copies_need"] < 0.5 for line in trained(run))
    assert "copies" not in [alert["sign"] for alert in alerts(run)]
