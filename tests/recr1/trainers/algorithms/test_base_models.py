"""Models whose tokenizer has neither a chat template nor a pad token are trained and evaluated like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recr1.config.build import Part
from recr1.evaluate import Evaluator
from recr1.policies.transformers import Transformers
from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.sft import SFT
from tests.recr1.trainers.algorithms.test_families import LAST, assert_saved_as_validated, go
from tests.recr1.trainers.algorithms.test_ppo import curve, environment, new

pytestmark = pytest.mark.slow


@pytest.fixture
def bare(random_model, tmp_path):
    """A model as its makers leave it before they teach it to chat."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for path in random_model.iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("trainer", [GRPO, PPO])
def test_it_learns_from_rewards_and_is_saved_with_what_it_got(tmp_path, bare, trainer):
    run, loop = go(tmp_path / "run", bare, trainer, trl={"learning_rate": 0.1})
    assert np.isfinite(curve(run, "train/loss")).all()
    assert min(curve(run, "train/grad_norm")) > 0
    assert_saved_as_validated(run, loop)
    tokenizer = Transformers(model=str(run.policy_path)).tokenizer
    assert tokenizer.pad_token == tokenizer.eos_token
    chat = [{"role": "user", "content": "a fan"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == "a fan\n"


def test_it_learns_from_pairs_and_to_end_though_padding_is_the_end_too(tmp_path, bare):
    table = tmp_path / "pairs.tsv"
    table.write_text("need\tquery\na lamp for reading at night\tred lamp\nsomewhere to sleep outside\tblue tent\n")
    part = Part("transformers", {"model": str(bare), "max_new_tokens": 12})
    run = new(tmp_path / "run")
    trl = {"per_device_train_batch_size": 2, "learning_rate": 2e-2, "lr_scheduler_type": "constant"}
    sft = SFT(steps=150, trl=trl, pairs={"type": "file", "path": str(table)})
    sft.train(part, environment(), run, seed=3, evaluation=LAST)
    taught = Transformers(model=str(run.policy_path), max_new_tokens=12)
    chats = [
        [{"role": "user", "content": text}] for text in ("a lamp for reading at night", "somewhere to sleep outside")
    ]
    assert [texts[0].strip() for texts in taught.generate(chats, 0)] == ["red lamp", "blue tent"]


def test_it_is_evaluated_alone_as_in_a_batch(bare):
    env = environment()
    found = [
        Evaluator(env, "validation", ("nDCG@10",))(Transformers(model=str(bare), max_new_tokens=6, batch_size=size))
        for size in (1, 8)
    ]
    assert found[0].metrics() == found[1].metrics()
