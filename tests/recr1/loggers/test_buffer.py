"""Buffered records: none is lost or changes its place, whatever else is logged in between."""

from __future__ import annotations

import pytest

from recr1.loggers import base
from recr1.loggers.base import INTERVAL, Buffer
from recr1.loggers.tensorboard import TensorBoardLogger
from recr1.loggers.wandb import WandbLogger
from recr1.runs import Run
from tests.recr1.loggers.test_loggers import QUERIES, RECIPE, closed, histories, offline  # noqa: F401 - offline is a fixture


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(base, "monotonic", made)
    return made


@pytest.fixture
def sent():
    return []


def sending(sent, record):
    return lambda: sent.append(record)


def test_the_first_record_is_delivered_at_once(clock, sent):
    Buffer().add(sending(sent, 1))
    assert sent == [1]


def test_records_wait_for_each_other_and_keep_their_order(clock, sent):
    waiting = Buffer()
    for record in (1, 2, 3):
        waiting.add(sending(sent, record))
    assert sent == [1]
    clock.now += INTERVAL
    waiting.add(sending(sent, 4))
    assert sent == [1, 2, 3, 4]


def test_after_a_delivery_the_interval_starts_again(clock, sent):
    waiting = Buffer()
    clock.now += INTERVAL
    waiting.add(sending(sent, 1))
    clock.now += INTERVAL - 0.5
    waiting.add(sending(sent, 2))
    assert sent == [1]


def test_steps_longer_than_the_wait_never_wait(clock, sent):
    waiting = Buffer()
    for record in (1, 2, 3):
        clock.now += INTERVAL
        waiting.add(sending(sent, record))
        assert sent[-1] == record


def test_what_is_flushed_is_not_sent_again(clock, sent):
    waiting = Buffer()
    waiting.add(sending(sent, 1))
    waiting.add(sending(sent, 2))
    waiting.flush()
    waiting.flush()
    assert sent == [1, 2]


@pytest.mark.parametrize("ends", ["finished", "failed"])
def test_wandb_has_the_steps_that_waited_at_the_end_under_their_own_times(offline, tmp_path, monkeypatch, ends):  # noqa: F811
    times = iter((1000.0, 1001.5, 1003.0))
    monkeypatch.setattr("recr1.loggers.wandb.time", lambda: next(times))
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger()])
    for step in (1, 2, 3):
        run.log(step, {"train/reward": step / 8})
    run.finish(ends)
    rows = [values for _, values in histories(closed(tmp_path / "run"))]
    assert [(row["_step"], row["train/reward"], row["_timestamp"]) for row in rows] == [
        (1, 0.125, 1000.0),
        (2, 0.25, 1001.5),
        (3, 0.375, 1003.0),
    ]


def test_wandb_gets_tables_and_alerts_after_the_steps_that_waited(offline, tmp_path):  # noqa: F811
    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[WandbLogger()])
    for step in (1, 2, 3):
        run.log_histograms(step, {"train/histogram/rank": [1, 2]})
        run.log(step, {"train/reward": 0.5})
    run.alert(3, "warning", {"text": "something"})
    run.log(4, {"train/reward": 0.5})
    run.log_queries(5, "validation", QUERIES)
    run.finish("finished")
    found = closed(tmp_path / "run")
    kinds = [record.WhichOneof("record_type") for record in found]
    # W&B closes a step's line with the next step: that of step 3 is still open when the alert comes.
    assert kinds[: kinds.index("alert")].count("history") == 2
    assert [step for step, _ in histories(found)] == [1, 2, 3, 4, 5]
    assert all("train/histogram/rank/values" in values for _, values in histories(found)[:3])


def test_the_numbers_of_a_step_are_one_record_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    run = Run.create(tmp_path / "run", RECIPE, {}, loggers=[TensorBoardLogger()])
    run.log(1, {"train/reward": 0.5, "train/entropy": 0.25})
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    on_disk = [event for event in LegacyEventFileLoader(str(file)).Load() if event.step == 1]
    run.finish("finished")
    (event,) = on_disk
    assert {value.tag: value.simple_value for value in event.summary.value} == {
        "train/reward": 0.5,
        "train/entropy": 0.25,
    }
