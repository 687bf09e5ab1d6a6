"""Adapters of all kinds learn; what is saved of them says what was trained; and a run with one goes on exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import Part
from recr1.errors import UserError
from recr1.policies.transformers import Transformers, save_merged
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.actor_critic import ActorCritic
from recr1.trainers.ppo import PPO
from recr1.trainers.sft import SFT
from tests.recr1.trainers.algorithms.families import make
from tests.recr1.trainers.algorithms.test_families import LAST, assert_saved_as_validated, go
from tests.recr1.trainers.algorithms.test_ppo import curve, environment, new
from tests.recr1.trainers.layers.test_resume import TRL, same, stopped
from tests.recr1.trainers.layers.test_resume import environment as unfailing
from tests.recr1.trainers.layers.test_resume import go as steps
from tests.recr1.trainers.watched import added

pytestmark = pytest.mark.slow
CHATS = [[{"role": "user", "content": text}] for text in ("a red sofa", "something to nap on, in wool", "a fan")]
FAST = {"learning_rate": 0.1}
KINDS = {
    "lora": {"lora_rank": 4},
    "some layers, with dropout": {
        "lora_rank": 2,
        "lora_alpha": 8,
        "lora_dropout": 0.2,
        "lora_targets": ["q_proj", "down_proj"],
    },
    "dora": {"lora_rank": 4, "use_dora": True},
    "qlora": {"lora_rank": 4, "load_in_4bit": True},
    "qdora": {"lora_rank": 4, "load_in_4bit": True, "use_dora": True},
}


@pytest.fixture
def needs_4bit(request):
    if "q" in request.node.callspec.params["kind"][0]:
        pytest.importorskip("bitsandbytes", reason="pip install 'recr1[qlora]'")


@pytest.mark.usefixtures("needs_4bit")
@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_policy_says_what_was_trained(tmp_path, random_model, kind):
    run, loop = go(tmp_path / "run", random_model, GRPO, policy=KINDS[kind], trl={**FAST, "beta": 0.01})
    assert_saved_as_validated(run, loop)
    assert np.isfinite(curve(run, "train/kl")).all()
    assert min(curve(run, "train/grad_norm")) > 0
    assert sorted(path.name for path in (run.path / "adapter").glob("adapter*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not list(run.policy_path.glob("adapter*"))
    assert "quantization_config" not in json.loads((run.policy_path / "config.json").read_text())


@pytest.mark.usefixtures("needs_4bit")
@pytest.mark.parametrize("kind", KINDS)
def test_merging_changes_no_greedy_completion_and_logits_by_rounding_alone(tmp_path, random_model, kind):
    import torch

    from recr1.policies.transformers import save

    policy = Transformers(model=str(random_model), max_new_tokens=6, **KINDS[kind])
    start = policy.generate(CHATS, 0)
    torch.manual_seed(0)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    policy.model.eval()
    ids = torch.randint(5, 100, (3, 9))
    with torch.no_grad():
        before, said = policy.model(input_ids=ids).logits, policy.generate(CHATS, 0)
    save(policy.model, policy.tokenizer, tmp_path / "policy", tmp_path / "adapter")
    after = Transformers(model=str(tmp_path / "policy"), max_new_tokens=6)
    assert said != start
    assert after.generate(CHATS, 0) == said
    with torch.no_grad():
        torch.testing.assert_close(after.model(input_ids=ids).logits, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_adapter_that_is_kept_makes_the_same_policy_with_its_model(tmp_path, random_model, kind):
    import torch

    run, loop = go(tmp_path / "run", random_model, GRPO, policy=KINDS[kind], trl=FAST)
    save_merged(run.path / "adapter", loop.monitor.validator.policy.tokenizer, tmp_path / "again", dtype=torch.float32)
    one, other = (load_file(folder / "model.safetensors") for folder in (run.policy_path, tmp_path / "again"))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.usefixtures("needs_4bit")
@pytest.mark.parametrize("critic", ["head", "model"])
@pytest.mark.parametrize("kind", ["dora", "qlora"])
def test_ppo_trains_it_and_its_critic(tmp_path, random_model, kind, critic):
    options = {"critic": critic, "critic_learning_rate": 1e-2}
    run, loop = go(tmp_path / "run", random_model, PPO, policy=KINDS[kind], **options)
    assert min(curve(run, "train/value/grad_norm")) > 0
    assert min(curve(run, "train/grad_norm")) > 0
    critic = added(loop.trainer, ActorCritic).critic
    assert not any("lora" in name for name in critic.weights.state_dict())
    assert all(weight.is_floating_point() for weight in critic.weights.parameters())


@pytest.mark.usefixtures("needs_4bit")
@pytest.mark.parametrize("kind", ["dora", "qlora"])
def test_sft_trains_it(tmp_path, random_model, kind):
    table = tmp_path / "pairs.tsv"
    table.write_text("need\tquery\na lamp for reading at night\tred lamp\nsomewhere to sleep outside\tblue tent\n")
    pairs = {"type": "file", "path": str(table)}
    part = Part("transformers", {"model": str(random_model), "max_new_tokens": 20, **KINDS[kind]})
    run = new(tmp_path / "run")
    trl = {"per_device_train_batch_size": 2, "learning_rate": 1e-2}
    SFT(steps=4, trl=trl, pairs=pairs).train(part, environment(), run, seed=3, evaluation=LAST)
    losses = curve(run, "train/loss")
    assert losses[-1] < losses[0]
    assert (run.path / "adapter" / "adapter_config.json").is_file()


@pytest.mark.parametrize("policy", [{}, {"lora_rank": 4}], ids=["all weights", "lora"])
def test_recomputing_activations_changes_no_number(tmp_path, random_model, policy):
    found = []
    for recompute in (False, True):
        trl = {"gradient_checkpointing": recompute, "beta": 0.01}
        run, loop = go(tmp_path / f"{recompute}", random_model, GRPO, policy=policy, trl=trl)
        found.append([curve(run, f"train/{name}") for name in ("loss", "reward", "grad_norm", "kl", "entropy")])
        assert loop.trainer.model.is_gradient_checkpointing == recompute
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "qwen3_moe"])
@pytest.mark.parametrize("policy", [{}, {"lora_rank": 4}], ids=["all weights", "lora"])
def test_in_half_precision_it_learns_and_is_saved_so(tmp_path, random_model, family, policy):
    from transformers import AutoTokenizer

    start = make(tmp_path / family, family, AutoTokenizer.from_pretrained(random_model))
    options = {**policy, "dtype": "bfloat16"}
    run, _ = go(tmp_path / "run", start, PPO, policy=options, trl={"bf16": True, "gradient_checkpointing": True})
    assert run.facts()["computed_in"] == "bfloat16"
    assert np.isfinite(curve(run, "train/loss") + curve(run, "train/value/loss")).all()
    assert min(curve(run, "train/grad_norm")) > 0
    assert json.loads((run.policy_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert Transformers(model=str(run.policy_path), max_new_tokens=6).generate(CHATS, 0)


@pytest.mark.usefixtures("needs_4bit")
@pytest.mark.parametrize("kind", ["some layers, with dropout", "qdora"])
def test_a_run_that_stopped_goes_on_to_the_last_bit(tmp_path, random_model, kind):
    options = {"policy": KINDS[kind], "trl": {**TRL, "beta": 0.01, "save_strategy": "no"}}
    whole = steps(new(tmp_path / "whole"), unfailing(), random_model, **options)
    stopped(tmp_path / "run", random_model, unfailing(raised=[6]), **options)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["computed_in"] == "float32"
    same(whole, steps(Run.resume(tmp_path / "run", {}), unfailing(), random_model, **options))


def test_the_adapter_of_4_bit_weights_learns_in_full_precision(tmp_path, random_model):
    pytest.importorskip("bitsandbytes", reason="pip install 'recr1[qlora]'")
    run, _ = go(tmp_path / "run", random_model, GRPO, policy=KINDS["qdora"])
    kept = load_file(run.path / "adapter" / "adapter_model.safetensors")
    assert {weight.dtype.name for weight in kept.values()} == {"float32"}


def test_layers_that_are_not_there_are_named_with_those_that_are(random_model):
    with pytest.raises(UserError, match=r"no linear layers 'qkv'; it has down_proj, gate_proj, k_proj"):
        Transformers(model=str(random_model), lora_rank=2, lora_targets=["q_proj", "qkv"])
