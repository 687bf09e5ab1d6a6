"""What TRL's own configs refuse is said by `recr1 check` and `recr1 train` before anything loads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recr1.cli.main import run
from recr1.config.build import Part
from recr1.config.shipped import shipped_recipes
from recr1.recipe import load_recipe
from recr1.trainers.trl import config
from recr1.trainers.trl.config import config_problems
from tests.recr1.tasks.folders import write_start

NOT_DIVISIBLE = (
    "trainer.trl.num_generations: a batch of 128 completions (1 process) cannot be divided into groups of 7: change "
    "this, per_device_train_batch_size, gradient_accumulation_steps or the number of processes (recr1 check "
    "--processes N)"
)


def problems(*stages: dict[str, object], processes: int = 1) -> list[str]:
    """What is refused of the quickstart with a stage for each mapping of `trl` keys: one process builds all."""
    recipe = load_recipe("quickstart")
    options = recipe.trainer.options
    parts = [Part("grpo", {**options, "trl": {**options["trl"], **keys}}) for keys in stages]
    return [str(problem) for problem in config_problems(replace(recipe, stages=tuple(parts)), processes)]


def test_a_value_that_does_not_fit_another_is_refused_at_its_key():
    refused = "GRPOConfig refuses it"
    cases = {
        "trainer.0.trl.num_generations: a batch of 128 completions (1 process) cannot": {"num_generations": 7},
        "trainer.1.trl.num_generations: a batch of 12 completions": {"per_device_train_batch_size": 12},
        f"trainer.2.trl.fp16: {refused}: At most one of fp16 and bf16 can be": {"bf16": True, "fp16": True},
        f"trainer.3.trl.dataloader_prefetch_factor: {refused}: dataloader_pre": {"dataloader_prefetch_factor": 2},
        f"trainer.4.trl: {refused}: everything is not a valid DebugOption": {"debug": "everything"},
        f"trainer.5.trl.steps_per_generation: {refused}: ": {"generation_batch_size": 128, "steps_per_generation": 1},
    }
    found = problems(*cases.values())
    assert [problem[: len(start)] for problem, start in zip(found, cases, strict=True)] == list(cases)


def test_a_batch_is_that_of_all_processes():
    assert problems({"num_generations": 7}, processes=7) == []


def test_what_only_a_gpu_has_is_no_mistake_on_a_laptop():
    gpu = {"tf32": True, "use_vllm": True, "deepspeed": "zero3.json", "torch_compile": True, "use_cpu": False}
    assert problems({"bf16": True, **gpu}, {"fp16": True, **gpu}, {"fsdp": "full_shard", "optim": "lomo"}) == []


def test_every_shipped_recipe_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(write_start(tmp_path))
    recipes = [load_recipe(name) for name in shipped_recipes()]
    stages = tuple(stage for recipe in recipes for stage in recipe.stages)
    assert {stage.type for stage in stages} == {"grpo", "ppo", "rloo", "sft"}
    assert config_problems(replace(recipes[0], stages=stages), 1) == []


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_refusal_names_the_line_of_its_key(command, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(shipped_recipes()["quickstart"].read_text().replace("num_generations: 8", "num_generations: 7"))
    line = next(n for n, text in enumerate(recipe.read_text().splitlines(), 1) if "num_generations" in text)
    assert run([command, str(recipe)]) == 2
    assert capsys.readouterr().err == f"recr1: error: {recipe}: 1 problem\n  {recipe}:{line}: {NOT_DIVISIBLE}\n"


def test_a_config_that_cannot_be_built_here_is_said_and_refuses_nothing(tmp_path, monkeypatch, capsys):
    script = tmp_path / "built.py"
    script.write_text("raise SystemExit('no such library')")
    monkeypatch.setattr(config, "SCRIPT", script)
    config._ask.cache_clear()
    assert run(["check", "quickstart"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "as far as it was checked not checked: whether values of trl: fit each other" in said
    assert said.endswith("as TRL's config cannot be built here: no such library")
    config._ask.cache_clear()


def test_the_launcher_of_a_run_changes_no_answer(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    config._ask.cache_clear()
    assert problems({"num_generations": 7}) == [NOT_DIVISIBLE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "refusal"),
    [
        ("optim=lomo", "You need to install `lomo_optim`"),
        ("deepspeed=zero3.json", "deepspeed"),
        ("fsdp=full_shard", "Using fsdp only works in distributed training"),
        ("lr_scheduler_kwargs={a: 1}", "unexpected keyword argument 'a'"),
    ],
)
def test_what_trl_refuses_on_this_machine_is_one_line(key, refusal, tmp_path, capsys):
    keys = ["task.items=200", "trainer.steps=1", "trainer.trl.lr_scheduler_type=cosine", f"trainer.trl.{key}"]
    assert run(["train", "quickstart", *keys, "--out", str(tmp_path / "run")]) == 2
    assert "recr1: error: trainer.trl: " in (said := capsys.readouterr().err)
    assert refusal in said


def test_a_recipe_without_keys_of_trl_asks_nothing(monkeypatch):
    monkeypatch.setattr(config, "_ask", None)
    assert run(["check", "toy/echo"]) == run(["check", "quickstart", "trainer={type: grpo, steps: 3}"]) == 0
