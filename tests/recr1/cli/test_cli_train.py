"""`recr1 train` and `recr1 eval` as a user runs them: one clear message for each mistake, and nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import begin

TOY = """\
seed: 0
task: {type: toy, format: {type: plain, prompt: "{need}"}}
retriever: {type: bm25}
k: 10
rewards: [{type: measure, measure: nDCG@10}]
policy: {type: transformers, model: MODEL, max_new_tokens: 4}
trainer: {type: grpo, steps: 2, trl: {num_generations: 4, per_device_train_batch_size: 8, learning_rate: 1.0e-3}}
evaluate: {split: validation, measures: [nDCG@10], every: 1}
"""

WITHOUT_TRL = """\
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name == "trl" else find(name, path, target)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, random_model):
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(TOY.replace("MODEL", str(random_model)))
    return path


def recr1(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "recr1", *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )


def refused(result, *parts):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


def test_train_then_eval_then_the_same_folder_again(recipe, tmp_path):
    out = tmp_path / "run"
    trained = recr1("train", recipe, "--out", out)
    assert trained.returncode == 0, trained.stderr
    assert "step 2/2" in trained.stdout and f"recr1 eval {out} --split test" in trained.stdout
    assert trained.stderr == ""
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == "finished" and len(facts["retriever"]) == len(facts["catalog"]) == 16
    assert (out / "plots" / "reward.png").stat().st_size > 10_000

    told = recr1("eval", out, "--split", "test")
    assert told.returncode == 0, told.stderr
    for word in ("floor", "untrained", "trained", "ceiling", "95% interval", str(out / "eval" / "test")):
        assert word in told.stdout
    numbers = json.loads((out / "eval" / "test" / "trained" / "eval.json").read_text())
    assert 0 <= numbers["measures"]["nDCG@10"]["policy"]["mean"] <= 1

    as_json = recr1("eval", out, "--json", "--policy", "echo")
    floor = json.loads(as_json.stdout)[0]["measures"]["nDCG@10"]
    assert floor["policy"]["mean"] == floor["floor"]["mean"]

    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    again = recr1("train", recipe, "--out", out)
    assert again.returncode == 0 and f"{out} is finished: nothing is trained" in again.stdout
    assert before == sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))


def test_a_recipe_with_mistakes_is_refused_with_all_of_them(recipe, tmp_path):
    wrong = ("retriever.type=bm52", "trainer.trl.lerning_rate=1", "rewards.0.measure=nDCG@100", "policy.lora_rank=-1")
    refused(
        recr1("train", recipe, *wrong, "--out", tmp_path / "run"),
        "4 problems",
        "did you mean 'bm25'?",
        "did you mean 'learning_rate'?",
        "set k to 100",
        "lora_rank: must be an integer >= 0",
    )
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_a_trainer_is_refused():
    refused(recr1("train", "toy/echo"), "trainer: missing: the recipe only evaluates")


def test_a_wrong_data_file_is_named_with_its_line(recipe, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "corpus.jsonl").write_text('{"_id": "a", "title": "x", "text": "y"}\n{"_id": "b", \n')
    (data / "queries.jsonl").write_text('{"_id": "q", "text": "y"}\n')
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    result = recr1("train", "your_data", f"task.path={data}", "--out", tmp_path / "run")
    refused(result, f"{data / 'corpus.jsonl'}:2: ", "JSON")


def test_a_data_folder_that_is_not_there_is_told_before_anything_runs(tmp_path):
    refused(recr1("train", "your_data", "--out", tmp_path / "run"), "your_data", "task")


def test_a_missing_library_is_named_with_its_extra(recipe, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(WITHOUT_TRL)
    result = recr1("train", recipe, "--out", tmp_path / "run", PYTHONPATH=str(blocked))
    refused(result, "needs the library 'trl'", "pip install 'recr1[train]'")
    assert recr1("check", recipe, PYTHONPATH=str(blocked)).returncode == 0


def test_an_output_folder_that_cannot_be_made_is_told_before_anything_loads(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    refused(recr1("train", recipe, "--out", tmp_path / "file" / "run"), str(tmp_path / "file"))


def test_a_model_that_is_not_there_is_told(recipe, tmp_path):
    result = recr1("train", recipe, "policy.model=./no/such/model", "--out", tmp_path / "run")
    refused(result, "there is no folder './no/such/model'")


def test_eval_of_a_folder_without_a_run_is_refused(tmp_path):
    refused(recr1("eval", tmp_path), "run.json")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_ctrl_c_keeps_what_was_learned_and_leaves_a_folder_that_loads(recipe, tmp_path, stop):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "recr1", "train", str(recipe), "trainer.steps=100000", "--out", str(out)]
    process = begin(command)
    try:
        deadline = time.monotonic() + 120
        while not (out / "rollouts.jsonl").exists():
            assert time.monotonic() < deadline, "training did not start"
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
        process.send_signal(stop)
        said, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in complaints and "interrupted" in complaints
    assert "the policy so far is in" in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert recr1("eval", out).returncode == 0


@pytest.mark.slow
def test_two_processes_under_accelerate_share_one_run_folder(recipe, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "recr1"]
    done = subprocess.run(
        [*command, "train", str(recipe)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (out,) = (tmp_path / "runs").iterdir()  # neither rank was told its name
    assert json.loads((out / "run.json").read_text())["world_size"] == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "train/reward" in line] == [1, 2]
    assert done.stdout.count("step 2/2") == 1
