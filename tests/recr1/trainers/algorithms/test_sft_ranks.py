"""Supervised fine-tuning and stages under two processes: they sample one set of pairs, and train as one does."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

import numpy as np
import pytest

from recr1.env import chat_with
from tests.processes import begin
from tests.recr1.trainers.launch.test_ranks import LAUNCH, TRAIN, curve, finish, lines, trained, weights
from tests.recr1.trainers.layers.test_resume import environment

pytestmark = pytest.mark.slow

HEAD = """
seed: 3
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: {{type: bm25}}
k: 10
rewards: [{{type: measure, measure: nDCG@10}}, {{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {{type: transformers, model: {model}, max_new_tokens: 8}}
evaluate: {{split: validation, measures: [nDCG@10], every: 3, keep: last, alarm: {{action: off}}}}
"""
SFT = """{{type: sft, steps: {steps}, pairs: {pairs},
     trl: {{per_device_train_batch_size: {batch}, learning_rate: 1.0e-2}}}}"""
GRPO = """{{type: "tests.recr1.trainers.algorithms.alike:AlikeGRPO", steps: {steps}, rollouts_every: 1,
     trl: {{num_generations: 4, per_device_train_batch_size: {group}, learning_rate: 1.0e-2}}}}"""
SEARCHED = "{type: searched, choose: expected, at_least: 0.001}"
SAMPLED = "{type: sampled, per_need: 4, keep: 2, at_least: 0.2}"


def write(path, trainer, model="tiny-shopper", **values):
    path.write_text((HEAD + trainer).format(model=model, **values))
    return path


def test_two_processes_sample_each_need_once_and_keep_the_best(tmp_path):
    recipe = write(tmp_path / "two.yaml", f"trainer: {SFT}", steps=1, pairs=SAMPLED, batch=4)
    run, env = trained(LAUNCH, recipe, tmp_path / "two"), environment()
    needs = [need.id for need in env.task.needs("train")]
    facts, kept = json.loads((run / "run.json").read_text())["pairs"], lines(run / "pairs.jsonl")
    assert facts["needs"] == len(needs) and facts["sampled"] == 4 * len(needs) and facts["kept"] == len(kept) > 4
    places = [needs.index(line["need"]) for line in kept]
    assert places == sorted(places) and {place % 2 for place in places} == {0, 1}  # of both processes, in one order
    asked = [env.need(line["need"]) for line in kept]
    chats = [chat_with(prompt, line["completion"]) for prompt, line in zip(env.prompts(asked), kept, strict=True)]
    np.testing.assert_allclose([line["reward"] for line in kept], env.step(asked, chats).rewards, rtol=1e-6)


def test_two_processes_learn_from_sampled_pairs_as_one_with_the_same_batch(tmp_path):
    # Three batches are full; what is left for a fourth is filled up where there are several processes.
    recipe = write(tmp_path / "two.yaml", f"trainer: {SFT}", steps=3, pairs=SAMPLED, batch=3)
    two, env = trained(LAUNCH, recipe, tmp_path / "two"), environment()
    table = tmp_path / "pairs.jsonl"
    for line in lines(two / "pairs.jsonl"):
        with table.open("a") as file:
            pair = {"need": env.need(line["need"]).text, "query": line["completion"]}
            file.write(json.dumps(pair) + "\n")
    assert len(lines(table)) >= 18
    pairs = f"{{type: file, path: {table}}}"
    recipe = write(tmp_path / "one.yaml", f"trainer: {SFT}", steps=3, pairs=pairs, batch=6)
    alike(trained([], recipe, tmp_path / "one"), two, {"loss": 3})


def test_two_processes_search_the_pairs_that_one_finds(tmp_path):
    recipe = write(tmp_path / "both.yaml", f"trainer: {SFT}", steps=1, pairs=SEARCHED, batch=2)
    recipe.write_text(recipe.read_text().replace("max_new_tokens: 8", "max_new_tokens: 24"))
    one, two = (trained(command, recipe, tmp_path / name) for name, command in (("one", []), ("two", LAUNCH)))
    assert lines(one / "pairs.jsonl") == lines(two / "pairs.jsonl") != []
    facts = [json.loads((run / "run.json").read_text())["pairs"] for run in (one, two)]
    assert facts[0] == facts[1] and facts[0]["needs"] == len(environment().task.needs("train"))


def alike(one, two, curves):
    for name, steps in curves.items():
        of_one, of_two = (curve(run, f"train/{name}") for run in (one, two))
        assert len(of_one) == steps, name
        assert of_two == pytest.approx(of_one, rel=2e-3, abs=1e-5), name
    left = [weights(run / "policy") for run in (one, two)]
    assert np.linalg.norm(left[1] - left[0]) < 0.01 * np.linalg.norm(left[0])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.tsv"
    queries = ["red sofa", "oak table", "warm lamp", "red lamp", "oak sofa", "warm table"]
    path.write_text("need\tquery\n" + "".join(f"I want a {query} please\t{query}\n" for query in queries))
    return path


STAGES = f"trainer:\n  - {SFT}\n  - {GRPO}\n"


def test_two_processes_train_stages_as_one(tmp_path, random_model, table):
    given = {"model": random_model, "steps": 3, "pairs": f"{{type: file, path: {table}}}"}
    one = trained([], write(tmp_path / "one.yaml", STAGES, **given, batch=6, group=12), tmp_path / "one")
    two = trained(LAUNCH, write(tmp_path / "two.yaml", STAGES, **given, batch=3, group=6), tmp_path / "two")
    alike(one, two, {"loss": 6, "reward": 3})
    stages = [json.loads((run / "run.json").read_text())["stages"] for run in (one, two)]
    assert stages[0] == stages[1] and [stage["last_step"] for stage in stages[1]] == [3, 6]
    for rank in (0, 1):  # each process was paid for rollouts of the second stage, from the policy of the first
        (file,) = two.glob(f"stages/2-*/rewarded-{rank}.jsonl")
        assert len(lines(file)) == 3 * 6


def ranks(*arguments):
    """Two processes of one launch, each with its own signals."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common["ACCELERATE_USE_CPU"] = "true"
    return [begin([sys.executable, *TRAIN, *arguments], RANK=str(r), LOCAL_RANK=str(r), **common) for r in (0, 1)]


@pytest.mark.parametrize("step", [1, 6], ids=["in the stage that sampled", "in the stage after it"])
def test_two_processes_that_were_killed_go_on_in_their_stage_with_the_pairs_that_they_sampled(tmp_path, step):
    recipe = write(tmp_path / "two.yaml", STAGES, steps=4, pairs=SAMPLED, batch=3, group=6)
    whole, out = trained(LAUNCH, recipe, tmp_path / "whole"), tmp_path / "run"
    begun = ranks(recipe, "--out", out)
    deadline = time.monotonic() + 300
    while not (out / "metrics.jsonl").exists() or f'"step": {step},' not in (out / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline and begun[0].poll() is None
        time.sleep(0.02)
    for process in begun:
        os.kill(process.pid, signal.SIGKILL)
    finish(*begun)
    sampled = (out / "stages/1-sft/pairs.jsonl").read_bytes()
    again = ranks(out)
    errors = finish(*again)
    assert [process.returncode for process in again] == [0, 0], errors
    assert (out / "stages/1-sft/pairs.jsonl").read_bytes() == sampled
    for name in ("train/loss", "train/reward", "eval/validation/nDCG@10"):
        assert curve(out, name) == curve(whole, name), name
    assert np.array_equal(weights(out / "policy"), weights(whole / "policy"))
