"""PPO under two processes: the critic that each of them holds stays the critic of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.processes import ROOT

ONE = [sys.executable, "-m", "recr1", "train"]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
TWO += ["--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
TWO += ["-m", "recr1", "train"]
RECIPE = """
seed: 3
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: {{type: bm25}}
k: 10
rewards: [{{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {{type: transformers, model: {model}, max_new_tokens: 6}}
trainer:
  type: ppo
  steps: 5
  critic: {critic}
  critic_learning_rate: 1.0e-2
  kl: reward
  trl:
    num_generations: 1
    per_device_train_batch_size: {batch}
    gradient_accumulation_steps: 2
    learning_rate: 1.0e-2
    beta: 0.1
    generation_kwargs: {{do_sample: false}}   # what is sampled depends on the process
evaluate: {{split: validation, measures: [nDCG@10], every: 5}}
"""


def trained(command, folder, name, **values):
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPE.format(**values))
    done = subprocess.run(
        [*command, recipe, "--out", folder / name],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").open()]
    assert json.loads((folder / name / "run.json").read_text())["world_size"] == 1 + (command is TWO)
    return [line for line in lines if "train/reward" in line]


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["head", "model"])
def test_two_processes_train_as_one_with_the_same_batch(tmp_path, random_model, critic):
    one = trained(ONE, tmp_path, "one", model=random_model, critic=critic, batch=4)
    two = trained(TWO, tmp_path, "two", model=random_model, critic=critic, batch=2)
    assert len(one) == 5
    assert one[0]["train/reward"] != one[-1]["train/reward"]
    names = [name for name in one[0] if name.startswith(("train/value/", "train/advantage/"))]
    assert len(names) == 8
    for name in ("train/reward", "train/loss", "train/grad_norm", "train/kl", *names):
        curves = [[line[name] for line in run] for run in (one, two)]
        assert curves[1] == pytest.approx(curves[0], rel=5e-3, abs=1e-5), name
