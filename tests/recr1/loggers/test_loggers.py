from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from recr1.config.build import check_part, find_class
from recr1.errors import MissingLibrary, UserError
from recr1.loggers import BUILTIN, Logger, SupportsAlert, SupportsResume, SupportsShow, tensorboard, trackio, wandb
from recr1.loggers.jsonl import JsonlLogger
from recr1.loggers.tensorboard import TensorBoardLogger
from recr1.loggers.trackio import TrackioLogger
from recr1.loggers.wandb import WandbLogger, offline_records
from recr1.runs import Run
from tests.processes import ROOT

RECIPE = {"seed": 0, "task": {"type": "shop"}}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    logging.getLogger("wandb").setLevel(logging.ERROR)


@pytest.mark.parametrize(
    ("module", "cls", "message"),
    [
        (wandb, WandbLogger, r"logging to W&B needs the library 'wandb'.*recr1\[wandb\]"),
        (trackio, TrackioLogger, r"logging to trackio needs the library 'trackio'.*recr1\[trackio\]"),
        (tensorboard, TensorBoardLogger, r"logging to TensorBoard needs the library 'torch'.*recr1\[tensorboard\]"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch, module, cls, message):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=message):
        cls()


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_service_takes_numbers_tables_and_alerts_and_resumes(name):
    cls = find_class("logger", name)
    pytest.importorskip(name if name != "jsonl" else "json")
    for ability in (Logger, SupportsShow, SupportsAlert, SupportsResume):
        assert isinstance(cls(), ability)


def closed(path: Path, seconds: float = 20, ends: int = 1):
    """All records of a finished run. W&B's own process writes them, and may do so just after `finish` has returned."""
    deadline = monotonic() + seconds
    while True:
        found = list(records(path))
        if sum(record.WhichOneof("record_type") == "exit" for record in found) >= ends:
            return found
        assert monotonic() < deadline, f"no closing record within {seconds} s"
        sleep(0.05)


def records(path: Path):
    """The records of an offline W&B run, in all its files: what `wandb sync` would upload."""
    for file in sorted(path.glob("wandb/offline-run-*/*.wandb")):
        yield from offline_records(file)


def histories(found):
    """(step, values) of each line of W&B's history."""
    return [
        (
            record.history.step.num,
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item},
        )
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]


def test_an_offline_run_holds_the_same_numbers_under_the_same_names(offline, tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger(project="shop", tags=["cpu"])])
    run.log(1, {"train/reward": 0.5})
    run.log(2, {"train/reward": 0.75, "eval/validation/nDCG@10": 0.25})
    run.finish("finished")
    found = closed(tmp_path / "run")
    history = [values for _, values in histories(found)]
    assert [(row["_step"], row["train/reward"]) for row in history] == [(1, 0.5), (2, 0.75)]
    assert history[1]["eval/validation/nDCG@10"] == 0.25
    (started,) = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (started.project, started.display_name, list(started.tags)) == ("shop", "run", ["cpu"])
    config = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in started.config.update}
    assert config["task"] == {"type": "shop"}


def test_a_run_without_login_says_what_to_do(offline, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"W&B did not start: .*log in, or set `mode: offline`"):
        Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger(mode="online")])
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_failed_run_is_closed_as_a_failure(offline, tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger(mode="offline")])
    run.finish("failed")
    exits = [r.exit.exit_code for r in closed(tmp_path / "run") if r.WhichOneof("record_type") == "exit"]
    assert exits == [1]


def test_an_alert_goes_into_the_run_folder_and_to_the_loggers_that_can_tell(offline, tmp_path):
    class Quiet:
        def start(self, run_path, config): ...
        def log(self, step, metrics): ...
        def finish(self, status): ...

    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[Quiet(), WandbLogger(mode="offline")])
    record = {"level": "warning", "sign": "entropy", "text": "entropy 0.001", "values": {"value": 0.001}}
    run.alert(7, "warning: entropy", record)
    run.finish("finished")
    assert json.loads((tmp_path / "run" / "alerts.jsonl").read_text()) == {"step": 7, **record}
    (alert,) = [found.alert for found in closed(tmp_path / "run") if found.WhichOneof("record_type") == "alert"]
    assert (alert.title, alert.text, alert.level) == ("run: warning: entropy", "step 7: entropy 0.001", "WARN")


def test_alerts_after_the_step_that_a_run_resumes_from_are_forgotten(tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {})
    for step in (3, 5):
        run.alert(step, "warning", {"text": "something"})
    run.rewind(4)
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "alerts.jsonl").open()] == [3]


QUERIES = [
    {
        "need": "n1",
        "query": "red mug",
        "rank before": None,
        "rank after": 2,
        "parts": {"nDCG@10": 0.5},
        "titles": ["a", "b|c"],
    }
]
"""What a validation shows of the needs that are followed."""


