"""Needs are drawn by what their completions earn, each is seen again, and a run that goes on draws the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import open_environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.curriculum import Learnability, known_variances
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO
from retrievers.errors import EngineError
from tests.processes import ROOT
from tests.recr1.trainers.layers.test_resume import Failing, same

NEEDS = [f"n{number}" for number in range(4)]
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=100)


def known(*, uniform=0.2, rate=0.5, start=None):
    return Learnability(NEEDS, uniform=uniform, rate=rate, start=start or {})


def test_a_reward_of_0_and_1_gives_the_variance_of_a_coin():
    one = known()
    one.learn(["n0"] * 4 + ["n1"] * 4, [1, 0, 1, 0, 1, 1, 1, 1])
    assert one.variance[:2].tolist() == [pytest.approx(4 / 3 * 0.25), 0]  # p(1 - p), times 4/3 to be unbiased
    assert np.isnan(one.variance[2:]).all()


def test_the_last_group_moves_what_is_known_by_the_rate():
    one = known(rate=0.25, start={"n0": 0.4})
    one.learn(["n0", "n0"], [0.5, 0.5])
    assert one.variance[0] == pytest.approx(0.3)


def test_a_completion_without_a_reward_counts_for_nothing():
    one = known()
    one.learn(["n0", "n0", "n0", "n1", "n1"], [1, 0, float("nan"), 1, float("nan")])
    assert one.variance[0] == pytest.approx(0.5) and np.isnan(one.variance[1])


def test_chances_follow_the_variance_and_no_need_is_without_one():
    one = known(start={"n0": 0.3, "n1": 0.1, "n2": 0.0})
    # n3 was not seen and counts as the mean, 0.4 / 3; each has a fifth of an even share besides.
    total = 0.4 + 0.4 / 3
    assert one.chances == pytest.approx([0.05 + 0.8 * v / total for v in (0.3, 0.1, 0.0, 0.4 / 3)])
    assert one.chances.sum() == pytest.approx(1) and one.chances.min() > 0


@pytest.mark.parametrize("start", [{}, dict.fromkeys(NEEDS, 0.0)])
def test_where_nothing_tells_needs_apart_they_are_alike(start):
    assert known(start=start).chances.tolist() == [0.25] * 4


def test_a_draw_has_different_needs_as_often_as_their_chances_say():
    one = known(start={"n0": 0.3, "n1": 0.1, "n2": 0.0})
    firsts = [one.draw(1, [0, step])[0] for step in range(4000)]
    np.testing.assert_allclose(np.bincount(firsts) / 4000, one.chances, atol=0.03)
    assert sorted(one.draw(4, [7, 7])) == [0, 1, 2, 3] and len(one.draw(6, [7, 7])) == 6
    assert one.draw(3, [7, 7]) == one.draw(3, [7, 7])


def test_the_state_is_exact_in_json():
    one, other = known(), known()
    one.learn(["n0", "n0", "n2", "n2"], [0.1, 0.7, 1 / 3, 0.2])
    other.restore(json.loads(json.dumps(one.state())))
    np.testing.assert_array_equal(one.variance, other.variance)


class Quarter:
    """Pays a quarter of the needs for vowels, and the others nothing."""

    name = "quarter"

    def __call__(self, batch):
        texts = [rollout.completion.lower() for rollout in batch.rollouts]
        shares = [sum(map(text.count, "aeiou")) / max(len(text), 1) for text in texts]
        pays = [rollout.need.id.endswith(("0", "4", "8")) for rollout in batch.rollouts]
        return np.array(shares, np.float32) * np.array(pays, np.float32)


def environment(**faults):
    task = Part("shop", {"items": 200, "train": 16, "validation": 4, "test": 4})
    env = open_environment(task, Part("bm25"), [(Part(f"{__name__}:Quarter"), 1.0)], 10)
    if faults:
        env.retriever = Failing(env.retriever, **faults)
    return env


def go(run, env, model, *, trainer=GRPO, steps=6, trl=None, **options):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    made = trainer(steps=steps, trl={**TRL, **(trl or {})}, rollouts_every=1, curriculum="learnability", **options)
    made.train(part, env, run, seed=3, evaluation=VALIDATION)
    run.finish("finished")
    return run


def drawn(run, step):
    return [line["need"] for line in run.read_rollouts() if line["step"] == step]


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in (RLOO, PPO)]


@pytest.mark.parametrize("trainer", [GRPO, *SLOW])
def test_needs_come_in_groups_and_those_that_pay_come_more_often(tmp_path, random_model, trainer):
    run = go(Run.create(tmp_path / "run", {"seed": 3}, {}), environment(), random_model, trainer=trainer, steps=12)
    for step in range(1, 13):
        needs = drawn(run, step)
        assert len(needs) == 16 and [needs[i : i + 4] for i in range(0, 16, 4)] == [[n] * 4 for n in needs[::4]]
        assert len(set(needs)) == 4
    late = [need for step in range(7, 13) for need in drawn(run, step)]
    paying = np.mean([need.endswith(("0", "4", "8")) for need in late])
    assert paying > 0.4  # 4 of 16 needs, so 0.25 by chance
    logged = [line for line in run.read_metrics() if "train/curriculum/seen" in line]
    assert logged[0]["train/curriculum/seen"] == 0 and logged[-1]["train/curriculum/seen"] > 0.5
    assert logged[0]["train/curriculum/spread"] == 1 > logged[-1]["train/curriculum/spread"]
    assert logged[-1]["train/curriculum/expected_std"] > 0


SPLIT = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "steps_per_generation": 1}


@pytest.mark.parametrize(
    ("trainer", "trl", "search"),
    [
        pytest.param(GRPO, {}, 6, id="a generation a step"),
        pytest.param(GRPO, SPLIT, 8, id="two generations a step: the second fails", marks=pytest.mark.slow),
        pytest.param(PPO, {}, 6, id="ppo", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_goes_on_draws_what_it_would_have_drawn(tmp_path, random_model, trainer, trl, search):
    trl = {**trl, "save_strategy": "no"}  # the one checkpoint is that of the failure
    options = {"trainer": trainer, "trl": trl}
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model, **options)
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match="no connection"):
        go(run, environment(raised=[search]), random_model, **options)
    run.finish("failed")
    assert 0 < max(line["step"] for line in run.read_metrics()) < 6
    same(whole, go(Run.resume(tmp_path / "run", {}), environment(), random_model, **options))


def test_fresh_needs_of_a_round_are_drawn_by_the_curriculum_too(tmp_path, random_model):
    """Of 120 needs a start knows ten that pay: the others have a hundredth of the draws."""
    task = Part("shop", {"items": 200, "train": 120, "validation": 4, "test": 4})
    env = open_environment(
        task,
        Part("bm25"),
        [(Part("tests.recr1.trainers.layers.test_dynamic_sampling:Scripted", {"gain": 0.0}), 1.0)],
        10,
    )
    names = [need.id for need in env.task.needs("train")]
    hard = names[60:70]
    lines = [{"need": name, "rewards": [1, 0] if name in hard else [0, 0]} for name in names]
    (tmp_path / "per_need.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    start = {"curriculum_start": str(tmp_path), "curriculum_uniform": 0.01}
    go(run, env, random_model, steps=1, dynamic_sampling=1, **start)
    first, fresh = drawn(run, 1)[:16:4], drawn(run, 1)[16::4]
    assert len(fresh) == 4 and not set(first) & set(fresh)
    assert len(set(first + fresh) & set(hard)) >= 7


@pytest.mark.slow
def test_with_resampling_the_rounds_teach_too_and_are_exact(tmp_path, random_model):
    whole = go(Run.create(tmp_path / "whole", {"seed": 3}, {}), environment(), random_model, dynamic_sampling=2)
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    with pytest.raises(EngineError, match="no connection"):
        go(run, environment(raised=[9]), random_model, dynamic_sampling=2)
    run.finish("failed")
    same(whole, go(Run.resume(tmp_path / "run", {}), environment(), random_model, dynamic_sampling=2))


def test_what_headroom_found_is_known_before_training(tmp_path):
    lines = [{"need": "n0", "rewards": [1, 0, 1, 0]}, {"need": "n1", "rewards": [0, 0, 0, 0]}]
    (tmp_path / "per_need.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert known(start=known_variances(str(tmp_path))).state() == [pytest.approx(1 / 3), 0, None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum_uniform": 0}, "curriculum_uniform: must be a number > 0 and <= 1, got 0"),
        ({"curriculum_rate": 1.5}, "curriculum_rate: must be a number > 0 and <= 1, got 1.5"),
        ({"curriculum_start": "nowhere"}, "curriculum_start: there is no nowhere/per_need.jsonl"),
        (
            {"curriculum": "learnability", "trl": {"num_generations": 1}},
            "curriculum: one completion of a need does not differ: set trl.num_generations to 2 or more",
        ),
    ],
)
@pytest.mark.parametrize("trainer", [GRPO, PPO])
def test_values_that_mean_nothing_are_refused(trainer, options, message):
    with pytest.raises(UserError, match=message):
        trainer(steps=1, **options)


def test_a_file_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "per_need.jsonl").write_text('{"need": "n0"}\n')
    with pytest.raises(UserError, match="is not what `recr1 headroom --out` writes"):
        GRPO(steps=1, curriculum="learnability", curriculum_start=str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["grpo", "ppo"])
def test_two_processes_draw_and_know_the_same(tmp_path, random_model, trainer):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, "-m", "tests.recr1.trainers.layers.curriculum_ranks", trainer, random_model, tmp_path],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["known"] == second["known"]
    assert sum(value is not None for value in first["known"]) > 3
    # Six rows a process, of groups of four: the second group has two rows on each.
    batches = [one + other for one, other in zip(first["drawn"], second["drawn"], strict=True) if len(one) == 6]
    assert len(batches) == 5
    for needs in batches:
        assert needs == [need for need in needs[::4] for _ in range(4)] and len(set(needs)) == 3
