"""Manifests: any difference is found and named."""

from __future__ import annotations

import json

import pytest

from recr1.runs.manifest import damage, logged, write_manifest
from tests.processes import plain_user


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two files, and the run folder above it with a log."""
    inner = tmp_path / "checkpoint"
    (inner / "deep").mkdir(parents=True)
    (inner / "weights").write_bytes(bytes(range(200)))
    (inner / "deep" / "state").write_text("state")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "rollouts.jsonl").write_text('{"step": 1}\n')
    write_manifest(inner, tmp_path)
    return inner


def test_a_folder_as_it_was_written_has_no_damage(folder):
    assert damage(folder, folder.parent) is None
    known = json.loads((folder / "manifest.json").read_text())["files"]
    assert list(known) == ["deep/state", "weights"]
    assert known["weights"]["bytes"] == 200
    # sha256sum of the bytes 0 to 199
    assert known["weights"]["sha256"] == "1901da1c9f699b48f6b2636e65cbf73abf99d0441ef67f5c540a42f7051dec6f"


def test_a_log_may_grow_and_one_that_training_does_not_read_may_go(folder):
    with (folder.parent / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2}\n')
    (folder.parent / "rollouts.jsonl").unlink()
    assert damage(folder, folder.parent) is None
    assert logged(folder) == {"metrics.jsonl": 12, "rollouts.jsonl": 12}


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("checkpoint/weights", bytes(100), "weights has 100 bytes and had 200"),
        ("checkpoint/weights", bytes(range(200)) + b"+", "weights has 201 bytes and had 200"),
        ("checkpoint/weights", bytes([1, *range(1, 200)]), "weights has other bytes than it had"),
        ("checkpoint/deep/state", None, "deep/state is missing"),
        ("checkpoint/manifest.json", None, "manifest.json is missing"),
        ("checkpoint/manifest.json", b'{"files"', "manifest.json cannot be read"),
        ("checkpoint/manifest.json", b'{"files": {"a": 1}, "logs": {}}', "manifest.json cannot be read"),
        ("checkpoint/manifest.json", b"\xff", "manifest.json cannot be read"),
        ("metrics.jsonl", b'{"step": 1', "metrics.jsonl has 10 bytes and had 12"),
        ("metrics.jsonl", b'{"step": 7}\n{"step": 2}\n', "metrics.jsonl has other bytes"),
        ("metrics.jsonl", None, "metrics.jsonl is missing"),
        ("rollouts.jsonl", b"", "rollouts.jsonl has 0 bytes and had 12"),
    ],
)
def test_damage_is_named(folder, file, data, message):
    path = folder.parent / file
    path.unlink() if data is None else path.write_bytes(data)
    assert str(damage(folder, folder.parent)).startswith(message)


def test_a_file_that_may_not_be_read_is_named_and_not_the_manifest():
    with plain_user() as folder:
        (folder / "weights").write_bytes(bytes(9))
        write_manifest(folder, folder.parent)
        (folder / "weights").chmod(0)
        assert damage(folder, folder.parent) == "weights cannot be read: Permission denied"
