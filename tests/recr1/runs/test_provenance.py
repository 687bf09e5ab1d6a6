"""What a run's rewards depend on is in its folder, and a run resumes only with the same."""

from __future__ import annotations

import re
import subprocess

import pytest

from recr1.cli.main import run
from recr1.env import Environment, open_environment
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.runs.provenance import fingerprints, surroundings
from recr1.tasks.toy import ToyTask
from retrievers.abilities import retriever_fingerprint
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import MeasureReward
from rewards.shaping import AcrossReward
from tests.recr1.baselines.world import Overlap

RECIPE = """\
seed: 0
task: {type: toy, format: {type: plain}}
retriever: {type: bm25}
k: 10
rewards:
  - {type: across, reward: {type: measure, measure: nDCG@10}, retrievers: [{type: rank_bm25}, {type: "HERE:Engine"}]}
policy: {type: transformers, model: FOLDER}
trainer: {type: grpo, steps: 2, trl: {num_generations: 4, per_device_train_batch_size: 8}}
""".replace("HERE", __name__)


class Engine(Overlap):
    """An engine elsewhere, which says itself what its index holds."""

    fingerprint = "index 1"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "toy.yaml"
    (tmp_path / "empty").mkdir()
    path.write_text(RECIPE.replace("FOLDER", str(tmp_path / "empty")))
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
    assert set(fingerprints(env, {"type": "bm25"})) == {"catalog", "retriever"}


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
        r"cannot be resumed: it started with other_retrievers .*index 1.*, and now it is .*index 2",
        capsys.readouterr().err,
    )


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
