"""What training needs, from the config alone: counted as the real thing counts, and term by term by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from recr1 import cli
from recr1.build import Part
from recr1.errors import UserError
from recr1.memory import Load, Shape, estimate, load_of, shape_of

SHAPE = Shape(1000, 300, layers=2, hidden=8, inner=16, keys=4, vocabulary=50, dtype="bfloat16")

SMALL = ["task.items=200", "task.train=20", "task.validation=5", "task.test=5"]


def load(**changes):
    plain = Load(8, 4, 6, 10, False, False, False, 0, 4, 4, 8, 0.0)
    return replace(plain, **changes)


def test_parameters_are_those_of_the_model(random_model):
    import transformers

    shape = shape_of(str(random_model))
    model = transformers.AutoModelForCausalLM.from_pretrained(random_model)
    assert shape.parameters == model.num_parameters()
    assert (shape.layers, shape.hidden, shape.inner, shape.vocabulary) == (2, 32, 48, model.config.vocab_size)
    assert shape.keys == 32


@pytest.mark.slow
def test_an_adapter_has_the_parameters_that_peft_gives_it(random_model):
    peft = pytest.importorskip("peft", reason="pip install 'recr1[train]'")
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(random_model)
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trained = sum(p.numel() for p in peft.get_peft_model(model, config).parameters() if p.requires_grad)
    assert 4 * shape_of(str(random_model)).linear == trained


def test_full_training_holds_four_copies_of_the_weights():
    found = estimate(SHAPE, load(), device="cpu")
    assert [found[name] for name in ("weights", "gradients", "optimizer", "reference")] == [4000, 4000, 8000, 0]
    assert estimate(SHAPE, load(reference=True), device="cpu")["reference"] == 4000
    critic = estimate(SHAPE, load(critic=True), device="cpu")
    assert [critic[name] for name in ("weights", "gradients", "optimizer")] == [8000, 8000, 16000]


def test_an_adapter_is_all_that_has_gradients_and_optimizer():
    found = estimate(SHAPE, load(lora_rank=2, weight_bytes=2), device="cpu")
    # 2 * 300 numbers of 4 bytes beside 1,000 weights of 2.
    assert [found[name] for name in ("weights", "gradients", "optimizer")] == [2000 + 2400, 2400, 4800]


def test_the_cache_keeps_keys_and_values_of_each_token_and_layer():
    # 8 rows of 16 tokens, two layers, 4 numbers each of keys and values, 4 bytes.
    assert estimate(SHAPE, load(), device="cpu")["KV cache"] == 8 * 16 * 2 * 2 * 4 * 4
    inside = estimate(SHAPE, load(vllm_share=0.3), device="cuda", there=1e6)
    assert (inside["KV cache"], inside["vLLM"]) == (0, 3e5)


def test_recomputing_keeps_the_inputs_of_layers_and_one_layer():
    layer = 4 * 16 * (14 * 8 + 4 * 4 + 4 * 16) * 4
    assert estimate(SHAPE, load(), device="cpu")["activations"] == 2 * layer
    assert estimate(SHAPE, load(recompute=True), device="cpu")["activations"] == layer + 4 * 16 * 8 * 2 * 4


def test_the_peak_is_what_is_held_and_the_larger_of_generating_and_updating():
    found = estimate(SHAPE, load(), device="cpu")
    held = sum(found[name] for name in ("runtime", "weights", "gradients", "optimizer"))
    assert found["peak"] == held + found["activations"] + found["logits"]
    many = estimate(SHAPE, load(rows=100_000), device="cpu")
    assert many["peak"] == held + many["KV cache"] + many["logits of a token"]


@pytest.mark.parametrize(
    ("policy", "trainer", "gpu", "expected"),
    [
        ({}, {}, True, {"weight_bytes": 4, "compute_bytes": 2, "recompute": True, "moments": 8, "rows": 8, "new": 128}),
        ({}, {}, False, {"weight_bytes": 4, "compute_bytes": 4, "recompute": False}),
        ({"lora_rank": 8}, {"beta": 0.1}, True, {"weight_bytes": 2, "lora_rank": 8, "moments": 8, "reference": False}),
        ({"dtype": "bfloat16"}, {"beta": 0.1}, True, {"weight_bytes": 2, "moments": 4, "reference": True}),
        ({}, {"optim": "paged_adamw_8bit"}, True, {"moments": 2}),
        ({}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 16}, True, {"micro": 4, "rows": 64}),
        ({}, {"use_vllm": True}, True, {"vllm_share": 0.3}),
        ({}, {"use_vllm": True, "vllm_mode": "server"}, True, {"vllm_share": 0.0}),
    ],
)
def test_what_a_recipe_does_not_say_is_what_the_trainer_takes(policy, trainer, gpu, expected):
    found = load_of(Part("transformers", policy), Part("grpo", {"trl": trainer}), SHAPE, 7, gpu=gpu)
    assert {name: getattr(found, name) for name in expected} == expected


def test_rloo_has_a_reference_by_default_and_ppo_a_critic_by_option():
    policy = Part("transformers")
    assert load_of(policy, Part("rloo"), SHAPE, 7, gpu=False).reference
    critics = [Part("ppo", {"critic": kind}) for kind in ("model", "head")]
    assert [load_of(policy, trainer, SHAPE, 7, gpu=False).critic for trainer in critics] == [True, False]


def test_the_command_says_each_term_and_whether_it_fits(capsys):
    assert cli.run(["check", "quickstart", *SMALL, "--memory"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^weights +\d+\.\d\d MB$", said, re.MULTILINE) and said.endswith("\nit fits\n")
    assert cli.run(["check", "quickstart", *SMALL, "--gpu-gb", "0.5"]) == 0
    assert "it will not fit: smaller micro-batches" in capsys.readouterr().out


def test_a_recipe_that_trains_nothing_has_no_estimate(capsys):
    assert cli.run(["check", "toy/echo", "--memory"]) == 2
    assert "--memory is about training" in capsys.readouterr().err


def test_a_model_without_a_config_is_refused():
    with pytest.raises(UserError, match=r"policy\.model: cannot read the config of"):
        shape_of("/nowhere/at/all")
