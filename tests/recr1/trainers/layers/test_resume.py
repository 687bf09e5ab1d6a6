"""A run that stopped and went on is the run that did not stop, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.errors import RunError, UserError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.checkpoints import Checkpoints
from recr1.trainers.trl.additions import Addition
from retrievers.errors import EngineError, MissingAnswers
from tests.recr1.trainers.watched import WatchedGRPO

TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
FAULT = EngineError("engine", "http://there", 3, "no connection")


class Vowels:
    """Pays for vowels: something that a random model earns now and then."""

    name = "vowels"

    def __call__(self, batch):
        texts = [rollout.completion.lower() for rollout in batch.rollouts]
        return np.array([sum(map(text.count, "aeiou")) / max(len(text), 1) for text in texts], np.float32)


class Failing:
    """A healthy retriever that fails in the searches of these numbers: for all queries, or for some."""

    def __init__(self, healthy, *, raised=(), lost=()):
        self.healthy, self.raised, self.lost, self.calls = healthy, raised, lost, 0

    def search(self, queries, k):
        self.calls += 1
        if self.calls in self.raised:
            raise FAULT
        hits = self.healthy.search(queries, k)
        if self.calls in self.lost:
            raise MissingAnswers(hits.without([0]), {0: FAULT})
        return hits


def environment(**faults):
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    rewards = [(Part.from_dict({"type": "measure", "measure": "nDCG@10"}), 1.0), (Part(f"{__name__}:Vowels"), 1.0)]
    env = open_environment(task, Part("bm25"), rewards, 10)
    if faults:
        env.retriever = Failing(env.retriever, **faults)
    return env


def go(run, env, model, *, trl=None, steps=5, policy=None, **options):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6, **(policy or {})})
    trainer = GRPO(steps=steps, trl=trl or TRL, rollouts_every=1, **options)
    trainer.train(part, env, run, seed=3, evaluation=VALIDATION)
    run.finish("finished")
    return run


def numbers(run):
    timed = ("time", "train/time", "time/validation")
    lines = [{name: v for name, v in line.items() if not name.startswith(timed)} for line in run.read_metrics()]
    return lines, run.read_rollouts()


def same(one, other):
    assert numbers(one) == numbers(other)
    rewards = [line["train/reward_std"] for line in one.read_metrics() if "train/reward_std" in line]
    assert min(rewards) > 0  # something was learned, so that weights can differ
    first, second = (load_file(run.policy_path / "model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


def stopped(folder, model, env, **options):
    run = Run.create(folder, {"seed": 3}, {})
    with pytest.raises(EngineError, match="no connection"):
        go(run, env, model, **options)
    run.finish("failed")
    return run


SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}


CASES = [
    pytest.param({}, 7, id="in the second epoch"),
    pytest.param({**SPLIT, "num_iterations": 2}, 6, id="one generation for several steps", marks=pytest.mark.slow),
    pytest.param(
        {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1},
        5,
        id="a reference that moves",
        marks=pytest.mark.slow,
    ),
]
"""Options, and the number of the search in which the engine goes away."""


@pytest.mark.parametrize(("trl", "search"), CASES)
def test_a_run_whose_engine_came_back_is_the_run_whose_engine_never_left(tmp_path, random_model, trl, search):
    trl = {**TRL, "save_strategy": "no", **trl}  # the one checkpoint is that of the failure
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model, trl=trl)
    stopped(tmp_path / "run", random_model, environment(raised=[search]), trl=trl)
    again = go(Run.resume(tmp_path / "run", {}), environment(), random_model, trl=trl)
    same(whole, again)


@pytest.mark.slow
def test_a_run_goes_on_from_any_checkpoint(tmp_path, random_model):
    trl = {**TRL, **SPLIT, "num_iterations": 2, "save_steps": 1, "save_total_limit": 100}
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model, trl=trl, steps=7)
    checkpoints = Checkpoints(whole.path / "checkpoints").steps()
    assert list(checkpoints) == [1, 2, 3, 4, 5, 6, 7]
    for step in (5, 7):  # in the middle of what was generated at once; and after the last step
        part = Run.create(tmp_path / f"from-{step}", {"seed": 3}, {})
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            (part.path / name).write_text((whole.path / name).read_text() + '{"step": 8, "torn')
        part.finish("failed")
        (part.path / "checkpoints").mkdir()
        checkpoints[step].rename(part.path / "checkpoints" / checkpoints[step].name)
        same(whole, go(Run.resume(part.path, {}), environment(), random_model, trl=trl, steps=7))
        checkpoints = Checkpoints(whole.path / "checkpoints").steps()


@pytest.mark.slow
def test_a_validation_without_an_answer_is_made_again(tmp_path, random_model):
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model)
    # Searches: the policy and its references before the first step, two steps, the validation after them.
    stopped(tmp_path / "run", random_model, environment(raised=[5]))
    again = go(Run.resume(tmp_path / "run", {}), environment(), random_model)
    same(whole, again)


def test_a_finished_run_keeps_no_checkpoints_and_stays_finished(tmp_path, random_model):
    run = go(Run.create(tmp_path / "run", {"seed": 3}, {}), environment(), random_model, steps=2)
    assert not (run.path / "checkpoints").exists() and not (run.path / "best").exists()
    assert Run.resume(run.path, {}).finished


def test_a_lost_rollout_has_no_reward_and_the_run_goes_on_within_its_budget(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    go(run, environment(lost=[3, 4]), random_model, steps=3, failure_budget=0.1)
    rollouts = run.read_rollouts()
    lost = [line for line in rollouts if line["outcome"] == "retriever_error"]
    assert lost and all(line["reward"] is None and set(line["parts"].values()) == {None} for line in lost)
    assert {line["step"] for line in lost} <= {1, 2}
    logged = [line for line in run.read_metrics() if "train/reward" in line]
    for line in logged:
        of_step = [entry for entry in rollouts if entry["step"] == line["step"]]
        paid = [entry["reward"] for entry in of_step if entry["reward"] is not None]
        assert line["train/reward"] == pytest.approx(np.mean(paid), abs=1e-6)
        assert line["train/outcome/retriever_error"] == pytest.approx(1 - len(paid) / len(of_step))
        assert np.isfinite(line["train/loss"]) and np.isfinite(line["train/grad_norm"])


def test_a_lost_rollout_is_no_zero_to_its_group(tmp_path, random_model, caplog):
    """Advantages are those of the group without it: hand-computed, and 0 for the one that was lost."""
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    trainer = WatchedGRPO(steps=1, trl=TRL, rollouts_every=1, failure_budget=0.1)
    policy = Part("transformers", {"model": str(random_model), "max_new_tokens": 6})
    trainer.train(policy, environment(lost=[3]), run, seed=3, evaluation=VALIDATION)
    rewards = np.array([np.nan if line["reward"] is None else line["reward"] for line in run.read_rollouts()])
    groups = rewards.reshape(-1, 4)
    assert np.isnan(groups).sum() == 1
    expected = (groups - np.nanmean(groups, 1, keepdims=True)) / (np.nanstd(groups, 1, ddof=1, keepdims=True) + 1e-4)
    advantages = np.array(trainer.loop.trainer._logs["advantages"])
    np.testing.assert_allclose(advantages, np.nan_to_num(expected).ravel(), atol=1e-4)
    assert "All reward functions returned None" not in caplog.text  # the outcomes say it


def test_past_the_budget_the_run_saves_its_state_and_stops_with_the_reason(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match=r"no connection; \d+ of the last 32 rollouts have no reward, .* allows 1 in"):
        go(run, environment(lost=[3, 4, 5]), random_model, failure_budget=0.001)
    assert list(Checkpoints(run.path / "checkpoints").steps()) == [1]


def test_without_a_budget_the_first_lost_rollout_stops_the_run(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match=r"trainer.failure_budget 0 allows 0 in 1000"):
        go(run, environment(lost=[3]), random_model)
    assert [line["step"] for line in run.read_metrics()] == [0]
    assert not (run.path / "rollouts.jsonl").exists()


def test_another_catalog_seed_or_number_of_processes_is_not_the_same_run(tmp_path):
    Run.create(tmp_path / "run", {}, {"seed": 3, "catalog": "abc", "world_size": 1}).finish("failed")
    with pytest.raises(RunError, match="it started with catalog abc, world_size 1, and now it is catalog abd"):
        Run.resume(tmp_path / "run", {"seed": 3, "catalog": "abd", "world_size": 2})


def test_a_run_that_is_being_trained_is_left_alone(tmp_path):
    running = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(RunError, match="is being trained by another process"):
        Run.resume(tmp_path / "run", {})
    running.finish("interrupted")
    assert Run.resume(tmp_path / "run", {}).facts()["status"] == "running"


def write_checkpoint(checkpoints, step):
    (checkpoints.part / f"checkpoint-{step}").mkdir(parents=True)
    (checkpoints.part / f"checkpoint-{step}" / "weights").write_text(json.dumps(step))


def test_a_half_written_checkpoint_is_not_loaded(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        write_checkpoint(checkpoints, step)
        if step < 3:
            checkpoints.complete(step)
    assert checkpoints.newest(print) == (2, tmp_path / "checkpoint-2")
    checkpoints.complete(3)
    assert list(checkpoints.steps()) == [2, 3]
    (checkpoints.part / "checkpoint-4").mkdir()
    checkpoints.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]


@pytest.mark.parametrize("keep", [None, 0, -1])
def test_no_limit_keeps_all_checkpoints(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, keep=keep)
    for step in (1, 2, 3):
        write_checkpoint(checkpoints, step)
        checkpoints.complete(step)
    assert list(checkpoints.steps()) == [1, 2, 3]


class Refusing(Addition):
    """An addition that refuses its trainer."""

    def __setattr__(self, name, value):
        raise UserError("reward 'own': a message of ours")


class RefusingGRPO(GRPO):
    def _additions(self, learner, monitor):
        return [Refusing()]


def test_an_error_of_ours_is_not_called_one_of_trl(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {}, {})
    part = Part("transformers", {"model": str(random_model), "max_new_tokens": 6})
    with pytest.raises(UserError, match=r"^reward 'own': a message of ours$"):
        RefusingGRPO(steps=1, trl=TRL).train(part, environment(), run, seed=1, evaluation=VALIDATION)
