"""The formulas of advantages against numbers by hand, and against what TRL computes in training."""

from __future__ import annotations

import math

import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.runs import Run
from recr1.trainers.grpo import group_advantages
from recr1.trainers.rloo import leave_one_out
from tests.recr1.trainers.layers.test_resume import environment
from tests.recr1.trainers.watched import WatchedGRPO, WatchedRLOO

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
NONE = math.nan
ONCE = EvaluationSpec(split="validation", measures=("nDCG@10",), every=100, keep="last")
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}


def close(found, *numbers):
    torch.testing.assert_close(found, torch.tensor(numbers), rtol=0, atol=1e-6)


def test_a_group_is_compared_with_its_mean_in_its_own_deviations():
    """Of 1, 2, 3: mean 2, deviation 1; of 0, 0, 6: mean 2, deviation 3.4641."""
    found = group_advantages(torch.tensor([1.0, 2, 3, 0, 0, 6]), 3, "group")
    close(found, -1 / 1.0001, 0.0, 1 / 1.0001, *(x / (math.sqrt(12) + 1e-4) for x in (-2, -2, 4)))


def test_without_a_scale_it_is_the_difference_alone_and_of_a_batch_the_deviation_is_that_of_all():
    rewards = torch.tensor([1.0, 2, 3, 0, 0, 6])
    close(group_advantages(rewards, 3, "none"), -1.0, 0.0, 1.0, -2.0, -2.0, 4.0)
    deviation = rewards.std().item() + 1e-4
    close(group_advantages(rewards, 3, "batch"), *(x / deviation for x in (-1, 0, 1, -2, -2, 4)))


def test_a_rollout_without_a_reward_counts_in_no_mean_and_has_no_advantage():
    close(group_advantages(torch.tensor([1.0, NONE, 3, NONE, NONE, 5]), 3, "none"), -1.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    close(leave_one_out(torch.tensor([1.0, NONE, 3, NONE, NONE, 5]), 3), -2.0, 0.0, 2.0, 0.0, 0.0, 0.0)


def test_a_flat_group_teaches_nothing():
    close(group_advantages(torch.full((3,), 0.7), 3, "group"), 0.0, 0.0, 0.0)
    close(leave_one_out(torch.ones(3), 3), 0.0, 0.0, 0.0)


def test_the_baseline_is_the_mean_of_the_others():
    close(leave_one_out(torch.tensor([1.0, 2, 6]), 3), 1 - 4.0, 2 - 3.5, 6 - 1.5)


def test_normalized_advantages_have_mean_0_and_deviation_1():
    found = leave_one_out(torch.tensor([1.0, 2, 6, 0, 0, 9]), 3, normalize=True)
    assert found.mean().item() == pytest.approx(0, abs=1e-6)
    assert found.std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("trainer", "keys"),
    [
        (WatchedGRPO, {}),
        (WatchedGRPO, {"scale_rewards": "batch"}),
        (WatchedGRPO, {"scale_rewards": "none", "beta": 0.1}),
        (WatchedRLOO, {"beta": 0.1}),
        (WatchedRLOO, {"beta": 0.1, "normalize_advantages": True, "reward_clip_range": [0.0, 0.4]}),
    ],
)
def test_training_uses_them_and_they_are_those_of_trl_to_the_last_bit(tmp_path, random_model, trainer, keys):
    """TRL logs the advantages that it computes itself, in the order of generation; one reward is missing."""
    made = trainer(steps=2, trl={**TRL, **keys}, failure_budget=0.1)
    seen, algorithm = [], made._algorithm

    def watched(learner, curriculum):
        additions = algorithm(learner, curriculum)
        after = additions[-1].after_scoring

        def record(batch, rewards_B):
            after(batch, rewards_B)
            seen.append(batch["advantages"].tolist())

        additions[-1].after_scoring = record
        return additions

    made._algorithm = watched
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    policy = Part("transformers", {"model": str(random_model), "max_new_tokens": 6})
    made.train(policy, environment(lost=[4]), run, seed=3, evaluation=ONCE)
    assert len(seen) == 2 and seen[-1].count(0.0) >= 1 and max(map(abs, seen[-1])) > 0
    assert seen[-1] == list(made.loop.trainer._logs["advantages"])
