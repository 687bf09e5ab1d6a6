from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from time import monotonic, sleep

import pytest

from recr1 import loggers
from recr1.errors import MissingLibrary, UserError
from recr1.loggers import BUILTIN, Logger, WandbLogger
from recr1.runs import Run

RECIPE = {"seed": 0, "task": {"type": "shop"}}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    logging.getLogger("wandb").setLevel(logging.ERROR)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"logging to W&B needs the library 'wandb'.*recr1\[wandb\]"):
        WandbLogger()


def test_the_registry_names_a_logger():
    pytest.importorskip("wandb")
    assert BUILTIN["wandb"] == "recr1.loggers:WandbLogger"
    assert isinstance(WandbLogger(), Logger)


def closed(path: Path, seconds: float = 20):
    """All records of a finished run. W&B's own process writes them, and may do so just after `finish` has returned."""
    deadline = monotonic() + seconds
    while True:
        found = list(records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert monotonic() < deadline, f"no closing record within {seconds} s"
        sleep(0.05)


def records(path: Path):
    """The records of an offline W&B run, from the file that `wandb sync` would upload (LevelDB's log format)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = path.glob("wandb/offline-run-*/*.wandb")
    data, at, payload = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # a block ends in padding where no header fits
            at += 32768 - at % 32768
            continue
        _checksum, size, kind = struct.unpack("<IHB", data[at : at + 7])
        payload += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole record, or its last part
            yield Record.FromString(payload)
            payload = b""


def test_an_offline_run_holds_the_same_numbers_under_the_same_names(offline, tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger(project="shop", tags=["cpu"])])
    run.log(1, {"train/reward": 0.5})
    run.log(2, {"train/reward": 0.75, "eval/validation/nDCG@10": 0.25})
    run.finish("finished")
    found = closed(tmp_path / "run")
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
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


def test_alerts_after_the_step_that_a_run_goes_on_from_are_forgotten(tmp_path):
    run = Run.create(tmp_path / "run", RECIPE, {})
    for step in (3, 5):
        run.alert(step, "warning", {"text": "something"})
    run.rewind(4)
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "alerts.jsonl").open()] == [3]