def fill(run):
    """Everything that a run can be told, in two steps."""
    run.log(1, {"train/reward": 0.5, "train/gone": float("nan")})
    run.log_histograms(1, {"train/histogram/rank": [1, 1, 3], "train/histogram/empty": []})
    run.log_queries(1, "validation", QUERIES)
    run.alert(1, "warning: entropy", {"text": "entropy 0.001"})
    run.log(2, {"train/reward": 0.75})


def test_wandb_gets_tables_histograms_and_the_run_card(offline, tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {"seed": 0}, loggers=[WandbLogger()])
    fill(run)
    run.finish("finished")
    found = closed(tmp_path / "run")
    (first, second) = (values for _, values in histories(found))
    histogram = {name.rpartition("/")[2]: value for name, value in first.items() if "histogram/rank/" in name}
    assert sum(histogram["values"]) == 3 and (histogram["bins"][0], histogram["bins"][-1]) == (1, 3)
    assert not any(name.startswith("train/histogram/empty") for name in first)
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/table/eval/validation/queries_1_*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["need", "query", "rank before", "rank after", "nDCG@10", "titles"]
    assert table["data"] == [["n1", "red mug", None, 2, 0.5, "a\nb|c"]]
    assert second["train/reward"] == 0.75
    cards = [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"]
    (card,) = [card for card in cards if card.type == "run-card"]
    assert sorted(entry.path for entry in card.manifest.contents) == ["recipe.yaml", "run.json"]


def test_jsonl_holds_every_record(tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[JsonlLogger()])
    fill(run)
    run.finish("finished")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("start", -1),
        ("numbers", 1),
        ("values", 1),
        ("table", 1),
        ("alert", 1),
        ("numbers", 2),
        ("finish", 2),
    ]
    assert lines[1]["numbers"] == {"train/reward": 0.5, "train/gone": None}
    assert lines[2]["values"] == [1.0, 1.0, 3.0]
    assert lines[3]["rows"][0]["rank after"] == 2 and lines[3]["rows"][0]["nDCG@10"] == 0.5


def test_jsonl_of_several_runs_forgets_only_what_its_own_run_logs_again(tmp_path):
    shared = str(tmp_path / "all.jsonl")
    runs = [Run.create(tmp_path / name, {}, {}, loggers=[JsonlLogger(path=shared)]) for name in ("one", "two")]
    for run in runs:
        run.log(1, {"a": 1.0})
        run.log(2, {"a": 2.0})
    runs[0].rewind(1)
    lines = [json.loads(line) for line in Path(shared).open()]
    assert [(line["run"], line["step"]) for line in lines if line["kind"] == "numbers"] == [
        ("one", 1),
        ("two", 1),
        ("two", 2),
    ]


def test_jsonl_that_cannot_be_written_says_which_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"log: .*file/log.jsonl cannot be written"):
        Run.create(tmp_path / "run", RECIPE, {}, loggers=[JsonlLogger(path=str(tmp_path / "file" / "log.jsonl"))])


def accumulated(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), purge_orphaned_data=True)
    found.Reload()
    return found


def test_tensorboard_holds_numbers_histograms_tables_and_alerts(tmp_path):
    pytest.importorskip("tensorboard")
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[TensorBoardLogger()])
    fill(run)
    run.finish("finished")
    found = accumulated(tmp_path / "run" / "tensorboard")
    assert [(event.step, event.value) for event in found.Scalars("train/reward")] == [(1, 0.5), (2, 0.75)]
    assert found.Histograms("train/histogram/rank")[0].histogram_value.num == 3
    (table,) = found.Tensors("eval/validation/queries/text_summary")
    assert b"| n1 | red mug |  | 2 | 0.500 | a b\\|c |" in table.tensor_proto.string_val[0]
    (alert,) = found.Tensors("alerts/text_summary")
    assert alert.tensor_proto.string_val[0] == b"**run: warning: entropy**: step 1: entropy 0.001"
    assert b'"type": "shop"' in found.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]


TRACKIO = """
import sys
from pathlib import Path
from recr1.loggers.trackio import TrackioLogger
from recr1.runs import Run
from tests.recr1.loggers.test_loggers import RECIPE, fill
run = Run.create(Path(sys.argv[1]), RECIPE, {}, loggers=[TrackioLogger(project="shop", group="seeds")])
fill(run)
run.finish("finished")
"""


