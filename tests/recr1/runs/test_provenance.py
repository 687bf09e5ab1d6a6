"""What a run's rewards depend on is in its folder, and a run resumes only with the same."""

from __future__ import annotations

import re
import subprocess

import pytest

from recr1.cli.main import run
from recr1.env import Environment, open_environment
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.runs.provenance import changes, fingerprints, is_harmless, surroundings
from recr1.runs.targets import remarks_on_run
from recr1.tasks.toy import ToyTask
from retrievers.abilities import retriever_fingerprint
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import MeasureReward
from rewards.shaping import AcrossReward
from tests.recr1.baselines.world import Overlap
from tests.recr1.tasks.folders import write_split_folder

RECIPE = """\
seed: 0
task: {type: toy, format: {type: plain}}
retriever: {type: bm25}
k: 10
rewards:
  - {type: across, reward: {type: measure, measure: nDCG@10}, retrievers: [{type: rank_bm25}, {type: "HERE:Engine"}]}
policy: {type: transformers, model: tiny-shopper, max_new_tokens: 8}
trainer: {type: grpo, steps: 2, trl: {num_generations: 4, per_device_train_batch_size: 8}}
""".replace("HERE", __name__)


class Engine(Overlap):
    """An engine elsewhere, which says itself what its index holds."""

    fingerprint = "index 1"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def prints(recipe):
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    return fingerprints(env, recipe.retriever.to_dict())


def test_the_retrievers_of_rewards_have_fingerprints_as_the_recipes_own(recipe):
    found, catalog = prints(recipe), ToyTask().catalog
    assert found["retriever"] == retriever_fingerprint({"type": "bm25"}, catalog)
    assert found["other_retrievers"] == {
        "rank_bm25": retriever_fingerprint({"type": "rank_bm25"}, catalog),
        f"{__name__}:Engine": "index 1",
    }


