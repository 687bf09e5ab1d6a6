"""Weights that are finite and far too large: the error says where and what to do, and the best policy stays."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.errors import DivergedError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.generation import NotFiniteError, finite
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO
from tests.recr1.trainers.layers.test_resume import TRL, environment

RARE = EvaluationSpec(split="validation", measures=("nDCG@10",), every=5)
HUGE = {**TRL, "learning_rate": 1e30, "save_steps": 1}
AFTER_ONE = (
    r"after step 1 nothing can be sampled from the policy: .* Lower trainer.trl.learning_rate \(1e\+30\), or set a "
    r"lower trainer.trl.max_grad_norm \(1\), and train anew"
)


def train(trainer, run, model, *, evaluation=RARE, trl=HUGE, steps=5):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    trainer(steps=steps, trl=trl).train(part, environment(), run, seed=1, evaluation=evaluation)


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    "trainer", [GRPO, pytest.param(RLOO, marks=pytest.mark.slow), pytest.param(PPO, marks=pytest.mark.slow)]
)
def test_a_policy_that_says_nothing_any_more_ends_the_run_with_the_best_one_kept(tmp_path, random_model, trainer):
    run = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(DivergedError, match=AFTER_ONE + "; the policy of step 0, the best, is kept"):
        train(trainer, run, random_model)
    kept, start = weights(run.policy_path), weights(random_model)
    assert all(np.array_equal(kept[name], start[name]) for name in start)
    card = run.facts()["policy"]
    assert (card["keep"], card["step"], card["chosen_on"]) == ("best", 0, "validation")
    # It was no broken number that ended it: those are another alarm.
    moved = weights(run.path / "checkpoints" / "checkpoint-1")
    assert all(np.isfinite(values).all() for values in moved.values())
    assert max(np.abs(values).max() for values in moved.values()) > 1e20


def test_going_on_ends_with_the_same_words(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {}, {})
    for again in (run, None):
        with pytest.raises(DivergedError, match=AFTER_ONE):
            train(GRPO, again or Run.resume(run.path, {}), random_model)
        run.finish("failed")
    assert [line["step"] for line in run.read_metrics()] == [0, 1]


def test_without_a_best_policy_no_useless_one_is_left(tmp_path, random_model):
    run = Run.create(tmp_path / "run", {}, {})
    last = replace(RARE, keep="last", alarm=replace(RARE.alarm, action="warn"))
    with pytest.raises(DivergedError, match=r"max_grad_norm \(off\), and train anew$"):
        train(GRPO, run, random_model, evaluation=last, trl={**HUGE, "max_grad_norm": 0.0})
    assert not run.policy_path.exists() and "policy" not in run.facts()


@pytest.mark.slow
def test_the_command_says_it_in_one_line_and_does_not_advise_to_go_on(tmp_path, random_model):
    recipe = {
        "seed": 0,
        "task": {"type": "toy", "format": {"type": "plain", "prompt": "{need}"}},
        "retriever": {"type": "bm25"},
        "k": 10,
        "rewards": [{"type": "tests.recr1.trainers.layers.test_resume:Vowels"}],
        "policy": {"type": "transformers", "model": str(random_model), "max_new_tokens": 6},
        "trainer": {"type": "grpo", "steps": 5, "trl": HUGE},
    }
    (tmp_path / "huge.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "recr1", "train", tmp_path / "huge.yaml", "--out", tmp_path / "run"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("after step 1 nothing can be sampled") == 1
    assert "resume with" not in done.stdout
    facts = Run.open(tmp_path / "run").facts()
    assert facts["status"] == "failed" and facts["error"].startswith("DivergedError: after step 1 nothing")


@pytest.mark.parametrize("row", [["nan", 0.0], [0.0, "inf"], ["-inf", "-inf"]])
def test_a_row_without_probabilities_is_refused_and_one_with_them_is_left_as_it_is(row):
    import torch

    fine = torch.tensor([[0.5, -torch.inf], [-3.0, 1e30]])
    assert finite(None, fine) is fine
    with pytest.raises(NotFiniteError):
        finite(None, torch.cat([fine, torch.tensor([[float(value) for value in row]])]))
