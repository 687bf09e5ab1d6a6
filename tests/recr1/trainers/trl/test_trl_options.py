"""TRL's own keys are known without importing TRL."""

import dataclasses
import subprocess
import sys

import pytest

from recr1.errors import UserError
from recr1.trainers.base import ELSEWHERE
from recr1.trainers.grpo import GRPO
from recr1.trainers.trl.options import trl_options


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
        ({"trl": {"learning_rate": "fast"}}, "trl.learning_rate: must be a number, got 'fast'"),
        ({"trl": {"num_generations": 2.5}}, "trl.num_generations: must be an integer, or null, got 2.5"),
        ({"trl": {"max_completion_length": 64}}, "trl.max_completion_length: not here: set policy.max_new_tokens"),
        ({"trl": {"seed": 1}}, "trl.seed: not here: set seed at the top of the recipe"),
    ],
)
def test_a_wrong_key_is_named_with_its_remedy(options, message):
    assert any(problem.startswith(message) for problem in GRPO.check_options({"steps": 1, **options}))


def test_right_keys_pass():
    keys = {"num_generations": 8, "learning_rate": 1e-5, "beta": 0, "loss_type": "dr_grpo", "use_vllm": True}
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
