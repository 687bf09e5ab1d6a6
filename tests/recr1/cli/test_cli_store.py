"""`recr1 store` as a user meets it."""

from __future__ import annotations

import os
import time

import pytest

from recr1.cli.main import run
from retrievers import Catalog
from retrievers.bm25.bm25 import BM25

DAY = 86400.0


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with one old index and one that was just made."""
    folder = tmp_path / "store"
    monkeypatch.setenv("RECR1_CACHE", str(folder))
    catalog = Catalog(["a"], ["red lamp"])
    BM25(catalog, store="auto")
    old = next(path for path in folder.glob("bm25-*") if path.is_dir())
    for path in (old, old.with_name(f"{old.name}.used")):
        os.utime(path, (time.time() - 40 * DAY,) * 2)
    BM25(catalog, store="auto", k1=2.0)
    return old, catalog.fingerprint


def test_it_lists_what_is_there(store, capsys):
    old, catalog = store
    assert run(["store"]) == 0
    head, first, second, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["size", "made", "used", "catalog", "state", "folder"]
    assert first.split()[2:] == ["40d", "40d", catalog, "whole", old.name]
    assert second.split()[2:5] == ["now", "now", catalog]
    assert last.startswith("2 entries, ")
    assert last.endswith(f" in {old.parent}")


def test_a_prune_shows_and_removes_nothing_until_it_is_told_to(store, capsys):
    old, _ = store
    assert run(["store", "--prune", "--older-than", "30d"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [old.name in line for line in lines] == [False, True, False]
    assert lines[-1].startswith("nothing was removed: add --yes to remove 1 entry, ")
    assert old.is_dir()
    assert run(["store", "--prune", "--older-than", "30d", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("removed 1 entry, ")
    assert not old.exists()
    assert run(["store", "--prune", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out.startswith("nothing to remove: 1 entry, ")


def test_the_least_used_go_until_the_rest_fits(store, capsys):
    assert run(["store", "--prune", "--max-gb", "0.000000001", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("removed 2 entries, ")


def test_an_index_in_use_stays(store, capsys):
    used = BM25(Catalog(["a"], ["red lamp"]), store="auto", k1=2.0)
    assert run(["store", "--prune", "--max-gb", "0.000000001", "--yes"]) == 0
    assert run(["store"]) == 0
    assert " in use " in capsys.readouterr().out.splitlines()[-2]
    assert used.search(["lamp"], 1).rows_QK.tolist() == [[0]]


def test_a_store_elsewhere_may_be_named(store, tmp_path, capsys):
    assert run(["store", "--folder", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out == f"0 entries, 0 B in {tmp_path / 'other'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prune"], "--prune: say what to remove, with --older-than 30d or --max-gb 50"),
        (["--older-than", "30d"], "--older-than, --max-gb and --yes need --prune"),
        (["--yes"], "need --prune"),
        (["--prune", "--older-than", "month"], "must be a time such as 30d, 12h or 15m, got 'month'"),
        (["--prune", "--max-gb", "-1"], "must be a number > 0, got '-1'"),
    ],
)
def test_a_bad_command_line_is_refused(store, arguments, message, capsys):
    try:
        status = run(["store", *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert store[0].is_dir()
