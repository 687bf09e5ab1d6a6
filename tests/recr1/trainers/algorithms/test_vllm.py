"""Generation with vLLM goes through TRL's keys, and where it is not installed, that is said before anything loads."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from recr1.cli.main import run
from recr1.errors import MissingLibrary
from recr1.recipe import load_recipe
from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO
from recr1.trainers.sft import SFT

SERVER = {"use_vllm": True, "vllm_mode": "server", "vllm_server_host": "10.0.0.1", "vllm_server_port": 8000}
COLOCATED = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4}
absent = pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed here")


@pytest.mark.parametrize("trainer", [GRPO, PPO, RLOO])
@pytest.mark.parametrize("keys", [SERVER, COLOCATED], ids=["server", "colocate"])
def test_a_recipe_may_ask_for_it_on_any_machine(trainer, keys):
    assert trainer.check_options({"steps": 1, "trl": keys}) == []


def test_keys_that_are_misspelled_are_told():
    told = GRPO.check_options({"steps": 1, "trl": {"vllm_mod": "server"}})
    assert told == ["trl.vllm_mod: GRPOConfig has no such field; did you mean 'vllm_mode'?"]


def test_pairs_are_learned_without_generation():
    told = SFT.check_options({"steps": 1, "trl": {"use_vllm": True}})
    assert told[0].startswith("trl.use_vllm: SFTConfig has no such field")


@absent
@pytest.mark.parametrize("trainer", [GRPO, PPO, RLOO])
def test_where_it_is_not_installed_no_trainer_is_made(trainer):
    with pytest.raises(MissingLibrary, match=r"trl.use_vllm needs the library 'vllm'. .* 'recr1\[vllm\]'"):
        trainer(steps=1, trl=SERVER)


@absent
def test_training_ends_before_data_is_opened(capsys, tmp_path):
    assert run(["train", "quickstart", "trainer.trl.use_vllm=true", "--out", str(tmp_path / "run")]) == 2
    assert "needs the library 'vllm'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@absent
def test_a_check_says_what_this_machine_lacks(capsys):
    assert run(["check", "quickstart", "trainer.trl.use_vllm=true"]) == 0
    assert "not on this machine: trainer.trl.use_vllm needs the library 'vllm'" in capsys.readouterr().out


def test_a_check_of_a_recipe_that_runs_here_says_nothing(capsys):
    assert run(["check", "quickstart"]) == 0
    assert "not on this machine" not in capsys.readouterr().out


def test_what_cannot_be_trained_is_told_of_the_recipe():
    overrides = ["policy.load_in_4bit=true"]
    with pytest.raises(ValueError, match=r"policy.load_in_4bit: 4-bit weights cannot be trained"):
        load_recipe("quickstart", overrides)
    assert load_recipe("quickstart", [*overrides, "policy.lora_rank=4"]).policy.options["lora_rank"] == 4
