"""The store on disk: keys, damage, two processes at once, kills."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from retrievers.store import Store, save_array, save_lines
from tests.processes import ROOT, plain_user

KEY = {"catalog": "c0ffee", "k1": 1.2, "fields": {"title": 2}}

BUILD = """
import os, sys, time
from pathlib import Path
import numpy as np
from retrievers.store import Store, save_array

def write(folder):
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(float(sys.argv[3]))
    save_array(folder, "values", np.arange(5))

print(Store(sys.argv[1]).open("kind", {"catalog": "c0ffee"}, write).array("values").tolist())
"""


def write(folder):
    save_array(folder, "values", np.arange(100_000))
    save_lines(folder, "words", ["a", "\u65e5\u672c", ""])


def refuse(folder):
    raise AssertionError("built again")


def opened(store, key=KEY, writer=write):
    return store.open("kind", key, writer)


def build(folder, log, seconds=0.0):
    command = [sys.executable, "-c", BUILD, str(folder), str(log), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(happened, seconds=20.0):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_an_entry_is_built_once_and_holds_what_was_saved(tmp_path):
    opened(Store(tmp_path))
    entry = opened(Store(tmp_path), writer=refuse)
    assert np.array_equal(entry.array("values"), np.arange(100_000))
    assert entry.lines("words") == ["a", "\u65e5\u672c", ""]


def test_arrays_are_mapped_from_the_file(tmp_path):
    values = opened(Store(tmp_path)).array("values")
    assert isinstance(values.base, np.memmap)


def test_writing_to_an_array_changes_no_other(tmp_path):
    entry = opened(Store(tmp_path))
    entry.array("values")[0] = 7
    assert entry.array("values")[0] == 0


@pytest.mark.parametrize("change", [{"catalog": "decade"}, {"k1": 1.3}, {"fields": {"title": 3}}, {"b": 0.75}])
def test_another_catalog_or_option_is_another_entry(tmp_path, change):
    store = Store(tmp_path)
    assert opened(store).folder != opened(store, {**KEY, **change}).folder
    assert len(list(tmp_path.glob("kind-*/entry.json"))) == 2


def test_the_order_of_a_key_does_not_matter(tmp_path):
    store = Store(tmp_path)
    assert store.place("kind", KEY) == store.place("kind", dict(reversed(KEY.items())))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: os.truncate(f / "values.npy", 5_000), r"values.npy has 5000 bytes instead of 800128"),
        (lambda f: (f / "values.npy").unlink(), "values.npy is missing"),
        (lambda f: (f / "values.npy").write_bytes(b"x" * 800_128), "values.npy is not the file that was written"),
        (lambda f: (f / "entry.json").write_text("{"), r"entry.json cannot be read \(JSONDecodeError.*"),
        (lambda f: (f / "entry.json").write_text("[]"), r"entry.json cannot be read \(TypeError.*"),
        (lambda f: (f / "entry.json").unlink(), r"entry.json cannot be read \(FileNotFoundError.*"),
    ],
    ids=["truncated", "missing", "other content", "half a manifest", "no manifest at all", "manifest missing"],
)
def test_a_damaged_entry_is_never_used_but_built_again_with_a_message(tmp_path, caplog, damage, message):
    store = Store(tmp_path)
    damage(opened(store).folder)
    with caplog.at_level(logging.WARNING):
        entry = opened(store)
    assert np.array_equal(entry.array("values"), np.arange(100_000))
    (record,) = caplog.records
    assert re.fullmatch(f"{re.escape(str(entry.folder))} is not used and built again: {message}", record.getMessage())
    opened(store, writer=refuse)


def test_an_entry_made_from_something_else_is_built_again(tmp_path, caplog):
    store = Store(tmp_path)
    entry = opened(store)
    manifest = json.loads((entry.folder / "entry.json").read_text())
    manifest["key"]["catalog"] = "decade"
    (entry.folder / "entry.json").write_text(json.dumps(manifest))
    opened(store)
    assert "it was made from something else (catalog)" in caplog.text


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    def fail(folder):
        save_array(folder, "values", np.arange(3))
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        opened(Store(tmp_path), writer=fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    opened(Store(tmp_path))


def test_a_writer_that_resumes_is_handed_what_was_left(tmp_path):
    def fail(folder):
        (folder / "half").write_text("1")
        raise OSError("killed")

    def go_on(folder):
        (folder / "half").write_text((folder / "half").read_text() + "2")

    store = Store(tmp_path)
    with pytest.raises(OSError, match="killed"):
        store.open("kind", KEY, fail, resumes=True)
    entry = store.open("kind", KEY, go_on, resumes=True)
    assert (entry.folder / "half").read_text() == "12"


def test_two_processes_build_it_once(tmp_path):
    log = tmp_path / "log"
    first = build(tmp_path / "store", log, 1)
    wait_for(log.exists)
    second = build(tmp_path / "store", log, 1)
    (out, err), (other_out, other_err) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (out, other_out) == ("[0, 1, 2, 3, 4]\n",) * 2, err + other_err
    assert log.read_text() == f"{first.pid}\n"
    assert "another process builds" in other_err
    assert "waiting for it" in other_err


def test_a_killed_process_leaves_neither_a_lock_nor_half_an_entry(tmp_path):
    log = tmp_path / "log"
    killed = build(tmp_path / "store", log, 60)
    wait_for(log.exists)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=20)
    out, err = build(tmp_path / "store", log).communicate(timeout=60)
    assert out == "[0, 1, 2, 3, 4]\n", err
    assert list((tmp_path / "store").glob("*.partial")) == []


def test_an_entry_pickles_as_its_path(tmp_path):
    data = pickle.dumps(opened(Store(tmp_path)))
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).array("values"), np.arange(100_000))


def test_reading_needs_no_right_to_write():
    with plain_user() as folder:
        opened(Store(folder))
        folder.chmod(0o555)
        opened(Store(folder), writer=refuse)


def test_the_folder_is_an_option_a_variable_or_the_documented_default(tmp_path, monkeypatch):
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "named"))
    assert Store("auto").folder == tmp_path / "named"
    assert Store(tmp_path / "mine").folder == tmp_path / "mine"
    monkeypatch.delenv("RECR1_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store().folder == tmp_path / ".cache" / "recr1"
