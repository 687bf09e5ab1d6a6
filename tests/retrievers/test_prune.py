"""What a store holds is told, and only what nobody uses is removed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.dense.dense import Dense
from retrievers.prune import StoredEntry, kept, removable, remove
from retrievers.store import Store, save_array, used_file
from tests.processes import plain_user

DAY = 86400.0
CATALOG = Catalog(["a", "b"], ["red lamp", "blue tent"])


def fill(store, kind="bm25", catalog="c0ffee", size=1000):
    """An entry that nobody uses any more."""
    return store.open(kind, {"catalog": catalog}, lambda folder: save_array(folder, "v", np.zeros(size))).folder


def age(folder, days):
    then = time.time() - days * DAY
    for path in (folder, used_file(folder)):
        os.utime(path, (then, then))


def names(entries):
    return [entry.folder.name for entry in entries]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


# --- what is there


def test_each_entry_is_told_with_what_it_is(store):
    folder = fill(store, "embeddings", catalog="0123")
    (entry,) = kept(store)
    assert (entry.kind, entry.catalog, entry.state, entry.folder) == ("embeddings", "0123", "whole", folder)
    assert entry.bytes == sum(path.stat().st_size for path in folder.iterdir()) > 8000
    assert abs(entry.made - time.time()) < 60


def test_the_one_not_used_for_longest_is_the_first(store):
    folders = [fill(store, catalog=name) for name in "abc"]
    for folder, days in zip(folders, (1, 3, 2), strict=True):
        age(folder, days)
    assert names(kept(store)) == [folders[place].name for place in (1, 2, 0)]


def test_opening_an_entry_counts_as_use_and_looking_does_not(store):
    folder = fill(store)
    age(folder, 40)
    before = kept(store)[0].used
    assert kept(store)[0].used == before
    fill(store)
    assert kept(store)[0].used > before + 39 * DAY


def test_what_is_no_entry_is_not_told(store):
    fill(store)
    for name in ("my-thesis", "runs", "bm25-nothex", "x.partial"):
        (store.folder / name).mkdir()
    (store.folder / "bm25-0123456789abcdef0123").write_text("a file")
    assert len(kept(store)) == 1
    assert kept(Store(store.folder / "none")) == []


def test_an_unfinished_entry_is_told_as_that(store):
    def die(folder):
        save_array(folder, "v", np.zeros(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.open("embeddings", {"catalog": "x"}, die, resumes=True)
    (entry,) = kept(store)
    assert (entry.kind, entry.state, entry.catalog) == ("embeddings", "unfinished", None)
    assert remove(entry)
    assert kept(store) == []


# --- what may go


def entry(name, days, gigabytes=1.0, state="whole"):
    from pathlib import Path

    return StoredEntry(Path(name), int(gigabytes * 1e9), 0.0, -days * DAY, "c", state)


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({"older_than": 30 * DAY}, ["old", "older"]),
        ({"older_than": 100 * DAY}, []),
        ({"most_bytes": int(4e9)}, []),
        ({"most_bytes": int(2.5e9)}, ["old", "older"]),
        ({"most_bytes": int(3.5e9)}, ["old"]),
        ({"most_bytes": 0}, ["old", "older", "new"]),
        ({"older_than": 35 * DAY, "most_bytes": int(2e9)}, ["old", "older"]),
        ({"older_than": 35 * DAY, "most_bytes": int(1e9)}, ["old", "older", "new"]),
    ],
)
def test_what_may_go_is_what_is_old_or_too_much_and_never_what_is_in_use(limits, gone):
    entries = [entry("old", 50), entry("busy", 45, state="in use"), entry("older", 40), entry("new", 1)]
    assert all(one.used < other.used for one, other in pairwise(entries))
    assert names(removable(entries, now=0.0, **limits)) == gone


# --- in use


def test_an_index_that_a_retriever_has_open_stays(store):
    retriever = BM25(CATALOG, store=str(store.folder))
    (found,) = kept(store)
    assert found.state == "in use"
    assert not remove(found)
    assert retriever.search(["lamp"], 1).rows_QK.tolist() == [[0]]
    del retriever
    (found,) = kept(store)
    assert found.state == "whole"
    assert remove(found)


def test_all_entries_of_a_retriever_stay(store):
    retriever = Dense(CATALOG, encoder={"type": "hashing"}, index="flat", store=str(store.folder))
    assert {(found.kind, found.state) for found in kept(store)} == {("embeddings", "in use"), ("flat", "in use")}
    assert not any(remove(found) for found in kept(store))
    assert retriever.search(["lamp"], 1).rows_QK.tolist() == [[0]]


OPEN = """\
import pickle, sys
retriever = pickle.load(sys.stdin.buffer)
print("open", flush=True)
sys.stdin.close()
import time
time.sleep(600)
"""


def test_an_index_that_another_process_has_open_stays_until_it_is_killed(store):
    sent = pickle.dumps(BM25(CATALOG, store=str(store.folder)))
    other = subprocess.Popen([sys.executable, "-c", OPEN], stdin=-1, stdout=-1)
    try:
        other.stdin.write(sent)
        other.stdin.close()
        assert other.stdout.readline() == b"open\n"
        (found,) = kept(store)
        assert found.state == "in use"
        assert not remove(found)
    finally:
        other.kill()
        other.wait()
    assert kept(store)[0].state == "whole"
    assert remove(found)
    assert not found.folder.exists()


def test_an_entry_that_is_being_built_stays(store):
    begun, may_end = threading.Event(), threading.Event()

    def slowly(folder):
        save_array(folder, "v", np.zeros(3))
        begun.set()
        assert may_end.wait(30)

    thread = threading.Thread(target=store.open, args=("bm25", {"catalog": "x"}, slowly))
    thread.start()
    assert begun.wait(30)
    (found,) = kept(store)
    assert (found.state, found.folder.name.endswith(".partial")) == ("in use", True)
    assert not remove(found)
    may_end.set()
    thread.join()
    assert [found.state for found in kept(store)] == ["whole"]


def test_an_entry_that_is_opened_while_it_goes_is_built_again(store, monkeypatch):
    (folder,) = [fill(store)]
    (found,) = kept(store)
    going, opened, waited = threading.Event(), threading.Event(), []

    def slow_removal(path):
        going.set()
        waited.append(not opened.wait(0.3))
        subprocess.run(["rm", "-r", str(path)], check=True)

    monkeypatch.setattr("retrievers.prune.shutil.rmtree", slow_removal)
    thread = threading.Thread(target=remove, args=(found,))
    thread.start()
    assert going.wait(30)
    assert fill(store) == folder
    opened.set()
    thread.join()
    assert waited == [True]
    assert (folder / "v.npy").is_file()


def test_a_removal_that_was_killed_is_ended_by_the_next(store):
    folder = fill(store)
    folder.rename(f"{folder}.removed")
    (found,) = kept(store)
    assert found.state == "unfinished"
    assert remove(found)
    assert kept(store) == []


def test_an_entry_that_somebody_else_removed_is_not_removed_twice(store):
    fill(store)
    (found,) = kept(store)
    assert [remove(found), remove(found)] == [True, False]


def test_a_removed_entry_is_built_again(store):
    BM25(CATALOG, store=str(store.folder))
    assert remove(kept(store)[0])
    assert BM25(CATALOG, store=str(store.folder)).search(["tent"], 1).rows_QK.tolist() == [[1]]


def test_a_store_that_may_only_be_read_is_read():
    BM25(CATALOG, store=None).search(["tent"], 1)  # compiled, as a user who may keep what was compiled
    with plain_user() as folder:
        BM25(CATALOG, store=str(folder))
        folder.chmod(0o555)
        assert BM25(CATALOG, store=str(folder)).search(["tent"], 1).rows_QK.tolist() == [[1]]
        assert [found.state for found in kept(Store(folder))] == ["unknown"]
