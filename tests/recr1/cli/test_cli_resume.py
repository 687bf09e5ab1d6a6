"""`recr1 train` that is killed, or loses its engine, and resumes: real processes, real signals, a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from retrievers.bm25.bm25 import BM25
from retrievers.errors import EngineError
from tests.processes import ROOT, begin
from tests.retrievers.service.service_contracts import needs_service

STEPS = 30
RECIPE = f"""\
seed: 0
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: RETRIEVER
k: 10
rewards: [{{type: measure, measure: nDCG@10}}, {{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {{type: transformers, model: MODEL, max_new_tokens: 6}}
trainer:
  type: grpo
  steps: {STEPS}
  trl: {{num_generations: 4, per_device_train_batch_size: 16, learning_rate: 1.0e-2}}
evaluate: {{split: validation, measures: [nDCG@10], every: 7}}
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, random_model):
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(RECIPE.replace("MODEL", str(random_model)).replace("RETRIEVER", "{type: bm25}"))
    return path


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    process = train(recipe, "--out", out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def recr1(*arguments):
    return begin([sys.executable, "-m", "recr1", *arguments])


def train(*arguments):
    return recr1("train", *arguments)


def reach(process, out, step):
    """Waits until a run has logged a step."""
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or f'"step": {step},' not in (out / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline, "training did not get there"
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def finish(*arguments):
    process = train(*arguments)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return said


def lines(out, name):
    return [
        {name: value for name, value in json.loads(line).items() if "time" not in name}
        for line in (out / name).read_text().splitlines()
    ]


def same(one, other):
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert lines(one, name) == lines(other, name)
    first, second = (load_file(out / "policy" / "model.safetensors") for out in (one, other))
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


@pytest.mark.parametrize("step", [1, 4, 17])
def test_a_run_that_was_killed_goes_on_to_the_same_end(recipe, whole, tmp_path, step):
    out = tmp_path / "run"
    process = train(recipe, "--out", out)
    reach(process, out, step)
    process.kill()
    process.communicate()
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert ("resuming after step" in finish(out)) == (step > 3)  # every third step is saved
    same(whole, out)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(recipe, whole, tmp_path):
    out = tmp_path / "run"
    process = train(recipe, "--out", out)
    reach(process, out, 8)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopping after this step" in errors and "Traceback" not in errors
    step = int(re.search(r"the state after step (\d+) is saved; resume with: recr1 train ", said)[1])
    assert f"resuming after step {step}\n" in finish(recipe, "--out", out)  # the recipe and its folder name it as well
    same(whole, out)


def test_a_run_goes_on_with_its_own_recipe_alone(recipe, tmp_path):
    out = tmp_path / "run"
    process = train(recipe, "--out", out)
    reach(process, out, 4)
    process.send_signal(signal.SIGSTOP)  # it holds the folder, and does not finish meanwhile
    busy = train(out)
    assert "is being trained by another process" in busy.communicate(timeout=60)[1]
    process.kill()
    process.communicate()
    for arguments, message in [
        ((recipe, "seed=1", "--out", out), "already has a run of another recipe: seed (was 0, is 1)"),
        ((out, "seed=1"), "is a run, which resumes unchanged, without 'seed=1'"),
    ]:
        refused = train(*arguments)
        assert message in refused.communicate(timeout=60)[1] and refused.returncode == 2


@needs_service
def test_an_engine_that_is_killed_and_comes_back_changes_no_number(recipe, whole, tmp_path):
    server = serve()
    url = address(server)
    own = tmp_path / "service.yaml"
    retriever = f"{{type: service, url: '{url}', attempts: 2}}"
    own.write_text(recipe.read_text().replace("{type: bm25}", retriever))
    out = tmp_path / "run"
    process = train(own, "--out", out)
    reach(process, out, 5)
    server.kill()
    server.communicate()
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in errors
    assert f"service at {url}, after 2 attempts: " in errors
    assert f"resume with: recr1 train {out}" in said
    assert json.loads((out / "run.json").read_text())["status"] == "failed"

    gone = train(out)
    assert f"service at {url}" in gone.communicate(timeout=120)[1] and gone.returncode == 2
    server = serve(url.rpartition(":")[2])
    try:
        address(server)
        finish(out)
    finally:
        server.kill()
        server.communicate()
    same(whole, out)


@needs_service
def test_an_engine_that_is_back_while_it_is_waited_for_ends_nothing(recipe, whole, tmp_path):
    server = serve()
    url = address(server)
    own = tmp_path / "service.yaml"
    own.write_text(recipe.read_text().replace("{type: bm25}", f"{{type: service, url: '{url}'}}"))
    out = tmp_path / "run"
    process = train(own, "--out", out)
    reach(process, out, 5)
    server.kill()
    server.communicate()
    server = serve(url.rpartition(":")[2])
    try:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    finally:
        server.kill()
        server.communicate()
    same(whole, out)


def serve(port="0"):
    return recr1("serve-retriever", "toy/echo", "--port", port)


def address(server):
    """Where a service answers, once its index is there."""
    first, _ = server.stdout.readline(), server.stdout.readline()
    return re.search(r"http://127\.0\.0\.1:\d+", first)[0]


class FailsOnRankOne:
    """BM25 whose sixth search on rank 1 finds no engine, while a file says so."""

    def __init__(self, catalog, *, while_there: str) -> None:
        self.inner, self.flag, self.calls = BM25(catalog), Path(while_there), 0

    def search(self, queries, k):
        self.calls += 1
        if os.environ["RANK"] == "1" and self.calls == 6 and self.flag.exists():
            raise EngineError("engine", "http://there", 3, "no connection")
        return self.inner.search(queries, k)


def launch_two(*arguments):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "recr1", "train"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )


def test_what_stops_one_rank_stops_all_with_the_reason_and_all_go_on_together(recipe, tmp_path):
    flag = tmp_path / "flag"
    retriever = f"{{type: 'tests.recr1.cli.test_cli_resume:FailsOnRankOne', while_there: '{flag}'}}"
    own = tmp_path / "two.yaml"
    own.write_text(recipe.read_text().replace("{type: bm25}", retriever).replace(f"steps: {STEPS}", "steps: 8"))
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = launch_two(own, "--out", whole)
    assert done.returncode == 0, done.stderr
    flag.touch()
    failed = launch_two(own, "--out", out)
    assert failed.returncode != 0
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == "failed"
    assert (
        facts["error"]
        == "RankError: rank 1 failed: EngineError: engine at http://there, after 3 attempts: no connection"
    )
    assert f"resume with: recr1 train {out}" in failed.stdout
    alone = train(out)
    assert "it started with world_size 2, and now it is world_size 1" in alone.communicate(timeout=60)[1]
    flag.unlink()
    again = launch_two(out)
    assert again.returncode == 0, again.stderr
    same(whole, out)
