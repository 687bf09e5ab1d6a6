"""RLOO end to end: its advantages by hand, its reference, and a run that goes on as if it had not stopped."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.runs import Run
from recr1.trainers.layers.checkpoints import Checkpoints
from recr1.trainers.rloo import RLOO
from retrievers.errors import EngineError, MissingAnswers
from tests.recr1.trainers.layers.test_resume import CASES, FAULT, SPLIT, environment, same
from tests.recr1.trainers.watched import WatchedRLOO

TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")


def go(run, env, model, *, trl=None, steps=5, policy=None, **options):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6, **(policy or {})})
    trainer = WatchedRLOO(steps=steps, trl=trl or TRL, rollouts_every=1, **options)
    trainer.train(part, env, run, seed=3, evaluation=VALIDATION)
    run.finish("finished")
    return trainer


def fresh_run(folder):
    return Run.create(folder, {"seed": 3}, {})


def curve(run, name):
    return [line[name] for line in run.read_metrics() if name in line]


def leave_one_out(groups):
    """Each reward less the mean of the others of its group; 0 where there is no reward, or no other."""
    advantages = np.zeros_like(groups)
    for group, row in np.ndindex(groups.shape):
        others = [reward for place, reward in enumerate(groups[group]) if place != row and np.isfinite(reward)]
        if others and np.isfinite(groups[group, row]):
            advantages[group, row] = groups[group, row] - np.mean(others)
    return advantages


class Losing:
    """A healthy retriever that has no answer to the first queries of its third search, the first of training."""

    def __init__(self, healthy, queries):
        self.healthy, self.queries, self.calls = healthy, queries, 0

    def search(self, queries, k):
        self.calls += 1
        hits = self.healthy.search(queries, k)
        if self.calls == 3 and self.queries:
            lost = range(self.queries)
            raise MissingAnswers(hits.without(list(lost)), dict.fromkeys(lost, FAULT))
        return hits


@pytest.mark.parametrize("lost", [0, 1, 3], ids=["all answered", "one lost", "one of its group left"])
def test_advantages_leave_one_out_and_a_lost_rollout_counts_in_none(tmp_path, random_model, lost):
    run, env = fresh_run(tmp_path / "run"), environment()
    env.retriever = Losing(env.retriever, lost)
    trainer = go(run, env, random_model, trl={**TRL, "beta": 0.0}, steps=1, failure_budget=0.1)
    rewards = np.array([np.nan if line["reward"] is None else line["reward"] for line in run.read_rollouts()])
    assert np.isnan(rewards).sum() == np.isnan(rewards[:4]).sum() == lost
    expected = leave_one_out(rewards.reshape(-1, 4))
    assert np.abs(expected).max() > 0
    advantages = np.array(trainer.loop.trainer._logs["advantages"])
    np.testing.assert_allclose(advantages, expected.ravel(), atol=1e-6)
    if lost == 3:
        np.testing.assert_array_equal(advantages[:4], 0)
    assert np.isfinite(curve(run, "train/loss")).all()


def test_the_reference_is_the_policy_at_the_start(tmp_path, random_model):
    from transformers import AutoModelForCausalLM

    run = fresh_run(tmp_path / "run")
    trainer = go(run, environment(), random_model, trl={**TRL, "beta": 0.1}, steps=3)
    start = AutoModelForCausalLM.from_pretrained(random_model)
    reference = trainer.loop.trainer.ref_model
    assert all((a == b).all() for a, b in zip(start.parameters(), reference.parameters(), strict=True))
    distance = curve(run, "train/kl")
    assert distance[0] == pytest.approx(0, abs=1e-6)  # nothing was learned yet
    assert distance[-1] > 1e-6


@pytest.mark.parametrize(("trl", "search"), CASES)
def test_a_run_whose_engine_came_back_is_the_run_whose_engine_never_left(tmp_path, random_model, trl, search):
    trl = {**TRL, "save_strategy": "no", **trl}
    whole = fresh_run(tmp_path / "whole")
    go(whole, environment(), random_model, trl=trl)
    run = fresh_run(tmp_path / "run")
    with pytest.raises(EngineError, match="no connection"):
        go(run, environment(raised=[search]), random_model, trl=trl)
    run.finish("failed")
    again = Run.resume(run.path, {})
    go(again, environment(), random_model, trl=trl)
    same(whole, again)


@pytest.mark.slow
def test_a_run_goes_on_from_any_checkpoint(tmp_path, random_model):
    trl = {**TRL, **SPLIT, "num_iterations": 2, "save_steps": 1, "save_total_limit": 100}
    whole = fresh_run(tmp_path / "whole")
    go(whole, environment(), random_model, trl=trl, steps=6)
    for step in (3, 6):
        part = fresh_run(tmp_path / f"from-{step}")
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            (part.path / name).write_text((whole.path / name).read_text())
        part.finish("failed")
        checkpoint = Checkpoints(whole.path / "checkpoints").steps()[step]
        (part.path / "checkpoints").mkdir()
        checkpoint.rename(part.path / "checkpoints" / checkpoint.name)
        again = Run.resume(part.path, {})
        go(again, environment(), random_model, trl=trl, steps=6)
        same(whole, again)


@pytest.mark.slow
def test_lora_is_compared_with_the_weights_below_it(tmp_path, random_model):
    run = fresh_run(tmp_path / "run")
    go(run, environment(), random_model, steps=2, policy={"lora_rank": 4})
    assert curve(run, "train/kl")[0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(curve(run, "train/kl")).all()


def test_the_keys_are_those_of_rloo():
    problems = RLOO.check_options({"steps": 1, "trl": {"loss_type": "dapo"}})
    assert [problem for problem in problems if problem.startswith("trl.loss_type: RLOOConfig has no such field")]
    assert RLOO.check_options({"steps": 1, "trl": {"beta": 0.05, "normalize_advantages": True}}) == []
