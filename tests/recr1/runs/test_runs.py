from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from recr1.config import yaml12
from recr1.env import Environment, chat_with
from recr1.errors import RunError, UserError
from recr1.runs import Run
from recr1.runs.files import replacing, writing
from recr1.runs.provenance import surroundings
from tests.processes import plain_user
from tests.recr1.baselines.world import First, Overlap, Valid, World

RECIPE = {"seed": 3, "task": {"type": "shop", "note": "no: 1e-5"}, "rewards": [{"type": "measure", "weight": 1.0}]}


class Tape:
    """A logger that keeps its calls."""

    def __init__(self, refusal=None):
        self.calls, self.refusal = [], refusal

    def start(self, run_path, config):
        if self.refusal:
            raise UserError(self.refusal)
        self.calls.append(("start", run_path, config))

    def log(self, step, metrics):
        self.calls.append(("log", step, metrics))

    def finish(self, status):
        self.calls.append(("finish", status))


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "deep" / "run", RECIPE, {"seed": 3})


def test_the_recipe_reads_back_equal(run):
    assert Run.open(run.path).recipe() == RECIPE


def test_run_json_says_what_ran_with_what(run):
    facts = Run.open(run.path).facts()
    assert facts["status"] == "running" and facts["seed"] == 3 and facts["ended"] is None
    assert facts["versions"]["numpy"] == np.__version__
    assert {"started", "platform", "command", "git", "world_size", "folder"} <= set(facts)


def test_surroundings_import_no_heavy_library():
    code = (
        "import sys; from recr1.runs.provenance import surroundings; surroundings(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_facts_of_the_caller_win(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert surroundings()["world_size"] == 4
    assert Run.create(tmp_path / "r", RECIPE, {"world_size": 2}).facts()["world_size"] == 2


def test_finish_closes_the_run_with_more_facts(run):
    run.finish("interrupted", steps=7)
    facts = Run.open(run.path).facts()
    assert facts["status"] == "interrupted" and facts["steps"] == 7 and facts["ended"] and facts["seconds"] >= 0


def test_a_folder_that_holds_a_run_is_refused_with_a_remedy(run):
    with pytest.raises(RunError, match=r"has a run already \(run\.json\): choose another folder, or remove"):
        Run.create(run.path, RECIPE, {})
    assert Run.open(run.path).recipe() == RECIPE


def test_a_folder_with_the_metrics_of_another_run_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        Run.create(tmp_path, RECIPE, {})


@pytest.mark.parametrize("left", [{}, {"recipe.yaml": yaml12.write(RECIPE)}, {"metrics.jsonl": "", ".lock": ""}])
def test_a_run_that_was_killed_before_it_began_can_begin(tmp_path, left):
    for name, text in left.items():
        (tmp_path / name).write_text(text)
    assert Run.create(tmp_path, RECIPE, {}).recipe() == RECIPE


@pytest.mark.parametrize("name", ["recipe.yaml", "checkpoints/weights", "policy/config.json", "stages/a"])
def test_what_may_be_of_another_run_is_not_written_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("of another")
    with pytest.raises(RunError, match=rf"has a run already \({name.partition('/')[0]}\)"):
        Run.create(tmp_path, RECIPE, {})
    assert (tmp_path / name).read_text() == "of another"


def test_what_a_run_needs_no_more_is_removed_once_that_is_recorded(run):
    (run.path / "checkpoints").mkdir()
    run.discard(run.path / "checkpoints")
    run.finish("failed")
    assert (run.path / "checkpoints").is_dir()
    run.update(status="finished", removed=["checkpoints"])  # killed before they were removed
    assert Run.resume(run.path, {}).finished and not (run.path / "checkpoints").exists()


def test_a_policy_is_replaced_whole_or_not_at_all(run):
    old, new = run.path / "policy", run.path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "weights").write_text(folder.name)
    with pytest.raises(RuntimeError), replacing(old) as (part,):
        shutil.copytree(new, part)
        raise RuntimeError
    assert (old / "weights").read_text() == "policy" and not part.exists()
    old.rename(run.path / ".policy.old")  # killed between the two moves
    run.finish("interrupted")
    Run.resume(run.path, {})
    assert (old / "weights").read_text() == "policy"
    with replacing(old) as (part,):
        shutil.copytree(new, part)
    assert (old / "weights").read_text() == "new" and not (run.path / ".policy.old").exists()


