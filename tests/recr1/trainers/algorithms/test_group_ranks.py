"""A reward that compares the completions of a need, under two processes: whole groups on each, or no training."""

from __future__ import annotations

import sys

import pytest

from tests.processes import begin
from tests.recr1.trainers.launch.test_ranks import LAUNCH, STEPS, TRAIN, curve, finish, lines, trained, write

pytestmark = pytest.mark.slow
REWARDS = 'rewards: [{type: group_length}, {type: "tests.recr1.trainers.layers.test_resume:Vowels", weight: 0.1}]'


def recipe(folder, name, model, *, batch, trainer):
    path = write(
        folder / f"{name}.yaml", model, trainer=f"tests.recr1.trainers.algorithms.alike:Alike{trainer}", batch=batch
    )
    told = path.read_text().splitlines()
    path.write_text("\n".join(REWARDS if line.startswith("rewards:") else line for line in told))
    return path


@pytest.mark.parametrize("trainer", ["GRPO", "RLOO", "PPO"])
def test_two_processes_pay_the_length_in_a_group_as_one_does(tmp_path, random_model, trainer):
    one = trained([], recipe(tmp_path, "one", random_model, batch=16, trainer=trainer), tmp_path / "one")
    two = trained(LAUNCH, recipe(tmp_path, "two", random_model, batch=8, trainer=trainer), tmp_path / "two")

    together, first, second = (lines(run / f"rewarded-{rank}.jsonl") for run, rank in ((one, 0), (two, 0), (two, 1)))
    assert len(together) == 16 * STEPS and len(first) == len(second) == 8 * STEPS
    for step in range(STEPS):
        whole = together[16 * step :][:16]
        parts = first[8 * step :][:8] + second[8 * step :][:8]
        assert [(line["need"], line["text"]) for line in parts] == [(line["need"], line["text"]) for line in whole]
        assert [line["reward"] for line in parts] == pytest.approx([line["reward"] for line in whole], abs=1e-6)
        assert len({line["need"] for line in whole}) == 4
    for name in ("reward", "reward/group_length", "loss"):
        curves = [curve(run, f"train/{name}") for run in (one, two)]
        assert len(curves[0]) == STEPS and curves[1] == pytest.approx(curves[0], rel=2e-3, abs=1e-5), name
    assert len(set(curve(one, "train/reward/group_length"))) > 1, "nothing was compared"


def test_two_processes_with_parts_of_groups_are_refused_by_both(tmp_path, random_model):
    path = recipe(tmp_path, "two", random_model, batch=6, trainer="GRPO")
    process = begin([sys.executable, *LAUNCH, *TRAIN, path, "--out", tmp_path / "two"], ACCELERATE_USE_CPU="true")
    (errors,) = finish(process)
    assert process.returncode != 0
    assert "reward 'group_length' compares the 4 completions of a need, and each of 2 processes has 6" in errors
    assert "make trl.per_device_train_batch_size a multiple of 4" in errors
