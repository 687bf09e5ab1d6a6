"""Models of several families learn, and what is saved of them says what they say."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.policies.transformers import Transformers
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.actor_critic import ActorCritic
from recr1.trainers.ppo import PPO
from tests.recr1.trainers.algorithms.families import CONFIGS, make
from tests.recr1.trainers.algorithms.test_ppo import TRL, curve, environment, new
from tests.recr1.trainers.watched import WATCHED, added

LAST = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model_of(random_model, tmp_path_factory):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_model)
    return lambda family: make(tmp_path_factory.mktemp(family), family, tokenizer)


def go(folder, model, trainer, *, policy=None, trl=None, **options):
    """A run of two steps, and its trainer."""
    run = new(folder)
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6, **(policy or {})})
    watched = WATCHED[trainer](steps=2, trl={**TRL, **(trl or {})}, **options)
    watched.train(part, environment(), run, seed=3, evaluation=LAST)
    run.finish("finished")
    return run, watched.loop


def assert_learned(run, start):
    """Two steps with finite numbers, and weights that moved."""
    for name in ("train/loss", "train/reward", "train/grad_norm", "train/entropy"):
        assert len(curve(run, name)) == 2
        assert np.isfinite(curve(run, name)).all()
    before, after = load_file(start / "model.safetensors"), load_file(run.policy_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)


@pytest.mark.parametrize("family", CONFIGS)
def test_grpo_trains_it(tmp_path, model_of, family):
    start = model_of(family)
    run, _ = go(tmp_path / "run", start, GRPO, trl={"beta": 0.01})
    assert_learned(run, start)
    balance = curve(run, "train/aux_loss")  # of the router
    assert len(balance) == (2 if "router_aux_loss_coef" in CONFIGS[family][1] else 0)
    assert np.isfinite(balance).all()


@pytest.mark.parametrize("critic", ["head", "model"])
@pytest.mark.parametrize("family", CONFIGS)
def test_ppo_trains_it_and_its_critic(tmp_path, model_of, family, critic):
    start = model_of(family)
    run, loop = go(tmp_path / "run", start, PPO, critic=critic, critic_learning_rate=1e-2)
    assert_learned(run, start)
    assert np.isfinite(curve(run, "train/value/loss")).all()
    assert min(curve(run, "train/value/grad_norm")) > 0
    assert added(loop.trainer, ActorCritic).critic.head.weight.abs().max() > 0


@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_saved_says_what_was_trained(tmp_path, model_of, family):
    run, loop = go(tmp_path / "run", model_of(family), GRPO, trl={"learning_rate": 0.1})
    assert_saved_as_validated(run, loop)


def assert_saved_as_validated(run, loop):
    """What was measured of the policy in training at its end is measured of the saved one, and was not at its start."""
    first, last = [line for line in run.read_metrics() if "eval/validation/reward" in line]
    validator = loop.monitor.validator
    validator.policy = Transformers(model=str(run.policy_path), max_new_tokens=6)
    again = validator().numbers
    assert {name: last[name] for name in again} == again
    assert {name: first[name] for name in again} != again
