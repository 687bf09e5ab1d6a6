"""PPO end to end: games with a known optimum, and what its critic may not change."""

from __future__ import annotations

import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.layers.actor_critic import ActorCritic
from recr1.trainers.layers.checkpoints import Checkpoints
from recr1.trainers.ppo import PPO
from retrievers.errors import EngineError
from tests.processes import ROOT
from tests.recr1.trainers.algorithms.arms import make_speaker
from tests.recr1.trainers.layers.test_resume import Failing, same
from tests.recr1.trainers.watched import WatchedPPO, added

VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
TASK = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}


def environment(*rewards, **faults):
    rewards = rewards or (
        Part.from_dict({"type": "measure", "measure": "nDCG@10"}),
        Part("tests.recr1.trainers.layers.test_resume:Vowels"),
    )
    env = open_environment(TASK, Part("bm25"), [(reward, 1.0) for reward in rewards], 10)
    if faults:
        env.retriever = Failing(env.retriever, **faults)
    return env


def go(run, env, model, *, trl=None, steps=4, policy=None, cls=PPO, evaluation=VALIDATION, **options):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6, **(policy or {})})
    trainer = cls(steps=steps, trl={**TRL, **(trl or {})}, rollouts_every=1, critic_learning_rate=1e-2, **options)
    trainer.train(part, env, run, seed=3, evaluation=evaluation)
    run.finish("finished")
    return trainer if cls is WatchedPPO else run


def new(folder):
    return Run.create(folder, {"seed": 3}, {})


def curve(run, name):
    return [line[name] for line in run.read_metrics() if name in line]


def play(folder, words, table, *, tokens, steps, **options):
    """The run of a game: completions of a few tokens, paid by a table."""
    model = make_speaker(folder / "speaker", words)
    env = environment(Part("tests.recr1.trainers.algorithms.arms:Pays", {"table": table}))
    trl = {"per_device_train_batch_size": 32, "learning_rate": 2e-2, "lr_scheduler_type": "constant"}
    trl["save_strategy"] = "no"
    options |= {"steps": steps, "evaluation": EvaluationSpec(split="validation", measures=("nDCG@10",), every=steps)}
    return go(new(folder / "run"), env, model, trl=trl, policy={"max_new_tokens": tokens}, **options)


@pytest.mark.parametrize("critic", ["model", pytest.param("head", marks=pytest.mark.slow)])
def test_a_bandit_finds_the_arm_that_pays_most(tmp_path, critic):
    run = play(tmp_path, ["up", "down", "left"], {"left": 1.0, "up": 0.5}, tokens=1, steps=20, critic=critic)
    assert curve(run, "eval/validation/reward")[-1] == 1
    assert np.mean(curve(run, "train/reward")[-5:]) > 0.95
    assert np.mean(curve(run, "train/value/mean")[-5:]) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["head", "model"])
def test_a_chain_is_walked_to_its_end_past_a_smaller_reward_on_the_way(tmp_path, critic):
    """Who says "up up" and ends earns 1, who says "down" and ends .3; random ones earn .14.

    At the optimum the three tokens are worth .25, .5 and 1 with gamma .5: .583 on average, and the critic knows.
    """
    options = {"gamma": 0.5, "critic": critic}
    run = play(tmp_path, ["up", "down"], {"up up": 1.0, "down": 0.3}, tokens=3, steps=45, **options)
    assert curve(run, "eval/validation/reward")[-1] == 1
    assert np.mean(curve(run, "train/reward")[-5:]) > 0.95
    assert np.mean(curve(run, "train/value/mean")[-5:]) == pytest.approx(0.583, abs=0.12)
    assert np.mean(curve(run, "train/value/return")[-5:]) == pytest.approx(0.583, abs=0.05)