def card(run, step, keep="last"):
    run.policy_path.mkdir(exist_ok=True)
    (run.policy_path / "recr1.json").write_text(json.dumps({"step": step, "keep": keep}))


def test_only_a_later_policy_or_the_best_replaces_one_before_the_end(run):
    assert run.is_newer({"step": 1, "keep": "last"})
    card(run, 4)
    newer = [run.is_newer({"step": step, "keep": keep}) for step, keep in ((4, "last"), (5, "last"), (2, "best"))]
    assert newer == [False, True, True]
    (run.policy_path / "recr1.json").unlink()  # not known of which step it is
    assert not run.is_newer({"step": 5, "keep": "last"})


def test_the_policy_of_an_unfinished_run_is_called_that(run):
    card(run, 4)
    run.finish("failed")
    assert run.unfinished() == f"{run.path} is not finished (status: failed): this is its policy after step 4"
    (run.policy_path / "recr1.json").write_text("{")
    assert run.unfinished().endswith("of an unknown step")
    run.finish("finished")
    assert run.unfinished() is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device (free some space)"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied (choose another folder)"),
        (Exception("I/O error: No space left on device (os error 28)"), "No space left on device (free some space)"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), "(free some space)"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5 vs 3"), "is the disk full?"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line(tmp_path, error, message):
    with pytest.raises(RunError, match=re.escape(message)), writing(tmp_path):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("other"),
        ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
        OSError("we couldn't connect to the hub"),  # as libraries raise it for the network
    ],
)
def test_another_error_passes_through(tmp_path, error):
    with pytest.raises(type(error)) as raised, writing(tmp_path):
        raise error
    assert raised.value is error


