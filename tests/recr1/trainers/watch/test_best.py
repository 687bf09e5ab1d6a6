"""The best policy, early stopping and the alarm in real runs: what is kept, what is recorded, what a resume gives."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import AlarmSpec, EvaluationSpec, Part
from recr1.env import open_environment, repeated
from recr1.errors import RecipeError, UserError
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.checkpoints import Checkpoints
from retrievers.errors import EngineError
from tests.recr1.trainers.algorithms.arms import make_speaker
from tests.recr1.trainers.layers.test_resume import TRL, environment, numbers

EACH = EvaluationSpec(split="validation", measures=("nDCG@10",), every=1)
ALL = {**TRL, "save_steps": 1, "save_total_limit": 100}


def go(run, model, *, steps=8, seed=1, evaluation=EACH, env=None, trl=None, policy=None, finish=True):
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6, **(policy or {})})
    trainer = GRPO(steps=steps, trl=trl or ALL, rollouts_every=1)
    trainer.train(part, env or environment(), run, seed=seed, evaluation=evaluation)
    if finish:
        run.finish("finished")
    return run


def weights(folder):
    return load_file(folder / "model.safetensors")


def equal(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


def curve(run):
    return {line["step"]: line["eval/validation/nDCG@10"] for line in run.read_metrics() if "time/validation" in line}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, random_model):
    """A run whose best validation is neither its first nor its last, with all its checkpoints."""
    return go(Run.create(tmp_path_factory.mktemp("best") / "run", {"seed": 1}, {}), random_model)


def test_the_policy_is_that_of_the_earliest_best_validation(whole):
    values = curve(whole)
    best = min(step for step, value in values.items() if value == max(values.values()))
    assert 0 < best < 8 and values[best] > values[0]
    checkpoints = Checkpoints(whole.path / "checkpoints").steps()
    assert equal(weights(whole.policy_path), weights(checkpoints[best]))
    assert not equal(weights(whole.policy_path), weights(checkpoints[8]))
    assert whole.facts()["policy"] == {
        "keep": "best",
        "step": best,
        "measure": "nDCG@10",
        "value": values[best],
        "split": "validation",
        "chosen_on": "validation",
        "validations": 9,
    }
    assert whole.facts()["stopped"] is None
    assert not (whole.path / "best").exists()


def test_each_checkpoint_holds_the_best_of_its_moment_at_no_cost(whole):
    steps, values = Checkpoints(whole.path / "checkpoints").steps(), curve(whole)
    files = {step: path / "best" / "weights.safetensors" for step, path in steps.items()}
    for step, file in files.items():
        so_far = {place: value for place, value in values.items() if place <= step}
        best = min(place for place, value in so_far.items() if value == max(so_far.values()))
        assert best == 0 or os.path.samefile(file, files[best])
        held = weights(steps[best]) if best else None
        assert held is None or all(np.array_equal(held[name], value) for name, value in load_file(file).items())


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_after_any_step_keeps_the_same_best(whole, tmp_path, random_model, step):
    run = Run.create(tmp_path / "run", {"seed": 1}, {})
    for name in ("metrics.jsonl", "rollouts.jsonl"):  # it had gone further than its newest checkpoint
        shutil.copy(whole.path / name, run.path / name)
    run.finish("failed")
    (run.path / "checkpoints").mkdir()
    shutil.copytree(Checkpoints(whole.path / "checkpoints").steps()[step], run.path / f"checkpoints/checkpoint-{step}")
    (run.path / "best").mkdir()
    (run.path / "best" / "weights.safetensors").write_bytes(b"of a later step, half written")
    again = go(Run.resume(run.path, {}), random_model)
    assert equal(weights(again.policy_path), weights(whole.policy_path))
    assert again.facts()["policy"] == whole.facts()["policy"]
    assert numbers(again) == numbers(whole)


@pytest.mark.slow
def test_the_last_policy_is_kept_where_the_recipe_says_so(whole, tmp_path, random_model):
    last = replace(EACH, keep="last", alarm=AlarmSpec(action="warn"))
    run = go(Run.create(tmp_path / "run", {"seed": 1}, {}), random_model, evaluation=last)
    steps = Checkpoints(run.path / "checkpoints").steps()
    assert equal(weights(run.policy_path), weights(steps[8]))
    assert not (steps[8] / "best").exists()  # nothing may want it
    card = run.facts()["policy"]
    assert (card["keep"], card["step"], card["chosen_on"], card["value"]) == ("last", 8, None, curve(run)[8])


def test_patience_ends_a_run_that_gains_nothing_as_finished(tmp_path, random_model, capsys):
    run = go(Run.create(tmp_path / "run", {}, {}), random_model, seed=3, evaluation=replace(EACH, patience=2), steps=20)
    assert list(curve(run)) == [0, 1, 2, 3]  # the second validation is the best, and two more are not better
    facts = run.facts()
    assert (facts["status"], facts["policy"]["step"]) == ("finished", 1)
    assert facts["stopped"]["why"] == "patience" and facts["stopped"]["step"] == 3
    said = capsys.readouterr().out
    assert "training ends after step 3: nDCG@10 has not passed 0.105 in 2 validations (evaluate.patience 2)" in said
    assert "keeping the policy of step 1 (best validation nDCG@10 0.105)" in said


@pytest.mark.slow
@pytest.mark.parametrize("search", [4, 5])
def test_a_run_that_goes_on_has_the_patience_that_it_had_left(tmp_path, random_model, search):
    # Searches: the policy and its references, then rewards and validation of each step in turn.
    spec = replace(EACH, patience=2)
    unbroken = go(Run.create(tmp_path / "whole", {}, {}), random_model, seed=3, evaluation=spec, steps=20)
    run = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(EngineError):
        go(run, random_model, seed=3, evaluation=spec, steps=20, env=environment(raised=[search]))
    run.finish("failed")
    again = go(Run.resume(run.path, {}), random_model, seed=3, evaluation=spec, steps=20)
    assert numbers(again)[0] == numbers(unbroken)[0]
    assert again.facts()["stopped"] == unbroken.facts()["stopped"]
    assert equal(weights(again.policy_path), weights(unbroken.policy_path))


def test_a_run_that_was_killed_between_its_early_end_and_its_policy_does_not_train_on(tmp_path, random_model):
    spec = replace(EACH, patience=2)
    run = go(Run.create(tmp_path / "run", {}, {}), random_model, seed=3, evaluation=spec, steps=20, finish=False)
    before, wanted = numbers(run)[0], weights(run.policy_path)
    run.finish("failed")
    shutil.rmtree(run.policy_path)
    again = go(Run.resume(run.path, {}), random_model, seed=3, evaluation=spec, steps=20)
    assert numbers(again)[0] == before and equal(weights(again.policy_path), wanted)


@pytest.mark.slow
def test_of_an_adapter_its_own_weights_are_kept_and_merged_in_the_end(tmp_path, random_model):
    policy = {"lora_rank": 4}
    run = go(Run.create(tmp_path / "run", {}, {}), random_model, policy=policy)
    step = run.facts()["policy"]["step"]
    kept = load_file(Checkpoints(run.path / "checkpoints").steps()[8] / "best" / "weights.safetensors")
    assert kept and all("lora_" in name for name in kept)
    saved = load_file(run.path / "adapter" / "adapter_model.safetensors")
    assert {name.replace(".default", "") for name in kept} == set(saved)
    assert all(np.array_equal(value, saved[name.replace(".default", "")]) for name, value in kept.items())
    assert (step == 0) == equal(weights(run.policy_path), weights(random_model))


# --- a collapse, planted


class Repeats:
    """Pays for saying the same word again: the policy that learns it is of no use."""

    name = "repeats"

    def __call__(self, batch):
        said = [rollout.completion for rollout in batch.rollouts]
        return np.array([repeated(text) / max(len(text.split()), 1) for text in said], np.float32)


WORDS = ("red", "oak", "sofa", "lamp", "warm", "table", "blue", "chair")


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    return make_speaker(tmp_path_factory.mktemp("speaker"), WORDS)


def collapse(run, speaker, *, action="stop", steps=30, finish=True):
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    env = open_environment(task, Part("bm25"), [(Part(f"{__name__}:Repeats"), 1.0)], 10)
    alarm = AlarmSpec(action=action, stop_on=("repeated",), repeated=0.6, warn_after=2, stop_after=4)
    spec = replace(EACH, every=10, keep="last", alarm=alarm)
    trl = {**ALL, "learning_rate": 3e-2, "lr_scheduler_type": "constant"}
    return go(run, speaker, env=env, evaluation=spec, trl=trl, steps=steps, finish=finish)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, speaker):
    return collapse(Run.create(tmp_path_factory.mktemp("collapse") / "run", {}, {}), speaker, finish=False)


def alerts(run):
    return [json.loads(line) for line in (run.path / "alerts.jsonl").read_text().splitlines()]


def test_a_collapse_warns_then_stops_the_run_and_the_best_policy_is_back(stopped, speaker):
    warning, stop = [alert for alert in alerts(stopped) if alert["sign"] == "repeated"]
    assert (warning["level"], stop["level"]) == ("warning", "stop")
    steps = [line["step"] for line in stopped.read_metrics() if line.get("train/query/repeated", 0) > 0.6]
    assert stop["step"] == warning["step"] + 2 == steps[-1] < 30
    facts = stopped.facts()
    assert (facts["stopped"]["why"], facts["stopped"]["step"]) == ("collapse", stop["step"])
    assert facts["policy"]["keep"] == "best" and facts["policy"]["step"] < warning["step"]
    newest = list(Checkpoints(stopped.path / "checkpoints").steps().values())[-1]
    assert not equal(weights(stopped.policy_path), weights(newest))
    at = Checkpoints(stopped.path / "checkpoints").steps().get(facts["policy"]["step"], speaker)
    assert equal(weights(stopped.policy_path), weights(at))


@pytest.mark.slow
def test_a_run_that_only_warns_goes_on_to_its_last_step(tmp_path, speaker):
    run = collapse(Run.create(tmp_path / "run", {}, {}), speaker, action="warn", steps=20)
    assert {alert["level"] for alert in alerts(run)} == {"warning"}
    assert run.facts()["stopped"] is None and run.facts()["policy"]["step"] == 20


def test_a_run_that_was_killed_while_the_alarm_counted_stops_at_the_same_step(stopped, tmp_path, speaker):
    step = alerts(stopped)[0]["step"]
    run = Run.create(tmp_path / "run", {}, {})
    for name in ("metrics.jsonl", "alerts.jsonl", "rollouts.jsonl"):
        shutil.copy(stopped.path / name, run.path / name)
    run.finish("failed")
    (run.path / "checkpoints").mkdir()
    shutil.copytree(
        Checkpoints(stopped.path / "checkpoints").steps()[step], run.path / f"checkpoints/checkpoint-{step}"
    )
    again = collapse(Run.resume(run.path, {}), speaker)
    assert alerts(again) == alerts(stopped)
    assert numbers(again)[0] == numbers(stopped)[0]
    assert again.facts()["stopped"] == stopped.facts()["stopped"]
    assert equal(weights(again.policy_path), weights(stopped.policy_path))


def test_weights_that_are_not_finite_stop_the_run_before_it_fails(tmp_path, random_model, capsys):
    trl = {**TRL, "learning_rate": 1e39, "max_grad_norm": 0.0}
    run = go(Run.create(tmp_path / "run", {}, {}), random_model, trl=trl)
    assert run.facts()["stopped"]["why"] == "collapse" and "not finite" in run.facts()["stopped"]["text"]
    assert all(np.isfinite(value).all() for value in weights(run.policy_path).values())
    assert "weights are not finite: lower trl.learning_rate" in capsys.readouterr().out


# --- the test chooses nothing


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "keep: last and alarm.action: warn"),
        ({"keep": "last", "patience": 3}, "patience: null and alarm.action: warn"),
        ({"keep": "last"}, "alarm.action: warn"),
    ],
)
def test_a_split_that_would_choose_the_policy_is_not_the_test(options, remedy, tmp_path, random_model):
    spec = replace(EACH, split="test", **options)
    wanted = f"split: 'test' would choose the policy that is kept: use validation, or set {remedy}"
    assert spec.training_problem() == wanted
    with pytest.raises(UserError, match=r"evaluate\.split: 'test' would choose"):
        go(Run.create(tmp_path / "run", {}, {}), random_model, evaluation=spec)


def test_a_recipe_is_told_so_before_anything_loads():
    with pytest.raises(RecipeError) as refused:
        load_recipe("quickstart", ["evaluate.split=test"])
    assert "evaluate.split: 'test' would choose the policy that is kept" in refused.value.problems[0]
    watched = ["evaluate.split=test", "evaluate.keep=last", "evaluate.alarm={action: warn}"]
    assert load_recipe("quickstart", watched).evaluate.split == "test"
    assert load_recipe("toy/echo").evaluate.split == "test"  # it trains nothing


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "evaluate.alarm.entropi=1",
            "evaluate.alarm.entropi: evaluate.alarm has no option 'entropi'; did you mean 'entr",
        ),
        ("evaluate.alarm.valid=2", "evaluate.alarm.valid: must be a number > 0 and < 1, or null, got 2"),
        ("evaluate.alarm.stop_on=[kll]", "evaluate.alarm.stop_on.0: must be one of 'entropy'"),
        ("evaluate.alarm=loud", "evaluate.alarm: must be a mapping with the keys action, stop_on"),
        ("evaluate.keep=first", "evaluate.keep: must be one of 'best', 'last', got 'first'"),
        ("evaluate.patience=0", "evaluate.patience: must be an integer >= 1, or null, got 0"),
        ("evaluate.min_gain=-1", "evaluate.min_gain: must be a number >= 0, got -1"),
    ],
)
def test_a_wrong_key_or_value_is_told_under_its_path(override, problem):
    with pytest.raises(RecipeError) as refused:
        load_recipe("quickstart", [override])
    assert any(problem in line for line in refused.value.problems), refused.value.problems


def test_thresholds_of_a_recipe_reach_the_run_and_are_written_down():
    spec = load_recipe("quickstart", ["evaluate.alarm={action: warn, entropy: 0.2, stop_on: [kl]}"]).evaluate
    assert spec.alarm == AlarmSpec(action="warn", entropy=0.2, stop_on=("kl",))
    assert spec.to_dict()["alarm"]["entropy"] == 0.2
