"""Stages: one run folder, one line of steps, each stage on the policy of the one before, each resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part, build
from recr1.errors import RecipeError
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.stages import finished_stages, last_saved_step, policy_so_far, train_stages
from retrievers.errors import EngineError
from tests.recr1.cli.test_cli_resume import finish, reach, same, train
from tests.recr1.trainers.layers.test_resume import Failing, environment, numbers

VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
QUERIES = ["red sofa", "oak table", "warm lamp", "red lamp", "oak sofa", "warm table"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("need\tquery\n" + "".join(f"I want a {query} please\t{query}\n" for query in QUERIES))
    return path


def parts(table, steps=(3, 3)):
    trl = {"per_device_train_batch_size": 4, "learning_rate": 1e-2}
    group = {"num_generations": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-2}
    return [
        Part("sft", {"steps": steps[0], "pairs": {"type": "file", "path": str(table)}, "trl": trl}),
        Part("grpo", {"steps": steps[1], "trl": group, "rollouts_every": 1}),
    ]


def go(run, table, model, *, env=None):
    stages = [(part, build("trainer", part)) for part in parts(table)]
    policy, said = Part("transformers", {"model": str(model), "max_new_tokens": 8}), []
    train_stages(stages, policy, env or environment(), run, seed=3, evaluation=VALIDATION, say=said.append)
    run.finish("finished")
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory, random_model, table):
    run = Run.create(tmp_path_factory.mktemp("whole") / "run", {"seed": 3}, {})
    go(run, table, random_model)
    return run


def test_steps_go_on_from_stage_to_stage_and_no_validation_is_made_twice(whole):
    lines = whole.read_metrics()
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "eval/validation/nDCG@10" in line] == [0, 2, 3, 5, 6]
    assert ["train/reward" in line for line in lines if "train/loss" in line] == [False] * 3 + [True] * 3
    assert {line["step"] for line in whole.read_rollouts()} == {4, 5, 6}
    assert finished_stages(whole) == [
        {"type": "sft", "last_step": 3, "policy_step": 3},
        {"type": "grpo", "last_step": 6, "policy_step": 6},
    ]


def test_the_last_policy_is_the_runs_and_the_others_are_kept_in_their_stages(whole):
    policies = [path.relative_to(whole.path).as_posix() for path in sorted(whole.path.rglob("model.safetensors"))]
    assert policies == ["policy/model.safetensors", "stages/1-sft/policy/model.safetensors"]
    assert not list(whole.path.rglob("checkpoint-*"))
    assert policy_so_far(whole) == whole.path / "policy"


@pytest.mark.slow
def test_a_stage_starts_from_the_policy_of_the_one_before(whole, tmp_path, table):
    """GRPO alone from the policy that the first stage left is the second stage."""
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    policy = Part("transformers", {"model": str(whole.path / "stages/1-sft/policy"), "max_new_tokens": 8})
    grpo = build("trainer", parts(table)[1])
    grpo.train(policy, environment(), run, seed=3, evaluation=VALIDATION)
    first, second = (load_file(path / "policy/model.safetensors") for path in (run.path, whole.path))
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []
    assert any(
        (value != first[name]).any()
        for name, value in load_file(whole.path / "stages/1-sft/policy/model.safetensors").items()
    )


@pytest.mark.parametrize(("search", "saved"), [pytest.param(3, 2, marks=pytest.mark.slow), (6, 4)])
def test_a_run_goes_on_in_the_stage_where_it_stopped(whole, tmp_path, random_model, table, search, saved):
    # Searches: references, validations of steps 0, 2 and 3; references again, rewards of steps 4 and 5.
    broken = environment()
    broken.retriever = Failing(broken.retriever, raised=[search])
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match="no connection"):
        go(run, table, random_model, env=broken)
    run.finish("failed")
    assert last_saved_step(run) == saved
    again = Run.resume(run.path, {})
    said = go(again, table, random_model)
    assert said == [f"stage {number} of 2: {kind}" for number, kind in ((1, "sft"), (2, "grpo"))][saved // 3 :]
    assert numbers(again) == numbers(whole)
    first, second = (load_file(run.path / "policy/model.safetensors") for run in (again, whole))
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


RECIPE = """\
seed: 0
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: {{type: bm25}}
k: 10
rewards: [{{type: measure, measure: nDCG@10}}, {{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {policy}
trainer:
  - type: sft
    steps: 6
    pairs: {{type: file, path: {table}}}
    trl: {{per_device_train_batch_size: 4, learning_rate: 1.0e-2}}
  - type: grpo
    steps: 20
    trl: {{num_generations: 4, per_device_train_batch_size: 16, learning_rate: 1.0e-2}}
evaluate: {{split: validation, measures: [nDCG@10], every: 7}}
"""


@pytest.fixture
def recipe(tmp_path, random_model, table):
    path = tmp_path / "staged.yaml"
    policy = f"{{type: transformers, model: {random_model}, max_new_tokens: 8}}"
    path.write_text(RECIPE.format(policy=policy, table=table))
    return path


def test_a_list_of_trainers_is_a_list_of_stages(recipe, tmp_path):
    loaded = load_recipe(recipe, ["trainer.1.steps=9", "trainer.0.trl.learning_rate=1e-3"])
    assert [(part.type, part.options["steps"]) for part in loaded.stages] == [("sft", 6), ("grpo", 9)]
    assert loaded.stages[0].options["trl"]["learning_rate"] == 1e-3
    assert loaded.trainer == loaded.stages[1]
    loaded.dump(tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == loaded


def test_a_list_of_one_is_that_one(recipe):
    one = "trainer=[{type: grpo, steps: 2}]"
    assert load_recipe(recipe, [one]) == load_recipe(recipe, ["trainer={type: grpo, steps: 2}"])
    assert load_recipe(recipe, [one]).to_dict()["trainer"] == {"type": "grpo", "steps": 2}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("trainer.1.type=grp", "trainer.1.type: no 'grp' here; did you mean 'grpo'?"),
        ("trainer.0.pairs.type=fil", "trainer.0.pairs.type: no 'fil' here"),
        ("trainer.1.trl.lerning_rate=1", "trainer.1.trl.lerning_rate: GRPOConfig has no such field"),
        ("trainer.1=grpo", "trainer.1: must be a mapping with a type"),
        ("trainer=[]", "trainer: an empty list"),
        ("policy={type: echo}", "trainer: stages need a policy that starts from a folder, and 'echo' has no option"),
    ],
)
def test_every_stage_is_checked_before_anything_loads(recipe, override, problem):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [override])
    assert any(f": {problem}" in line for line in caught.value.problems), caught.value.problems


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 8, 20])
def test_a_run_that_was_killed_goes_on_in_its_stage_to_the_same_end(recipe, tmp_path, step):
    unbroken, out = tmp_path / "whole", tmp_path / "run"
    finish(recipe, "--out", unbroken)
    process = train(recipe, "--out", out)
    reach(process, out, step)
    process.kill()
    process.communicate()
    said = finish(out)
    assert ("stage 1 of 2: sft" in said) == (step < 6) and "stage 2 of 2: grpo" in said
    same(unbroken, out)
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == "finished" and [stage["last_step"] for stage in facts["stages"]] == [6, 26]