def test_trackio_holds_numbers_histograms_tables_and_alerts(tmp_path):
    pytest.importorskip("trackio")
    said = in_another_process(TRACKIO, tmp_path, wait=True)
    assert said == ""
    logs, alerts = trackio_logs(tmp_path, "shop", "run")
    assert [(line["step"], line["train/reward"]) for line in logs if "train/reward" in line] == [(1, 0.5), (2, 0.75)]
    (histogram,) = [line["train/histogram/rank"] for line in logs if "train/histogram/rank" in line]
    assert sum(histogram["values"]) == 3
    (table,) = [line["eval/validation/queries"] for line in logs if "eval/validation/queries" in line]
    assert table["_value"][0]["query"] == "red mug" and table["_value"][0]["nDCG@10"] == 0.5
    assert [(alert["title"], alert["text"]) for alert in alerts] == [("run: warning: entropy", "step 1: entropy 0.001")]


def trackio_logs(home, project, name):
    """The lines and the alerts of a run, from trackio's own database, read in another process."""
    code = (
        "import json, sys; from trackio.sqlite_storage import SQLiteStorage as s\n"
        "print(json.dumps([s.get_logs(*sys.argv[1:]), s.get_alerts(*sys.argv[1:])], default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, project, name],
        env=surrounding(home),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def surrounding(home):
    """The variables of a process whose services keep all they write below a folder, and ask nobody."""
    # W&B's own process, which an earlier test started, would be shared with the children of these tests.
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    folders = {f"WANDB_{name}_DIR": str(home / "home") for name in ("CACHE", "CONFIG", "DATA")}
    alone = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1"}
    return {**kept, **folders, **alone, "TRACKIO_DIR": str(home / "trackio")}


def in_another_process(code, home, *, wait):
    """Run code with the run folder as its argument; waits for its end, or for a line, after which it is killed."""
    arguments = [sys.executable, "-c", code, str(home / "run")]
    root = ROOT
    with subprocess.Popen(arguments, env=surrounding(home), cwd=root, stdout=subprocess.PIPE, text=True) as process:
        if wait:
            said = process.communicate(timeout=120)[0]
            assert process.returncode == 0
            return said
        assert process.stdout.readline() == "logged\n"
        process.send_signal(signal.SIGKILL)
    return ""


KILLED = """
import sys, time
from pathlib import Path
from recr1.config.build import build
from recr1.runs import Run
loggers = [build("logger", {"type": name}) for name in sys.argv[2:] or ("wandb", "tensorboard", "trackio", "jsonl")]
run = Run.create(Path(sys.argv[1]), {"seed": 0}, {"seed": 0}, loggers=loggers)
for step in range(5):
    run.log(step, {"train/reward": step / 8})
print("logged", flush=True)
time.sleep(600)
"""

AGAIN = """
import sys
from pathlib import Path
from recr1.config.build import build
from recr1.runs import Run
loggers = [build("logger", {"type": name}) for name in ("wandb", "tensorboard", "trackio", "jsonl")]
run = Run.resume(Path(sys.argv[1]), {"seed": 0}, loggers=loggers)
run.rewind(2)
for step in range(3, 7):
    run.log(step, {"train/reward": step / 8})
run.finish("finished")
"""
WHOLE = [(step, step / 8) for step in range(7)]
"""Each step once, whatever the killed process had handed over."""


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run_everywhere_with_each_step_once(tmp_path):
    for library in ("wandb", "tensorboard", "trackio"):
        pytest.importorskip(library)
    in_another_process(KILLED, tmp_path, wait=False)
    in_another_process(AGAIN, tmp_path, wait=True)
    run = tmp_path / "run"
    ids = {path.name.rpartition("-")[2] for path in run.glob("wandb/offline-run-*")}
    assert ids == {(run / "wandb" / "run_id").read_text().strip()}
    assert len(list(run.glob("wandb/offline-run-*"))) == 2
    assert [(step, values["train/reward"]) for step, values in histories(closed(run))] == WHOLE
    assert [(e.step, e.value) for e in accumulated(run / "tensorboard").Scalars("train/reward")] == WHOLE
    logs, _ = trackio_logs(tmp_path, "recr1", "run")
    assert [(line["step"], line["train/reward"]) for line in logs] == WHOLE
    lines = [json.loads(line) for line in (run / "log.jsonl").open()]
    assert [(line["step"], line["numbers"]["train/reward"]) for line in lines if line["kind"] == "numbers"] == WHOLE


@pytest.mark.parametrize("address", ["not a url", "http://ho st", "http://h:99999", "http://[::1", "ftp://h"])
def test_an_address_of_a_server_of_wandb_that_cannot_be_is_told_by_a_check(address, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", address)
    (problem,) = check_part("logger", {"type": "wandb"}, "log.0")
    assert str(problem).startswith("log.0: the environment variable WANDB_BASE_URL ")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.shop.com:8080/team")
    assert check_part("logger", {"type": "wandb"}, "log.0") == []
