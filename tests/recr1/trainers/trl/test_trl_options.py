"""TRL's own keys are known without importing TRL."""

import dataclasses
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from recr1.errors import UserError
from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO
from recr1.trainers.sft import SFT
from recr1.trainers.trl.bounds import BOUNDS, ELSEWHERE
from recr1.trainers.trl.options import trl_options
from retrievers.options import value_problems


@pytest.mark.slow
def test_the_fields_read_from_source_are_those_of_the_class():
    from trl import GRPOConfig

    assert set(trl_options("GRPOConfig")) == {field.name for field in dataclasses.fields(GRPOConfig)}


def test_every_key_that_a_recipe_says_elsewhere_is_a_field_of_trl():
    assert set(ELSEWHERE) <= set(trl_options("GRPOConfig"))


def test_reading_the_fields_imports_neither_trl_nor_torch():
    code = (
        "import sys\n"
        "from recr1.trainers.trl.options import trl_options\n"
        "assert len(trl_options('GRPOConfig')) > 100\n"
        "assert not {'trl', 'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"trl": {"lerning_rate": 1e-5}},
            "trl.lerning_rate: GRPOConfig has no such field; did you mean 'learning_rate'?",
        ),
        ({"trl": {"learning_rate": "fast"}}, "trl.learning_rate: must be a number >= 0, got 'fast'"),
        ({"trl": {"num_generations": 2.5}}, "trl.num_generations: must be an integer >= 2 (a group of one has"),
        ({"trl": {"max_completion_length": 64}}, "trl.max_completion_length: not here: set policy.max_new_tokens"),
        ({"trl": {"seed": 1}}, "trl.seed: not here: set seed at the top of the recipe"),
    ],
)
def test_a_wrong_key_is_named_with_its_remedy(options, message):
    assert any(problem.startswith(message) for problem in GRPO.check_options({"steps": 1, **options}))


IMPOSSIBLE = {
    "learning_rate": [-1e-5, float("inf"), float("nan"), True, "1e-5", None],
    "temperature": [0, -1],
    "top_p": [2, 0, -0.1],
    "top_k": [-1, 1.5],
    "min_p": [1.5, -0.1],
    "num_generations": [0, 1, -8, None, True],
    "per_device_train_batch_size": [0, -1, 8.0],
    "gradient_accumulation_steps": [0],
    "num_iterations": [0],
    "save_steps": [0, -1],
    "optim": ["adamm", 3, None],
    "lr_scheduler_type": ["cosinus", "reduce_lr_on_plateau"],
    "save_strategy": ["best", "never"],
    "loss_type": ["gpro", 1],
    "scale_rewards": ["groups", 1],
    "vllm_mode": ["colocated"],
    "vllm_gpu_memory_utilization": [0, 1.5, 30],
    "vllm_server_port": [0, 99999],
    "beta": [-1, "0.04", False],
    "epsilon": [0, -0.2],
    "epsilon_high": [-1],
    "delta": [0.5],
    "warmup_steps": [-1, float("nan")],
    "weight_decay": [-0.1],
    "adam_beta1": [1, 1.9],
    "max_grad_norm": [-1],
    "repetition_penalty": [0],
    "use_vllm": ["no", 1],
    "bf16": ["yes"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in IMPOSSIBLE.items() for value in values])
def test_a_value_that_cannot_be_is_refused_at_its_key(key, value):
    (problem,) = GRPO.check_options({"steps": 1, "trl": {key: value}})
    assert problem.startswith(f"trl.{key}: must be ")
    assert problem.endswith(f", got {value!r}")


@pytest.mark.parametrize(
    ("trainer", "keys", "problem"),
    [
        (RLOO, {"reward_clip_range": [1]}, "trl.reward_clip_range: must be a list of numbers (the lowest, then the"),
        (
            RLOO,
            {"reward_clip_range": [1, -1]},
            "trl.reward_clip_range: the lowest is not below the highest, got [1, -1]",
        ),
        (RLOO, {"sync_ref_model": True, "beta": 0}, "trl.sync_ref_model: with beta 0 there is no reference policy"),
        (
            GRPO,
            {"generation_kwargs": {"top_p": 2, "num_beams": 1}},
            "trl.generation_kwargs.top_p: must be a number > 0 and <= 1, got 2",
        ),
        (GRPO, {"sync_ref_model": True}, "trl.sync_ref_model: with beta 0 there is no reference policy"),
        (
            SFT,
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"num_cycles": 1}},
            "trl.lr_scheduler_kwargs: the schedule cosine_with_min_lr needs min_lr or min_lr_rate here",
        ),
        (RLOO, {"num_generations": 1}, "trl.num_generations: must be an integer >= 2"),
        (PPO, {"num_generations": 0}, "trl.num_generations: must be an integer >= 1, got 0"),
        (SFT, {"loss_type": "grpo"}, "trl.loss_type: must be one of 'nll', 'dft', 'chunked_nll', got 'grpo'"),
        (SFT, {"learning_rate": -1}, "trl.learning_rate: must be a number >= 0, got -1"),
    ],
)
def test_each_trainer_has_its_own_bounds(trainer, keys, problem):
    (found,) = trainer.check_options({"steps": 1, "trl": keys})
    assert found.startswith(problem)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GRPOConfig", "RLOOConfig", "SFTConfig"])
def test_every_default_of_trl_is_within_its_bounds(name):
    import trl

    defaults = {field.name: field.default for field in dataclasses.fields(getattr(trl, name))}
    known = trl_options(name)
    plain = {key: value for key, value in defaults.items() if value is None or type(value) in (bool, int, float, str)}
    wrong = [one for key, value in plain.items() for one in value_problems(known[key].annotation, value, key)]
    # Of transformers, whose annotations are not those of their defaults; a recipe that leaves a key out has no value.
    assert {problem.path for problem in wrong} <= {"max_steps", "report_to", "output_dir"}


def test_the_losses_are_those_that_trl_computes():
    source = Path(find_spec("trl").origin).with_name("trainer") / "grpo_trainer.py"
    compared = re.findall(r"self\.loss_type (?:==|in) (\[.*?\]|\".*?\")", source.read_text(encoding="utf-8"))
    computed = {loss for found in compared for loss in re.findall(r'"(\w+)"', found)}
    assert computed == set(get_args(BOUNDS["loss_type"]))


def test_every_bound_is_that_of_a_key_of_trl():
    assert BOUNDS.keys() <= {key for name in ("GRPOConfig", "RLOOConfig", "SFTConfig") for key in trl_options(name)}


def test_right_keys_pass():
    keys = {"num_generations": 8, "learning_rate": 1e-5, "beta": 0, "loss_type": "dr_grpo", "use_vllm": True}
    keys |= {"bf16": True, "tf32": True, "optim": "paged_adamw_8bit", "warmup_steps": 0.1, "epsilon_high": None}
    keys |= {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 5}}
    assert GRPO.check_options({"steps": 1, "trl": keys}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: must be an integer >= 1, got 0"),
        ({"failure_budget": 1.0}, "failure_budget: must be a number >= 0 and < 1, got 1.0"),
        ({"rollouts_every": -1}, "rollouts_every: must be an integer >= 0, got -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        GRPO(**{"steps": 1, **options})
