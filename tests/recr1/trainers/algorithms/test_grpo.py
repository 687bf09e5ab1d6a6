"""GRPO end to end: a random model, a real index, TRL's own loop."""

import json

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import chat_with, open_environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO

MEASURE = {"type": "measure", "measure": "nDCG@10"}
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")


@pytest.fixture
def env():
    rewards = [(Part.from_dict(MEASURE), 1.0), (Part("length", {"budget": 4}), 1.0)]
    return open_environment(Part("toy", {"format": {"type": "plain", "prompt": "{need}"}}), Part("bm25"), rewards, 10)


def train(folder, env, model, *, trl=None, steps=4, seed=0):
    run = Run.create(folder, {"seed": seed}, {})
    policy = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    trainer = GRPO(steps=steps, trl=trl or TRL, rollouts_every=1)
    trainer.train(policy, env, run, seed=seed, evaluation=VALIDATION)
    run.finish("finished")
    return run


def curve(run, name):
    return [line[name] for line in run.read_metrics() if name in line]


def test_a_run_leaves_numbers_rollouts_and_a_policy_that_loads(tmp_path, env, random_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = train(tmp_path / "run", env, random_model)
    steps = [line["step"] for line in run.read_metrics() if "train/reward" in line]
    assert steps == [1, 2, 3, 4]
    assert [line["step"] for line in run.read_metrics() if "eval/validation/nDCG@10" in line] == [0, 2, 4]
    logged = next(line for line in run.read_metrics() if "train/reward" in line)
    assert {"train/reward/nDCG@10", "train/query/words", "train/outcome/ok", "train/loss", "train/time/search"} <= set(
        logged
    )
    model = AutoModelForCausalLM.from_pretrained(run.policy_path)
    tokenizer = AutoTokenizer.from_pretrained(run.policy_path)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "a red sofa"}], return_tensors="pt")["input_ids"]
    assert model.generate(ids, max_new_tokens=3).shape[1] > ids.shape[1]
    start = AutoModelForCausalLM.from_pretrained(random_model)
    assert any((a != b).any() for a, b in zip(model.parameters(), start.parameters(), strict=True))


def test_each_rollout_has_the_reward_that_its_own_completion_earns(tmp_path, env, random_model):
    run = train(tmp_path / "run", env, random_model, steps=2)
    rollouts = run.read_rollouts()
    assert len(rollouts) == 32
    needs = [env.need(line["need"]) for line in rollouts]
    chats = [chat_with(prompt, line["completion"]) for prompt, line in zip(env.prompts(needs), rollouts, strict=True)]
    again = env.step(needs, chats)
    np.testing.assert_allclose([line["reward"] for line in rollouts], again.rewards, rtol=1e-6)
    of_first = [line["reward"] for line in rollouts if line["step"] == 1]
    assert curve(run, "train/reward")[0] == pytest.approx(np.mean(of_first), abs=1e-6)


def test_two_ways_to_split_a_batch_give_one_trajectory(tmp_path, env, random_model):
    whole = train(tmp_path / "whole", env, random_model)
    split = {**TRL, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    parts = train(tmp_path / "parts", env, random_model, trl=split)
    assert curve(parts, "train/reward") == pytest.approx(curve(whole, "train/reward"), abs=1e-6)
    assert curve(parts, "train/grad_norm") == pytest.approx(curve(whole, "train/grad_norm"), rel=2e-3)


def test_a_retriever_that_fails_ends_the_run_and_is_no_reward(tmp_path, env, random_model):
    class Broken:
        calls = 0

        def search(self, queries, k):
            self.calls += 1
            if self.calls > 3:
                raise ConnectionError("the engine is gone")
            return healthy.search(queries, k)

    healthy, env.retriever = env.retriever, Broken()
    with pytest.raises(ConnectionError, match="the engine is gone"):
        train(tmp_path / "run", env, random_model)
    assert (tmp_path / "run" / "policy" / "model.safetensors").is_file()
    rewards = [json.loads(line)["reward"] for line in (tmp_path / "run" / "rollouts.jsonl").open()]
    assert len(rewards) == 16  # the step before; none of the failed one


def test_a_policy_without_weights_is_refused(tmp_path, env):
    run = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(UserError, match=r"policy.type: 'echo' cannot be trained by grpo"):
        GRPO(steps=1).train(Part("echo"), env, run, seed=0, evaluation=VALIDATION)


def test_a_batch_that_trl_refuses_is_the_users_mistake(tmp_path, env, random_model):
    with pytest.raises(UserError, match=r"trainer.trl: .*num_generations"):
        train(tmp_path / "run", env, random_model, trl={"num_generations": 3, "per_device_train_batch_size": 16})


def test_a_batch_of_more_needs_than_there_are_is_refused_because_it_would_train_on_nothing(tmp_path, env, random_model):
    there = len(env.task.needs("train"))
    with pytest.raises(UserError, match=rf"a batch takes {2 * there} needs, and there are {there} for training"):
        train(tmp_path / "run", env, random_model, trl={"num_generations": 2, "per_device_train_batch_size": 4 * there})


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(tmp_path, env, random_model):
    runs = [train(tmp_path / name, env, random_model, seed=3) for name in ("first", "second")]
    for name in ("train/reward", "train/loss", "train/grad_norm", "eval/validation/nDCG@10"):
        assert curve(runs[0], name) == curve(runs[1], name)


@pytest.mark.slow
def test_lora_trains_an_adapter_and_saves_a_whole_model(tmp_path, env, random_model):
    from transformers import AutoModelForCausalLM

    run = Run.create(tmp_path / "run", {}, {})
    policy = Part("transformers", {"model": str(random_model), "max_new_tokens": 6, "lora_rank": 4})
    GRPO(steps=2, trl={**TRL, "beta": 0.01}).train(policy, env, run, seed=0, evaluation=VALIDATION)
    trained, start = (AutoModelForCausalLM.from_pretrained(path) for path in (run.policy_path, random_model))
    changed = {
        name
        for (name, a), b in zip(trained.named_parameters(), start.parameters(), strict=True)
        if not (a - b).abs().max() < 1e-6
    }
    assert changed
    assert all("proj" in name for name in changed)
    assert all(np.isfinite(curve(run, "train/kl")))


@pytest.mark.slow
def test_the_first_steps_are_the_recorded_ones(tmp_path, env, random_model, golden):
    run = train(tmp_path / "run", env, random_model, seed=1)
    golden("grpo_toy", {name: curve(run, f"train/{name}") for name in ("reward", "loss", "grad_norm", "entropy")}, 0.05)
