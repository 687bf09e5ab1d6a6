"""Groups that teach nothing are replaced by others, as many rounds as are allowed, and the numbers say so."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.dynamic_sampling import Rollouts, flat_groups
from recr1.trainers.rloo import RLOO
from retrievers.errors import EngineError, MissingAnswers
from tests.processes import ROOT
from tests.recr1.trainers.layers.test_resume import FAULT, Failing, same
from tests.recr1.trainers.watched import WatchedGRPO

GROUP = 4
TRL = {"num_generations": GROUP, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "beta": 0.0}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=100)
NONE = float("nan")


class Scripted:
    """Pays a quarter of the needs, those of which it is told, for vowels, and the others nothing."""

    name = "scripted"

    def __init__(self, *, every: int = 4, gain: float = 1.0) -> None:
        self.every, self.gain = every, gain

    def __call__(self, batch):
        return np.array([self.gain * vowels(r.completion) * self.pays(r.need.id) for r in batch.rollouts], np.float32)

    def pays(self, name):
        return int("".join(filter(str.isdigit, name))) % self.every == 0


def vowels(text):
    return sum(map(text.lower().count, "aeiou")) / max(len(text), 1)


def environment(**options):
    task = Part("shop", {"items": 200, "train": 120, "validation": 4, "test": 4})
    return open_environment(task, Part("bm25"), [(Part(f"{__name__}:Scripted", options), 1.0)], 10)


def go(run, model, *, kind=GRPO, env=None, steps=2, trl=None, **options):
    policy = Part("transformers", {"model": str(model), "max_new_tokens": 12})
    trainer = kind(steps=steps, trl=trl or TRL, rollouts_every=1, **options)
    trainer.train(policy, env or environment(), run, seed=3, evaluation=VALIDATION)
    run.finish("finished")
    return trainer


def fresh_run(folder):
    return Run.create(folder, {"seed": 3}, {})


def curve(run, name):
    return [line[name] for line in run.read_metrics() if name in line]


def groups(lines):
    """The needs and the rewards of rollouts in groups, in the order in which they were made."""
    names = [line["need"] for line in lines][::GROUP]
    return names, np.array([line["reward"] for line in lines]).reshape(-1, GROUP)


def flat_of(rewards, tolerance=1e-6):
    return np.ptp(rewards, 1) <= tolerance


@pytest.mark.parametrize(
    ("rewards", "tolerance", "flat"),
    [
        ([1, 1, 1, 0, 1, 0], 0.0, [0]),
        ([0.5, 0.5, 0.6, 0.5, 0.5, 0.9], 0.1 + 1e-9, [0]),
        ([0.5, 0.5, 0.6, 0.5, 0.5, 0.9], 0.05, []),
        ([NONE, NONE, 0.3, NONE, 0.2, 0.3], 0.0, [0]),
        ([NONE, NONE, NONE, NONE, 0.3, NONE], 9.0, [0, 1]),
        ([NONE, 0.1, 0.1, NONE, 0.1, 0.2], 0.0, [0]),
    ],
)
def test_a_group_is_flat_when_its_rewards_are_no_further_apart_than_the_tolerance(rewards, tolerance, flat):
    assert flat_groups(rewards, 3, tolerance) == flat


def test_a_row_takes_its_input_and_all_that_was_generated_for_it_along():
    batch = Rollouts([{"need_id": "a"}, {"need_id": "b"}], ([[1], [2]], None, ["x", "y"], []), None)
    other = Rollouts([{"need_id": "c"}], ([[3]], None, ["z"], []), None)
    batch.replace(1, other.rows()[0])
    assert batch.inputs == [{"need_id": "a"}, {"need_id": "c"}]
    assert batch.generated == ([[1], [3]], None, ["x", "z"], [])


@pytest.mark.parametrize("kind", [GRPO, RLOO])
def test_the_share_of_flat_groups_falls_as_the_rollouts_say(tmp_path, random_model, kind):
    run = fresh_run(tmp_path / "run")
    go(run, random_model, kind=kind, dynamic_sampling=3)
    for step, line in enumerate((line for line in run.read_metrics() if "train/reward" in line), start=1):
        names, rewards = groups([rollout for rollout in run.read_rollouts() if rollout["step"] == step])
        assert len(names) == len(set(names))  # no need comes twice in a step
        flat, place, rounds = flat_of(rewards), 4, 0
        missing = flat[:4].sum()
        assert missing > 0
        while missing and rounds < 3:
            fresh = flat[place : place + missing]
            place, missing, rounds = place + missing, missing - (~fresh).sum(), rounds + 1
        assert place == len(names)  # each round drew as many as were flat, and no more
        assert line["train/frac_reward_zero_std"] == pytest.approx(missing / 4)
        assert line["train/dynamic_sampling/replaced"] == pytest.approx((flat[:4].sum() - missing) / 4)
        assert line["train/dynamic_sampling/rounds"] == rounds
        assert missing < flat[:4].sum()


def test_advantages_are_those_of_the_groups_that_came_in(tmp_path, random_model):
    run = fresh_run(tmp_path / "run")
    trainer = go(run, random_model, kind=WatchedGRPO, steps=1, dynamic_sampling=2)
    names, rewards = groups(run.read_rollouts())
    flat = flat_of(rewards)
    useful = iter([place for place in range(4, len(names)) if not flat[place]])
    kept = np.array([rewards[next(useful, place)] if flat[place] else rewards[place] for place in range(4)])
    expected = (kept - kept.mean(1, keepdims=True)) / (kept.std(1, ddof=1, keepdims=True) + 1e-4)
    logs = trainer.loop.trainer._logs
    np.testing.assert_allclose(np.array(list(logs["advantages"])), expected.ravel(), atol=1e-3)
    texts = [line["completion"] for line in run.read_rollouts()]
    made = {text: line["reward"] for text, line in zip(texts, run.read_rollouts(), strict=True)}
    written = [completion[0]["content"] for completion in logs["completion"]]
    assert [made[text] for text in written] == pytest.approx(kept.ravel())


def test_the_numbers_of_a_step_are_those_of_its_first_round(tmp_path, random_model):
    run = fresh_run(tmp_path / "run")
    go(run, random_model, steps=1, dynamic_sampling=2)
    _, rewards = groups(run.read_rollouts())
    assert len(rewards) > 4
    line = next(line for line in run.read_metrics() if "train/reward" in line)
    assert line["train/reward"] == pytest.approx(rewards[:4].mean(), abs=1e-6)
    assert line["train/reward/scripted"] == pytest.approx(rewards[:4].mean(), abs=1e-6)


@pytest.mark.slow
def test_without_flat_groups_nothing_changes(tmp_path, random_model):
    whole, other = fresh_run(tmp_path / "whole"), fresh_run(tmp_path / "other")
    go(whole, random_model, env=environment(every=1), steps=3)
    go(other, random_model, env=environment(every=1), steps=3, dynamic_sampling=2)
    assert curve(other, "train/dynamic_sampling/replaced") == [0, 0, 0]
    assert curve(other, "train/dynamic_sampling/rounds") == [0, 0, 0]
    assert curve(whole, "train/loss") == curve(other, "train/loss")
    assert curve(whole, "train/grad_norm") == curve(other, "train/grad_norm")


def test_what_is_left_after_the_last_round_stays(tmp_path, random_model):
    run = fresh_run(tmp_path / "run")
    go(run, random_model, env=environment(gain=0.0), steps=1, dynamic_sampling=2)
    assert len(run.read_rollouts()) == 3 * 16
    assert curve(run, "train/dynamic_sampling/replaced") == [0]
    assert curve(run, "train/dynamic_sampling/rounds") == [2]
    assert curve(run, "train/frac_reward_zero_std") == [1]


def test_a_small_spread_is_noise_where_the_tolerance_says_so(tmp_path, random_model):
    run = fresh_run(tmp_path / "run")
    go(
        run,
        random_model,
        env=environment(every=1, gain=0.01),
        steps=1,
        dynamic_sampling=1,
        dynamic_sampling_tolerance=0.011,
    )
    assert len(run.read_rollouts()) == 2 * 16
    assert curve(run, "train/dynamic_sampling/rounds") == [1]
    assert curve(run, "train/dynamic_sampling/replaced") == [0]


def test_rounds_end_when_no_need_is_left(tmp_path, random_model):
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    env = open_environment(task, Part("bm25"), [(Part(f"{__name__}:Scripted", {"gain": 0.0}), 1.0)], 10)
    run = fresh_run(tmp_path / "run")
    go(run, random_model, env=env, steps=1, dynamic_sampling=100)
    names, _ = groups(run.read_rollouts())
    assert sorted(names) == sorted(need.id for need in env.task.needs("train"))


class Missing:
    """A healthy retriever without an answer to any query in the searches of these numbers."""

    def __init__(self, healthy, *numbers):
        self.healthy, self.numbers, self.calls = healthy, numbers, 0

    def search(self, queries, k):
        self.calls += 1
        hits = self.healthy.search(queries, k)
        if self.calls not in self.numbers:
            return hits
        lost = range(len(queries))
        raise MissingAnswers(hits.without(list(lost)), dict.fromkeys(lost, FAULT))


# Searches: references, the first validation, the batch of the step, its rounds.
BATCH, ROUND = 3, 4


def test_a_round_without_any_answer_is_for_the_budget_and_stops_nothing(tmp_path, random_model):
    run, env = fresh_run(tmp_path / "run"), environment()
    env.retriever = Missing(env.retriever, ROUND)
    go(run, random_model, env=env, steps=1, dynamic_sampling=1, failure_budget=0.1)
    _, rewards = groups(run.read_rollouts()[:16])
    missing = flat_of(rewards).sum()
    lost = [line["reward"] for line in run.read_rollouts()[16:]]
    assert lost == [None] * GROUP * missing and missing > 0
    assert curve(run, "train/dynamic_sampling/replaced") == [0] and curve(run, "train/dynamic_sampling/rounds") == [1]


@pytest.mark.parametrize(
    ("search", "budget"), [(BATCH, 0.1), (ROUND, 0.0)], ids=["the batch itself", "a round without a budget"]
)
def test_a_batch_without_any_answer_stops_a_run_and_so_does_a_round_past_the_budget(
    tmp_path, random_model, search, budget
):
    env = environment()
    env.retriever = Missing(env.retriever, search)
    with pytest.raises(EngineError, match=r"\d+ of the last \d+ rollouts have no reward"):
        go(fresh_run(tmp_path / "run"), random_model, env=env, steps=1, dynamic_sampling=1, failure_budget=budget)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resample": 2}, "resample: is now called dynamic_sampling"),
        ({"resample_tolerance": 0.1}, "resample_tolerance: is now called dynamic_sampling_tolerance"),
        ({"dynamic_sampling": -1}, "dynamic_sampling: must be an integer >= 0, got -1"),
        (
            {"dynamic_sampling": 1, "dynamic_sampling_tolerance": -0.1},
            "dynamic_sampling_tolerance: must be a number >= 0, got -0.1",
        ),
        (
            {"dynamic_sampling": 1, "dynamic_sampling_tolerance": math.nan},
            "dynamic_sampling_tolerance: must be a number >= 0, got nan",
        ),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(UserError, match=message):
        GRPO(steps=1, **options)


@pytest.mark.parametrize(
    ("kind", "search"),
    [
        pytest.param(GRPO, 8, id="grpo", marks=pytest.mark.slow),
        pytest.param(RLOO, 8, id="rloo", marks=pytest.mark.slow),
        pytest.param(GRPO, 9, id="another round", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_stops_between_two_rounds_goes_on_as_if_it_had_not(tmp_path, random_model, kind, search):
    trl = {**TRL, "save_strategy": "no"}
    options = {"kind": kind, "trl": trl, "steps": 4, "dynamic_sampling": 2}
    whole = fresh_run(tmp_path / "whole")
    go(whole, random_model, env=environment(every=2), **options)
    run, env = fresh_run(tmp_path / "run"), environment(every=2)
    env.retriever = Failing(env.retriever, raised=[search])
    with pytest.raises(EngineError, match=str(FAULT.cause)):
        go(run, random_model, env=env, **options)
    run.finish("failed")
    assert any(line["step"] == 1 for line in run.read_rollouts())
    again = Run.resume(run.path, {})
    go(again, random_model, env=environment(every=2), **options)
    same(whole, again)


@pytest.mark.slow
def test_two_processes_take_the_same_rounds_and_keep_the_same_groups(tmp_path, random_model):
    """Six rows a process, of groups of four: the second group has two rows on each."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, "-m", "tests.recr1.trainers.layers.dynamic_sampling_ranks", random_model, tmp_path],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert [len(needs) for needs in first["sampled"]] == [len(needs) for needs in second["sampled"]]
    assert len(first["kept"]) == 3 < len(first["sampled"]) - 2  # the validations search too, and some steps had rounds
    pays = Scripted().pays
    for one, other in zip(first["kept"], second["kept"], strict=True):
        assert one["rewards"] == other["rewards"]
        needs, texts = one["needs"] + other["needs"], one["texts"] + other["texts"]
        assert needs == [need for need in needs[::GROUP] for _ in range(GROUP)] and len(set(needs)) == 3
        earned = [vowels(text) * pays(need) for need, text in zip(needs, texts, strict=True)]
        assert one["rewards"] == pytest.approx(earned, abs=1e-6)