@pytest.mark.parametrize("critic", ["head", pytest.param("model", marks=pytest.mark.slow)])
def test_the_critic_is_in_checkpoints_and_no_part_of_the_policy(tmp_path, random_model, critic):
    import torch
    from transformers import AutoModelForCausalLM

    run = go(new(tmp_path / "run"), environment(), random_model, trl={"save_steps": 2}, steps=2, critic=critic)
    checkpoint = run.path / "checkpoints" / "checkpoint-2"
    critic_there = torch.load(checkpoint / "critic.pt", weights_only=True)
    assert ("trunk.norm.weight" in critic_there["weights"]) == (critic == "model")
    assert critic_there["weights"]["head.weight"].abs().max() > 0
    assert len(critic_there["optimizer"]["state"]) == len(critic_there["weights"])
    plain = load_file(random_model / "model.safetensors").keys()
    assert load_file(checkpoint / "model.safetensors").keys() == load_file(run.policy_path / "model.safetensors").keys()
    assert load_file(run.policy_path / "model.safetensors").keys() == plain
    assert AutoModelForCausalLM.from_pretrained(run.policy_path).config.architectures == ["LlamaForCausalLM"]
    assert not (run.policy_path / "critic.pt").exists()


@pytest.mark.parametrize(
    ("critic", "trl", "search"),
    [
        pytest.param("head", {}, 6, id="head"),
        pytest.param("model", {**SPLIT, "num_iterations": 2}, 4, id="model, between epochs", marks=pytest.mark.slow),
        pytest.param("head", {**SPLIT, "beta": 0.1}, 5, id="head, a reference", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_stopped_goes_on_with_its_critic_to_the_last_bit(tmp_path, random_model, critic, trl, search):
    trl = {**trl, "save_strategy": "no"}  # the one checkpoint is that of the failure
    options = {"critic": critic, "kl": "reward", "trl": trl}
    whole = go(new(tmp_path / "whole"), environment(), random_model, **options)
    first = new(tmp_path / "run")
    with pytest.raises(EngineError, match="no connection"):
        go(first, environment(raised=[search]), random_model, **options)
    first.finish("failed")
    assert list(Checkpoints(first.path / "checkpoints").steps()) != []
    same(whole, go(Run.resume(first.path, {}), environment(), random_model, **options))
    assert min(curve(whole, "train/value/grad_norm")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["model", "head"])
def test_two_ways_to_split_a_batch_give_one_trajectory(tmp_path, random_model, critic):
    whole = go(new(tmp_path / "whole"), environment(), random_model, critic=critic)
    split = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    parts = go(new(tmp_path / "parts"), environment(), random_model, trl=split, critic=critic)
    for name in ("reward", "value/loss", "value/mean", "value/explained_variance", "advantage/std"):
        assert curve(parts, f"train/{name}") == pytest.approx(curve(whole, f"train/{name}"), rel=2e-3, abs=1e-5), name
    for name in ("grad_norm", "value/grad_norm"):
        assert curve(parts, f"train/{name}") == pytest.approx(curve(whole, f"train/{name}"), rel=5e-3), name


def buffered(trainer):
    """What the last step was trained on, in one piece."""
    import torch

    batches = trainer.loop.trainer._buffered_inputs
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0] if batches[0][name].ndim}


def test_a_lost_rollout_is_in_no_loss_no_mean_and_no_count(tmp_path, random_model):
    import torch

    run = new(tmp_path / "run")
    trainer = go(run, environment(lost=[3]), random_model, steps=1, failure_budget=0.1, cls=WatchedPPO)
    batch, mask = buffered(trainer), buffered(trainer)["completion_mask"]
    lost = mask.sum(1) == 0
    assert lost.sum() == sum(line["reward"] is None for line in run.read_rollouts()) == 1
    assert trainer.loop.trainer._buffered_inputs[0]["num_items_in_batch"] == mask.sum()
    assert (
        batch["advantages"][lost].abs().max() == batch["returns"][lost].sub(batch["old_values"][lost]).abs().max() == 0
    )
    kept = batch["advantages"][mask.bool()]
    assert kept.mean() == pytest.approx(0, abs=1e-5)
    assert kept.std(unbiased=False) == pytest.approx(1, abs=1e-2)
    inputs = dict(trainer.loop.trainer._buffered_inputs[0])
    loss = trainer.loop.trainer._compute_loss(trainer.loop.trainer.model, inputs).item()
    noise = torch.where(lost.unsqueeze(1), 99.0, 0.0)
    inputs |= {name: inputs[name] + noise for name in ("advantages", "returns", "old_values")}
    assert trainer.loop.trainer._compute_loss(trainer.loop.trainer.model, inputs).item() == loss


def test_no_group_has_a_say_in_an_advantage(tmp_path, random_model):
    """All is paid 1, so that groups have no variance and GRPO nothing to learn; a critic that knows nothing has."""
    env = environment(Part("tests.recr1.config.parts:Pay"))
    run = new(tmp_path / "run")
    trainer = go(run, env, random_model, steps=1, whiten=False, gae_lambda=1.0, cls=WatchedPPO)
    batch = buffered(trainer)
    assert batch["advantages"][batch["completion_mask"].bool()].unique().tolist() == [1]
    assert set(trainer.loop.trainer._logs["advantages"]) == {1}
    assert curve(run, "train/advantage/mean") == [1]
    assert "train/frac_reward_zero_std" not in run.read_metrics()[1]


def test_a_batch_of_more_needs_than_there_are_is_refused(tmp_path, random_model):
    with pytest.raises(UserError, match=r"a batch takes 16 needs, and there are 12 for training; lower trl.per_device"):
        go(new(tmp_path / "run"), environment(), random_model, trl={"num_generations": 1})


def test_every_number_of_the_critic_is_described(tmp_path, random_model):
    run = go(new(tmp_path / "run"), environment(), random_model, steps=1)
    logged = {name for line in run.read_metrics() for name in line}
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(train/(?:value|advantage)/\w+)`", page))
    assert named == {name for name in logged if name.startswith(("train/value/", "train/advantage/"))}
    assert len(named) == 8


@pytest.mark.parametrize("batch", [5, 6])
def test_a_need_may_be_sampled_once(tmp_path, random_model, batch):
    trl = {"num_generations": 1, "per_device_train_batch_size": batch}
    run = go(new(tmp_path / "run"), environment(), random_model, trl=trl, steps=1)
    needs = [line["need"] for line in run.read_rollouts() if line["step"] == 1]
    assert len(needs) == len(set(needs)) == batch


def test_the_losses_are_those_computed_by_hand(tmp_path, random_model):
    """Clipped ratios of TRL's loss with an advantage for each token, and the clipped loss of values, in numpy."""
    import torch

    trl = {"per_device_train_batch_size": 4, "num_generations": 4, "loss_type": "dapo", "epsilon": 0.2}
    trainer = go(
        new(tmp_path / "run"), environment(), random_model, steps=1, trl=trl, critic="model", cls=WatchedPPO
    ).loop.trainer
    inputs = dict(trainer._buffered_inputs[0])
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    length = inputs["completion_ids"].shape[1]
    with torch.no_grad():
        logps = trainer.model(ids, attention_mask=attention).logits.log_softmax(-1)[:, :-1]
        logps = logps.gather(-1, ids[:, 1:, None])[:, -length:, 0].numpy()
        values = added(trainer, ActorCritic).critic.values(inputs, []).numpy()
    rng = np.random.default_rng(0)
    mask = inputs["completion_mask"].numpy()
    old_logps, old_values = (x + rng.normal(0, 0.5, x.shape) for x in (logps, values))
    advantages, returns = rng.normal(size=mask.shape), rng.normal(size=mask.shape)
    given = {"old_per_token_logps": old_logps, "old_values": old_values, "advantages": advantages, "returns": returns}
    inputs |= {name: torch.tensor(array, dtype=torch.float32) for name, array in given.items()}
    trainer._metrics["train"].clear()
    loss = trainer._compute_loss(trainer.model, inputs)

    ratio = np.exp(logps - old_logps)
    policy = -np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.2) * advantages)
    near = np.clip(values, old_values - 0.2, old_values + 0.2)
    value = np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2
    assert loss.item() == pytest.approx((policy * mask).sum() / mask.sum(), rel=1e-4)
    assert trainer._metrics["train"]["value/loss"] == pytest.approx([(value * mask).sum() / mask.sum()], rel=1e-4)
    clipped = (near - returns) ** 2 > (values - returns) ** 2
    assert trainer._metrics["train"]["value/clip_ratio"] == pytest.approx([(clipped * mask).sum() / mask.sum()])
    assert 0 < clipped[mask > 0].mean() < 1
    outside = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.2) & (advantages > 0))
    share = trainer._metrics["train"]["clip_ratio/region_mean"]
    assert share == pytest.approx([(outside * mask).sum() / mask.sum()])
    assert share[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["head", "model"])
def test_the_distance_to_the_start_counts_once(tmp_path, random_model, critic):
    """In the reward: each token's return is less by beta times its share, and the loss has no more of it."""
    import torch

    trl, options = {"beta": 0.5}, {"critic": critic, "kl": "reward", "whiten": False, "gae_lambda": 1.0}
    run = new(tmp_path / "run")
    trainer = go(run, environment(), random_model, trl=trl, steps=3, cls=WatchedPPO, **options).loop.trainer
    assert curve(run, "train/kl")[0] == pytest.approx(0, abs=1e-5)
    assert abs(curve(run, "train/kl")[2]) > 1e-4
    inputs = dict(trainer._buffered_inputs[0])
    loss = trainer._compute_loss(trainer.model, inputs).item()
    inputs["ref_per_token_logps"] = inputs["ref_per_token_logps"] + 1
    assert trainer._compute_loss(trainer.model, inputs).item() == loss
    added(trainer, ActorCritic).options.kl = "loss"
    assert trainer._compute_loss(trainer.model, inputs).item() != loss
    last = inputs["completion_mask"].sum(1) - 1
    returns = inputs["returns"].gather(1, last[:, None])[:, 0]
    rewards = sorted(line["reward"] for line in run.read_rollouts() if line["step"] == 3)
    assert sorted(returns.tolist()) != pytest.approx(rewards, abs=1e-4)
    assert torch.isfinite(inputs["returns"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["head", "model"])
def test_lora_trains_an_adapter_and_a_whole_critic(tmp_path, random_model, critic):
    from transformers import AutoModelForCausalLM

    run = new(tmp_path / "run")
    options = {"trl": {"beta": 0.01}, "policy": {"lora_rank": 4}, "critic": critic, "kl": "reward"}
    trainer = go(run, environment(), random_model, cls=WatchedPPO, **options).loop.trainer
    trained, start = (AutoModelForCausalLM.from_pretrained(path) for path in (run.policy_path, random_model))
    pairs = zip(trained.named_parameters(), start.parameters(), strict=True)
    changed = {name for (name, a), b in pairs if not (a - b).abs().max() < 1e-6}
    assert changed
    assert all("proj" in name for name in changed)
    added_critic = added(trainer, ActorCritic).critic
    assert added_critic.head.weight.abs().max() > 0
    if critic == "model":
        own = added_critic.trunk.embed_tokens.weight
        assert (own - start.model.embed_tokens.weight).abs().max() > 0
        assert not any("lora" in name for name, _ in added_critic.trunk.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.5}, "gamma: must be a number between 0 and 1, got 1.5"),
        ({"gae_lambda": -1}, "gae_lambda: must be a number between 0 and 1, got -1"),
        ({"critic_learning_rate": 0}, "critic_learning_rate: must be a number > 0, got 0"),
        ({"value_clip": 0}, "value_clip: must be a number > 0, or null, got 0"),
        ({"value_weight": -0.1}, "value_weight: must be a number >= 0, got -0.1"),
        ({"trl": {"scale_rewards": "group"}}, r"trl.scale_rewards: not here: PPO compares with its critic"),
        ({"trl": {"loss_type": "cispo"}}, r"trl.loss_type: must be one of 'grpo', .* clip as PPO does\), got 'cispo'"),
        (
            {"trl": {"importance_sampling_level": "sequence"}},
            r"trl.importance_sampling_level: .* \(PPO has an advantage",
        ),
    ],
)
def test_what_ppo_cannot_do_is_said_before_anything_loads(options, message):
    with pytest.raises(UserError, match=message):
        PPO(steps=1, **options)