def test_rewards_of_the_recipes_retriever_alone_add_none():
    task = ToyTask()
    env = Environment(task, BM25(task.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)
    assert set(fingerprints(env, {"type": "bm25"})) == {"catalog", "retriever", "needs"}


def test_two_rewards_on_one_other_retriever_record_it_once():
    task, others = ToyTask(), [{"type": "rank_bm25"}]
    rewards = [AcrossReward(reward={"type": "measure", "measure": m}, retrievers=others) for m in ("RR@3", "R@3")]
    env = Environment(task, BM25(task.catalog), [(reward, 1.0) for reward in rewards], k=10)
    assert list(fingerprints(env, {"type": "bm25"})["other_retrievers"]) == ["rank_bm25"]


def test_a_run_resumes_only_with_the_index_that_its_rewards_started_with(recipe, tmp_path, capsys, monkeypatch):
    began = Run.create(tmp_path / "run", recipe.to_dict(), {"seed": 0, **prints(recipe)})
    began.finish("interrupted")
    Run.resume(began.path, prints(recipe)).finish("interrupted")
    monkeypatch.setattr(Engine, "fingerprint", "index 2")
    assert run(["train", str(began.path)]) == 2
    assert re.search(
        r"cannot be resumed: it started with other_retrievers.*Engine index 1, and now it is .*Engine index 2",
        capsys.readouterr().err,
    )


def test_two_recipes_differ_in_the_keys_that_are_named():
    before = {"k": 10, "trainer": {"steps": 2, "trl": {"beta": 0.1}}, "rewards": [{"weight": 1.0}, {"weight": 2.0}]}
    now = {"k": 10, "trainer": {"steps": 3, "trl": {}}, "rewards": [{"weight": 1.0}, {"weight": 0.5}], "seed": 1}
    assert [str(changed) for changed in changes(before, now)] == [
        "trainer.steps (was 2, is 3)",
        "trainer.trl.beta (was 0.1, is None)",
        "rewards.1.weight (was 2.0, is 0.5)",
        "seed (was None, is 1)",
    ]


@pytest.mark.parametrize(
    "override",
    ["seed=1", "evaluate.keep=last", "trainer.steps=3", "log=[{type: jsonl}]", "evaluate.second_opinion=x.csv"],
)
def test_a_recipe_that_was_edited_is_refused_by_its_key_unless_no_number_depends_on_it(
    recipe, tmp_path, capsys, override
):
    key, trl = override.partition("=")[0], ["trainer.trl.save_steps=1", "retriever.k1=2.0"]
    began = Run.create(tmp_path / "run", recipe.to_dict(), {"seed": 0, **prints(recipe)})
    began.finish("interrupted")
    file = tmp_path / "run" / "recipe.yaml"
    load_recipe(file, [override, *trl]).dump(file)
    changed = began.recipe_changes(load_recipe(file).to_dict())
    matters = [one.key for one in changed if not is_harmless(one.key)]
    assert matters == ([] if key in ("log", "evaluate.second_opinion") else [key]) and {
        "trainer.trl.save_steps",
        "retriever.k1",
    } < {one.key for one in changed}
    if key == "seed":  # the command says the same, before data or a model is opened
        assert run(["train", str(tmp_path / "run")]) == 2
        assert "already has a run of another recipe: seed (was 0, is 1); choose another" in capsys.readouterr().err
    assert began.facts()["status"] == "interrupted"


@pytest.fixture
def data(tmp_path, recipe):
    """A run on a folder of data, its recipe and its environment as it is now."""
    (tmp_path / "data").mkdir()
    write_split_folder(tmp_path / "data")
    task = f"task={{type: files, path: {tmp_path / 'data'}}}"
    own = load_recipe(tmp_path / "toy.yaml", [task])
    began = Run.create(tmp_path / "run", own.to_dict(), {"seed": 0, **prints(own)})
    began.finish("finished")

    def remarks(*overrides, split="test"):
        now = load_recipe(tmp_path / "run" / "recipe.yaml", overrides)
        env = open_environment(now.task, now.retriever, now.rewards, now.k)
        return list(remarks_on_run(began, now, env, split, edited=not overrides))

    return tmp_path / "data", remarks


@pytest.mark.parametrize(
    ("file", "old", "new", "remark"),
    [
        ("corpus.jsonl", "Iron", "Steel", "the catalog has changed"),
        (
            "queries.jsonl",
            "number 55",
            "number five",
            "the needs of the split 'test', or their judgements, have changed",
        ),
        ("qrels/test.tsv", "q50\tpot\t3", "q50\tpan\t3", "the needs of the split 'test', or their judgements, have"),
        ("qrels/test.tsv", "q50\tpot\t3", "q50\tpot\t1", "the needs of the split 'test', or their judgements, have"),
    ],
)
def test_data_that_changed_since_the_run_is_told(data, file, old, new, remark):
    folder, remarks = data
    assert remarks() == []
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    assert any(remark in told for told in remarks())
    assert (remarks(split="validation") == []) == (file != "corpus.jsonl")
    assert not any("changed" in told for told in remarks("task={type: toy}"))  # another task is asked for


def test_a_recipe_that_was_edited_is_told_with_a_runs_numbers(data, tmp_path):
    _, remarks = data
    file = tmp_path / "run" / "recipe.yaml"
    file.write_text(file.read_text().replace("k: 10", "k: 20"))
    assert remarks() == [f"{file} was changed since the run started: k (was 10, is 20)"]


def test_a_repository_runs_nothing_of_its_own_when_its_commit_is_recorded(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    home = tmp_path / "repository"
    for command in (
        ["git", "init", "-q", str(home)],
        ["git", "-C", str(home), "-c", "user.name=a", "-c", "user.email=a", "commit", "-q", "--allow-empty", "-m", "b"],
        ["git", "-C", str(home), "config", "core.fsmonitor", str(program)],
        ["git", "-C", str(home), "config", "core.pager", str(program)],
        ["git", "-C", str(home), "config", "core.hooksPath", str(tmp_path)],
    ):
        subprocess.run(command, check=True)
    (tmp_path / "post-index-change").write_text(program.read_text())
    (tmp_path / "post-index-change").chmod(0o755)
    monkeypatch.chdir(home)
    assert re.fullmatch("[0-9a-f]{40}", surroundings()["git"])
    assert not ran.exists()
