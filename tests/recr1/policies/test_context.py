"""Prompts against the context of a model: before training, in a check, and wherever something is generated."""

import json
import re
import shutil

import pytest
import transformers
import yaml

from recr1.baselines.prompting import Prompt, Shot, fitting
from recr1.cli.main import run
from recr1.errors import UserError
from recr1.policies.context import context_of
from recr1.policies.transformers import Transformers

RECIPE = {
    "task": {"type": "toy"},
    "retriever": {"type": "bm25"},
    "k": 10,
    "rewards": [{"type": "measure", "measure": "nDCG@10", "weight": 1.0}],
    "trainer": {"type": "grpo", "steps": 1, "trl": {"num_generations": 2, "per_device_train_batch_size": 2}},
    "evaluate": {"split": "validation", "measures": ["nDCG@10"], "keep": "last"},
}


def llama(**config):
    return transformers.LlamaConfig(num_hidden_layers=1, **config)


def scaled(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, **more}}


LLAMA3 = {"original_max_position_embeddings": 2048, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (llama(max_position_embeddings=2048), 2048),
        (llama(max_position_embeddings=2048, **scaled("linear")), 8192),
        (llama(max_position_embeddings=2048, **scaled("dynamic")), 8192),
        (llama(max_position_embeddings=4096, **scaled("yarn", original_max_position_embeddings=1024)), 4096),
        (llama(max_position_embeddings=32768, **scaled("yarn")), 131072),
        (llama(max_position_embeddings=8192, **scaled("llama3", **LLAMA3)), 8192),
        (transformers.MistralConfig(max_position_embeddings=32768, sliding_window=4096), 32768),
        (transformers.Gemma3TextConfig(max_position_embeddings=32768), 32768),
        (transformers.GPT2Config(n_positions=1024), 1024),
        (transformers.MptConfig(max_seq_len=512), 512),
        (transformers.BloomConfig(), 77),  # what the tokenizer says
    ],
)
def test_a_context_is_what_the_config_says_with_its_scaling(config, length):
    class Tokenizer:
        model_max_length = 77

    assert context_of(config, Tokenizer()) == length


def test_a_model_that_says_nothing_has_no_known_context():
    class Tokenizer:
        model_max_length = int(1e30)

    assert context_of(transformers.BloomConfig(), Tokenizer()) is None


@pytest.fixture
def short(random_model, tmp_path):
    """A model that reads 60 tokens."""
    shutil.copytree(random_model, tmp_path / "short")
    file = tmp_path / "short" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 60}))
    return tmp_path / "short"


def recipe(model, folder, **policy):
    options = {"type": "transformers", "model": str(model), "max_new_tokens": 8, **policy}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"seed": 0, **RECIPE, "policy": options}))
    return str(path)


TOO_LONG = (
    r"24 of 24 prompts do not fit: the longest, need '\w+' of \w+, has \d+ tokens, with policy.max_new_tokens \(8\)"
)


@pytest.mark.parametrize("command", [["check", "--data"], ["train", "--out", "run"]])
def test_prompts_that_do_not_fit_are_refused_by_the_check_and_before_training(
    command, short, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run([command[0], recipe(short, tmp_path), *command[1:]]) == 2
    error = capsys.readouterr().err
    assert "and the model's context has 60. Shorten" in " ".join(error.split())
    assert re.search(TOO_LONG, " ".join(error.split()))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("model", ["tiny-shopper", "org/nothing"])
def test_the_check_names_the_longest_prompt_or_says_that_it_did_not_look(model, tmp_path, capsys):
    assert run(["check", recipe(model, tmp_path), "--data"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("prompts")]
    assert ("not checked, as the tokenizer is not available here" in line) == (model != "tiny-shopper")
    assert ("tokens at most (" in line and line.endswith(", and 8 new ones, of 256")) == (model == "tiny-shopper")


def test_a_check_runs_no_code_of_a_model_unless_it_is_trusted(tmp_path, capsys):
    assert run(["check", recipe("tiny-shopper", tmp_path, trust_remote_code=True), "--data"]) == 0
    assert "not checked, as policy.trust_remote_code would run the model's own code: add --trust" in (
        " ".join(capsys.readouterr().out.split())
    )


def chat(words):
    return [{"role": "user", "content": "red " * words}]


def test_what_does_not_fit_is_never_generated(short):
    policy = Transformers(model=str(short), max_new_tokens=8)
    assert policy.fits(chat(5))
    assert not policy.fits(chat(60))
    assert len(policy.generate([chat(5)], 0)) == 1
    with pytest.raises(
        UserError, match=r"a prompt has \d+ tokens; with policy.max_new_tokens \(8\) it does not fit into"
    ):
        policy.generate([chat(5), chat(60)], 0)


def test_examples_of_a_prompt_are_left_out_as_far_as_they_do_not_fit(short):
    policy = Transformers(model=str(short), max_new_tokens=8)
    prompt = Prompt("", tuple(Shot(chat(8), f"query {place}", 1.0) for place in range(8)))
    kept = [turn["content"] for turn in fitting(prompt, chat(8), policy) if turn["role"] == "assistant"]
    assert kept == [shot.completion for shot in prompt.shots[: len(kept)]]
    assert 0 < len(kept) < 8
    assert len(fitting(prompt, chat(30), policy)) < 2 * len(kept) + 1
