"""Two processes on one batch: they train as one does, and each minds its own rollouts and its own folder."""

from __future__ import annotations

import json
import socket
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.env import chat_with
from tests.processes import begin
from tests.recr1.trainers.layers.test_resume import environment

pytestmark = pytest.mark.slow

TRAIN = ["-m", "recr1", "train"]
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
STEPS = 5
RECIPE = """
seed: 3
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: {retriever}
k: 10
rewards: [{{type: measure, measure: nDCG@10}}, {{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {{type: transformers, model: {model}, max_new_tokens: 6}}
trainer:
  type: {trainer}
  steps: {steps}
  rollouts_every: 1
  trl:
    num_generations: {group}
    per_device_train_batch_size: {batch}
    gradient_accumulation_steps: {accumulated}
    learning_rate: 1.0e-2
    beta: 0.1
    save_steps: 2
evaluate: {{split: validation, measures: [nDCG@10], every: 5, keep: last}}
"""


def write(path, model, *, trainer="grpo", group=4, batch=6, accumulated=1, steps=STEPS, retriever="{type: bm25}"):
    values = {"trainer": trainer, "group": group, "batch": batch, "accumulated": accumulated, "steps": steps}
    path.write_text(RECIPE.format(model=model, retriever=retriever, **values))
    return path


def finish(*processes):
    """The errors of processes, which have ended; where one has not, none is left behind."""
    try:
        return [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()


def trained(launch, recipe, out):
    process = begin([sys.executable, *launch, *TRAIN, recipe, "--out", out], ACCELERATE_USE_CPU="true")
    (errors,) = finish(process)
    assert process.returncode == 0, errors
    assert json.loads((out / "run.json").read_text())["world_size"] == 1 + (launch is LAUNCH)
    return out


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def curve(run, name):
    return [line[name] for line in lines(run / "metrics.jsonl") if name in line]


def weights(folder):
    held = load_file(folder / "model.safetensors")
    return np.concatenate([held[name].ravel() for name in sorted(held)]).astype(np.float64)


CASES = [
    pytest.param("GRPO", {"batch": 12}, {"batch": 6}, id="grpo, a group on both"),
    pytest.param("GRPO", {"batch": 6, "accumulated": 4}, {"batch": 4, "accumulated": 3}, id="grpo, accumulated"),
    pytest.param("RLOO", {"batch": 12}, {"batch": 6}, id="rloo"),
    pytest.param("PPO", {"batch": 12, "group": 1}, {"batch": 6, "group": 1}, id="ppo"),
]
"""A trainer, and how one process and each of two share a batch."""


@pytest.mark.parametrize(("trainer", "whole", "half"), CASES)
def test_two_processes_train_as_one_with_the_same_batch(tmp_path, random_model, trainer, whole, half):
    trainer = f"tests.recr1.trainers.algorithms.alike:Alike{trainer}"
    one = trained([], write(tmp_path / "one.yaml", random_model, trainer=trainer, **whole), tmp_path / "one")
    two = trained(LAUNCH, write(tmp_path / "two.yaml", random_model, trainer=trainer, **half), tmp_path / "two")

    together, first, second = (lines(run / f"rewarded-{rank}.jsonl") for run, rank in ((one, 0), (two, 0), (two, 1)))
    batch = len(together) // STEPS
    assert len(first) == len(second) == len(together) / 2
    for step in range(STEPS):
        of_two = first[step * batch // 2 :][: batch // 2] + second[step * batch // 2 :][: batch // 2]
        of_one = together[step * batch :][:batch]
        assert [(line["need"], line["text"]) for line in of_two] == [(line["need"], line["text"]) for line in of_one]
    assert len({line["text"] for line in first} & {line["text"] for line in second}) < len(first) / 2

    # TRL logs the mean of what micro-batches have in the mean, which depends on where they are cut.
    near = 2e-3 if "accumulated" not in whole else 0.05
    for name, rel in {"reward": 2e-3, "loss": 2e-3, "grad_norm": 2e-3, "kl": near, "entropy": near}.items():
        curves = [curve(run, f"train/{name}") for run in (one, two)]
        assert len(curves[0]) == STEPS, name
        assert curves[1] == pytest.approx(curves[0], rel=rel, abs=1e-5), name
    start = weights(random_model)
    gone = [weights(run / "policy") - start for run in (one, two)]
    assert np.linalg.norm(gone[0]) > 0.1
    assert np.linalg.norm(gone[1] - gone[0]) < 0.01 * np.linalg.norm(gone[0])


def test_each_process_is_paid_for_its_own_rollouts(tmp_path, random_model):
    recipe = write(
        tmp_path / "two.yaml", random_model, trainer="tests.recr1.trainers.algorithms.alike:AlikeGRPO", steps=2
    )
    out = trained(LAUNCH, recipe, tmp_path / "two")
    env = environment()
    ranks = [lines(out / f"rewarded-{rank}.jsonl") for rank in (0, 1)]
    for rewarded in ranks:
        needs = [env.need(line["need"]) for line in rewarded]
        chats = [chat_with(prompt, line["text"]) for prompt, line in zip(env.prompts(needs), rewarded, strict=True)]
        earned = env.step(needs, chats).rewards
        assert [line["reward"] for line in rewarded] == pytest.approx(list(earned), abs=1e-6)
    assert [line["reward"] for line in ranks[0]] != [line["reward"] for line in ranks[1]]


def nodes(folder, recipe):
    """Two processes, each begun in a folder of its own as on two machines without a common disk, after they ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    begun = []
    for rank in (0, 1):
        (folder / f"node-{rank}").mkdir(exist_ok=True)
        env = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        out = folder / f"node-{rank}" / "run"
        begun.append(begin([sys.executable, *TRAIN, recipe, "--out", out], **env))
    errors = finish(*begun)
    return [process.returncode for process in begun], errors


def test_no_process_needs_the_folder_of_another(tmp_path, random_model):
    recipe = write(tmp_path / "two.yaml", random_model)
    common = trained(LAUNCH, recipe, tmp_path / "common")
    codes, errors = nodes(tmp_path, recipe)
    assert codes == [0, 0], errors
    apart = tmp_path / "node-0" / "run"
    for name in ("train/reward", "train/loss", "train/grad_norm"):
        assert curve(apart, name) == curve(common, name)
    assert np.array_equal(weights(apart / "policy"), weights(common / "policy"))
    other = tmp_path / "node-1" / "run"
    assert not (other / "metrics.jsonl").exists() and not (other / "policy").exists()


def test_a_run_whose_checkpoints_not_all_processes_see_does_not_go_on(tmp_path, random_model):
    flag = tmp_path / "flag"
    flag.touch()
    retriever = f"{{type: 'tests.recr1.cli.test_cli_resume:FailsOnRankOne', while_there: '{flag}'}}"
    recipe = write(tmp_path / "two.yaml", random_model, retriever=retriever)
    codes, errors = nodes(tmp_path, recipe)
    assert 0 not in codes
    assert "rank 1 failed: EngineError: engine at http://there" in errors[0]
    flag.unlink()
    codes, errors = nodes(tmp_path, recipe)
    assert codes == [2, 2]
    for said in errors:
        assert "rank 0 resumes after step 3 and rank 1 after step 0: they do not see the same checkpoints" in said
