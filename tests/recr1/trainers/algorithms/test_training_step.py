"""Rewards that move with the step of training move alike in a run that stopped and went on."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from retrievers.errors import EngineError
from tests.recr1.trainers.layers.test_resume import Failing, Vowels, same

ANNEALED = {"type": "annealed", "measure": "Success@1", "start": 16, "steps": 4}
SPEC = EvaluationSpec(split="validation", measures=("Success@1",), every=100, keep="last")
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "save_strategy": "no"}


class Steps:
    """Pays nothing and shows the step: -1 in evaluation."""

    name = "steps"

    def __call__(self, batch):
        return np.full(len(batch), -1 if batch.training_step is None else batch.training_step, np.float32)


def environment(**faults):
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    paid = [(Part.from_dict(ANNEALED), 1.0), (Part("tests.recr1.trainers.layers.test_resume:Vowels"), 1.0)]
    env = open_environment(task, Part("bm25"), [*paid, (Part(f"{__name__}:Steps"), 0.0)], 16)
    if faults:
        env.retriever = Failing(env.retriever, **faults)
    return env


def go(run, env, model):
    policy = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    GRPO(steps=4, trl=TRL, rollouts_every=1).train(policy, env, run, seed=3, evaluation=SPEC)
    run.finish("finished")
    return run


def test_the_step_is_that_of_the_run_also_where_it_stopped_in_between(tmp_path, random_model):
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model)
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match="no connection"):
        go(run, environment(raised=[5]), random_model)  # two searches before the first step, then one a step
    run.finish("failed")
    same(whole, go(Run.resume(tmp_path / "run", {}), environment(), random_model))
    told = [line["train/reward/steps"] for line in whole.read_metrics() if "train/reward/steps" in line]
    assert told == [0, 1, 2, 3]
    assert Vowels.name in whole.read_rollouts()[0]["parts"]