def test_a_folder_with_other_files_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Run.create(tmp_path, RECIPE, {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run cannot be written: Not a directory \(choose another"):
        Run.create(tmp_path / "file" / "run", RECIPE, {})


def test_a_folder_without_permission_cannot_be_written():
    with plain_user() as folder:
        folder.chmod(0o500)
        with pytest.raises(RunError, match="cannot be written: Permission denied"):
            Run.create(folder / "run", RECIPE, {})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no run.json"),
        ({"run.json": "{"}, "is not JSON"),
        ({"run.json": "[]"}, "no 'status'"),
        ({"run.json": '{"status": "finished"}'}, "it has no recipe.yaml"),
        ({"run.json": '{"status": "finished"}', "recipe.yaml": "a: [1"}, "recipe.yaml:1: not YAML"),
        ({"run.json": '{"status": "finished"}', "recipe.yaml": "- 1"}, "must be a mapping"),
    ],
)
def test_a_folder_without_a_run_says_what_is_missing(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=message):
        Run.open(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match=r"there is no run folder '.*nowhere'"):
        Run.open(tmp_path / "nowhere")


def test_logs_read_back_in_order_with_plain_numbers(run):
    run.log(0, {"train/reward": np.float32(0.5)})
    run.log(1, {"train/reward": 1, "train/loss": float("nan")})
    first, second = Run.open(run.path).read_metrics()
    assert first["step"] == 0 and first["train/reward"] == 0.5 and first["time"] >= 0
    assert second["train/reward"] == 1.0 and second["train/loss"] is None


def test_an_incomplete_last_line_is_dropped(run):
    run.log(0, {"a": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "a"')
    assert [record["step"] for record in run.read_metrics()] == [0]


def test_a_broken_line_before_the_last_is_an_error(run):
    (run.path / "metrics.jsonl").write_text('{"step"\n{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:1: not a line of JSON"):
        run.read_metrics()


def test_names_of_our_own_are_refused_as_metrics(run):
    with pytest.raises(ValueError, match="metric name 'step' is reserved"):
        run.log(0, {"step": 1})


def test_no_half_written_files_stay_behind(run):
    run.update(more=1)
    run.finish("finished")
    assert sorted(path.name for path in run.path.iterdir()) == ["metrics.jsonl", "recipe.yaml", "run.json"]


def test_a_full_disk_leaves_the_last_state_whole(run, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("recr1.runs.files.os.fsync", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        run.finish("finished")
    assert Run.open(run.path).facts()["status"] == "running"
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "metrics.jsonl", "recipe.yaml", "run.json"]


def test_every_log_reaches_every_logger(tmp_path):
    tapes = [Tape(), Tape()]
    run = Run.create(tmp_path, RECIPE, {}, loggers=tapes)
    run.log(5, {"train/reward": 0.25})
    run.finish("failed")
    for tape in tapes:
        assert tape.calls == [("start", tmp_path, RECIPE), ("log", 5, {"train/reward": 0.25}), ("finish", "failed")]


def test_a_logger_that_refuses_frees_the_folder(tmp_path):
    with pytest.raises(UserError, match="log in first"):
        Run.create(tmp_path, RECIPE, {}, loggers=[Tape("log in first")])
    Run.create(tmp_path, RECIPE, {})


def test_only_the_writing_process_writes(tmp_path):
    tape = Tape()
    run = Run.create(tmp_path / "run", RECIPE, {}, writer=False, loggers=[tape])
    run.log(0, {"a": 1})
    run.update(a=1)
    run.finish("finished")
    assert not (tmp_path / "run").exists() and tape.calls == []


def test_rollouts_say_what_was_written_found_and_earned(run):
    world = World()
    env = Environment(world, Overlap(world.catalog), [(First(), 1.0), (Valid(), 0.5)], k=4)
    needs = [env.need("n1"), env.need("n3"), env.need("n2")]
    completions = ["[blue pan tea red mug]", "[zzz]", "nothing"]
    run.log_rollouts(
        2, env.step(needs, [chat_with(p, c) for p, c in zip(env.prompts(needs), completions, strict=True)])
    )
    found, missed, invalid = run.read_rollouts()
    assert found == {
        "step": 2,
        "need": "n1",
        "completion": "[blue pan tea red mug]",
        "query": "blue pan tea red mug",
        "outcome": "ok",
        "parts": {"P@1": 1.0, "valid": 1.0},
        "reward": 1.5,
        "first_relevant": 1,
    }
    assert missed["first_relevant"] is None and missed["query"] == "zzz" and missed["reward"] == 0.5
    assert invalid["invalid"] == "no brackets" and "query" not in invalid and invalid["reward"] == 0


def test_hostile_completions_stay_one_line_each(run):
    world = World()
    env = Environment(world, Overlap(world.catalog), [], k=1)
    text = "[line\nbreak \u2028 \ud800 \x00]"
    run.log_rollouts(0, env.step([env.need("n1")], [chat_with([], text)]))
    assert len((run.path / "rollouts.jsonl").read_text().splitlines()) == 1
    assert run.read_rollouts()[0]["completion"] == text


def test_plot_draws_the_reward_and_the_measure(run):
    run.log(0, {"eval/validation/nDCG@10": 0.1, "eval/validation/nDCG@10/floor": 0.2})
    for step in range(1, 30):
        run.log(step, {"train/reward": step / 30})
    assert run.plot().read_bytes()[:4] == b"\x89PNG"


def test_a_run_without_numbers_has_nothing_to_plot(run):
    with pytest.raises(UserError, match=r"nothing to draw .* 'train/reward'"):
        run.plot()
