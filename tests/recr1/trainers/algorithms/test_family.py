"""The relatives of GRPO, as the table of docs/algorithms/grpo.md says to make them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from tests.docs.pages import read
from tests.recr1.trainers.layers.test_resume import environment

ROWS = re.findall(r"^\| ([^|]+?) \| `(\{.*?\})` \|", read("docs/algorithms/grpo.md"), re.MULTILINE)
FAMILY = {name: yaml.safe_load(keys) for name, keys in ROWS}
TRL = {
    "num_generations": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
    "learning_rate": 1e-2,
}
"""Two updates for each generation, so that ratios are not 1 in the second."""


def test_the_table_has_the_family():
    assert {"GRPO", "DAPO", "Dr. GRPO", "BNPO", "GSPO", "CISPO", "SAPO", "VESPO", "LUSPO"} <= set(FAMILY)
    losses = {keys["loss_type"] for keys in FAMILY.values() if "loss_type" in keys}
    assert losses == {"grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "vespo", "luspo"}


@pytest.mark.parametrize("keys", FAMILY.values(), ids=FAMILY)
def test_a_recipe_takes_the_keys_of_each(keys):
    overrides = [f"trainer.trl.{key}={value}" for key, value in keys.items()]
    recipe = load_recipe("quickstart", overrides)
    assert keys.items() <= recipe.trainer.options["trl"].items()


def go(folder, model, keys, steps=2):
    run = Run.create(folder, {"seed": 3}, {})
    policy = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=100, keep="last")
    GRPO(steps=steps, trl=keys).train(policy, environment(), run, seed=3, evaluation=spec)
    run.finish("finished")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("keys", FAMILY.values(), ids=FAMILY)
def test_each_takes_two_steps_of_its_own(tmp_path, random_model, keys):
    run = go(tmp_path / "run", random_model, {**TRL, **keys})
    steps = [line for line in run.read_metrics() if "train/loss" in line]
    assert len(steps) == 2
    assert all(np.isfinite(line["train/loss"]) and line["train/grad_norm"] > 0 for line in steps)
    assert all(line["train/frac_reward_zero_std"] < 1 for line in steps[:1])
    start, trained = (load_file(path / "model.safetensors") for path in (random_model, run.policy_path))
    assert any((start[name] != trained[name]).any() for name in trained if name in start)


@pytest.mark.slow
def test_no_two_of_the_family_learn_the_same(tmp_path):
    """On completions of different lengths; the two-sided clip needs ratios above 4, which two updates do not reach."""
    norms = {}
    for name, keys in FAMILY.items():
        run = go(tmp_path / name, "tiny-shopper", {**TRL, "learning_rate": 3e-3, **keys})
        norms[name] = tuple(line["train/grad_norm"] for line in run.read_metrics() if "train/loss" in line)
    assert norms.pop("two-sided clip") == norms["DAPO"]
    assert len(set(norms.values())) == len(norms), norms


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"loss_type": "cispo"},
            "trl.epsilon_high: the loss cispo needs it, as the bound of a token's weight; try 5.0",
        ),
        ({"loss_type": "luspo"}, "trl.importance_sampling_level: the loss luspo is one of whole completions"),
    ],
)
def test_keys_that_mean_something_else_are_refused(keys, message):
    assert [problem for problem in GRPO.check_options({"steps": 1, "trl": keys}) if problem.startswith(message)]


def test_a_step_whose_completions_were_all_cut_is_told_once(tmp_path, random_model, capsys):
    keys = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
    run = go(tmp_path / "run", random_model, {**keys, "mask_truncated_completions": True})
    cut = [line["train/completions/clipped_ratio"] for line in run.read_metrics() if "train/loss" in line]
    assert min(cut) >= 0.5  # a random model hardly ever ends within six tokens
    told = [line for line in capsys.readouterr().out.splitlines() if "mask_truncated_completions" in line]
    assert told == [
        f"trl.mask_truncated_completions left {cut[0]:.0%} of the completions of step 1 out of the update: they "
        "reached policy.max_new_tokens (6) without an end; raise it, or leave the key out"
    ]


@pytest.mark.parametrize(("share", "lines"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)])
def test_a_few_that_were_cut_are_no_news(share, lines):
    from transformers import TrainerControl, TrainerState

    from recr1.trainers.trl.classes import MonitorCallback

    said = []
    view = SimpleNamespace(say=said.append)
    callback = MonitorCallback(SimpleNamespace(view=view, log=lambda *_: None, ended=False))
    args = SimpleNamespace(mask_truncated_completions=True, max_completion_length=12)
    for step in (1, 2):
        state = TrainerState(global_step=step)
        callback.on_log(args, state, TrainerControl(), logs={"completions/clipped_ratio": share})
    assert len(said) == lines
