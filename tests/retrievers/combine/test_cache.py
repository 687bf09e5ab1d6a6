"""The cache: what it asks for, what it gives back, and what happens when its file fails."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrievers import PARTS, Catalog, Hits
from retrievers.bm25.bm25 import BM25
from retrievers.combine.cached import Cached

pytest.importorskip("lmdb", reason="pip install 'recr1[cache]'")
pytest.importorskip("xxhash", reason="pip install 'recr1[cache]'")

CATALOG = Catalog([f"i{row}" for row in range(50)], [f"word{row % 7} item{row} red" for row in range(50)])
TITLES = ["red tent", "blue tent", "cup of tea", "red cup", "tents"]
TITLED = Catalog([f"i{row}" for row in range(5)], [f"{title} blue" for title in TITLES], {"title": TITLES})
QUERIES = [f"word{number % 7} item{number}" for number in range(30)]


class Counting:
    """BM25 that keeps what it was asked; `sorts` declares that the order of words does not matter."""

    def __init__(self, catalog: Catalog, *, sorts: bool = False, wrong: bool = False) -> None:
        self._inner, self._wrong = BM25(catalog, backend="numpy"), wrong
        self.calls: list[tuple[list[str], int]] = []
        self.normalised: list[str] = []
        if sorts:
            self.normal_query = self._sorted

    def _sorted(self, query):
        self.normalised.append(query)
        return tuple(sorted(query.split()))

    def search(self, queries, k):
        self.calls.append((list(queries), k))
        hits = self._inner.search(queries, k)
        return Hits(hits.rows_QK.astype(np.int64), hits.scores_QK) if self._wrong else hits


class Histories:
    """Finds the last row of a history, and refuses text."""

    def __init__(self, catalog: Catalog) -> None:
        self.calls = 0

    def search(self, queries, k):
        self.calls += 1
        if any(isinstance(query, str) for query in queries):
            raise ValueError("a history is asked for")
        rows = np.full((len(queries), k), -1, np.int32)
        rows[:, 0] = [query[-1] for query in queries]
        return Hits(rows, np.where(rows >= 0, 1, -np.inf).astype(np.float32))


def cached(tmp_path=None, type="Counting", memory=1000, disk_mb=64, **options):
    spec = {"type": f"{__name__}:{type}", **options}
    return Cached(CATALOG, retriever=spec, memory=memory, disk=str(tmp_path) if tmp_path else None, disk_mb=disk_mb)


def assert_same(hits, expected):
    assert hits.rows_QK.tobytes() == expected.rows_QK.tobytes()
    assert hits.scores_QK.tobytes() == expected.scores_QK.tobytes()
    assert (hits.rows_QK.dtype, hits.scores_QK.dtype) == (np.int32, np.float32)


def test_hits_are_those_of_the_retriever_to_the_last_bit_from_memory_and_from_disk(tmp_path):
    expected = BM25(CATALOG, backend="numpy").search(QUERIES, 7)
    first = cached(tmp_path)
    for retriever in (first, first, cached(tmp_path), cached(tmp_path, memory=0)):
        assert_same(retriever.search(QUERIES, 7), expected)


def test_a_search_asks_once_for_what_is_not_known_and_for_each_query_once():
    retriever = cached()
    retriever.search(["red", "item3"], 2)
    hits = retriever.search(["item4", "red", "item4", "item5", "item3"], 2)
    assert retriever._inner.calls == [(["red", "item3"], 2), (["item4", "item5"], 2)]
    assert hits.rows_QK[:, 0].tolist() == [4, 0, 4, 5, 3]


def test_what_is_all_known_is_not_searched():
    retriever = cached()
    for _ in range(3):
        retriever.search(QUERIES, 3)
    assert len(retriever._inner.calls) == 1


def test_every_k_is_its_own():
    retriever = cached()
    assert retriever.search(["red"], 3).rows_QK.shape == (1, 3)
    assert retriever.search(["red"], 5).rows_QK.tolist() == [[0, 1, 2, 3, 4]]
    assert [k for _, k in retriever._inner.calls] == [3, 5]


def test_hits_can_be_written_to_without_harm():
    retriever = cached()
    for _ in range(2):
        hits = retriever.search(["item3"], 2)
        assert hits.rows_QK[0, 0] == 3
        hits.rows_QK[:], hits.scores_QK[:] = 99, 99


def test_memory_keeps_what_was_asked_for_last():
    retriever = cached(memory=3)
    for query in ("item1", "item2", "item3", "item1", "item4"):  # item2 makes room for item4
        retriever.search([query], 1)
    retriever._inner.calls.clear()
    hits = retriever.search(["item1", "item3", "item4", "item2"], 1)
    assert retriever._inner.calls == [(["item2"], 1)]
    assert hits.rows_QK[:, 0].tolist() == [1, 3, 4, 2]


def test_a_batch_larger_than_the_memory_is_answered():
    retriever = cached(memory=4)
    expected = BM25(CATALOG, backend="numpy").search(QUERIES, 5)
    for _ in range(3):
        assert_same(retriever.search(QUERIES, 5), expected)
    assert retriever.stats["cached"] == 4


def test_many_batches_through_a_small_memory_stay_right():
    retriever, plain = cached(memory=17), BM25(CATALOG, backend="numpy")
    rng = np.random.default_rng(0)
    for _ in range(60):
        some = [f"item{number} red" for number in rng.integers(0, 40, 9)]
        assert_same(retriever.search(some, 4), plain.search(some, 4))


def test_queries_of_one_normal_form_are_searched_once():
    retriever = cached(sorts=True)
    retriever.search(["red item3", "item3  red", "item4 red"], 2)
    retriever.search(["item3 red"], 2)
    assert retriever._inner.calls == [(["red item3", "item4 red"], 2)]


def test_without_a_normal_form_queries_are_the_same_when_they_are_equal():
    retriever = cached()
    retriever.search(["red item3", "item3 red", "Red item3"], 2)
    assert len(retriever._inner.calls[0][0]) == 3


@pytest.mark.parametrize("on_disk", [False, True])
def test_histories_are_cached_too(tmp_path, on_disk):
    retriever = cached(tmp_path if on_disk else None, type="Histories")
    for _ in range(2):
        assert retriever.search([(1, 2), (2, 1), (1, 2)], 2).rows_QK[:, 0].tolist() == [2, 1, 2]
    assert retriever._inner.calls == 1


def test_what_the_retriever_raises_comes_through_and_nothing_is_kept():
    retriever = cached(type="Histories")
    for _ in range(2):
        with pytest.raises(ValueError, match="a history is asked for"):
            retriever.search(["text"], 2)
    assert retriever._inner.calls == 2
    assert retriever.stats["cached"] == 0


def test_an_answer_of_the_wrong_type_is_not_made_right():
    with pytest.raises(RuntimeError, match=r"retriever Counting returned int64 of shape \(1, 2\), not int32"):
        cached(wrong=True).search(["red"], 2)


def test_stats_tell_the_hit_rate_of_the_last_search_and_of_all():
    retriever = cached()
    assert retriever.stats == {"hit_rate": 0.0, "hit_rate_total": 0.0, "cached": 0.0}
    retriever.search(["red", "item1"], 2)
    retriever.search(["red", "item1", "item1", "item2"], 2)
    assert retriever.stats == {"hit_rate": 3 / 4, "hit_rate_total": 3 / 6, "cached": 3.0}


def test_a_repeated_new_query_counts_as_new():
    retriever = cached()
    retriever.search(["red", "red"], 2)
    assert retriever.stats["hit_rate"] == 0


def test_it_passes_on_what_the_retriever_declares():
    retriever = cached()
    retriever._inner.capabilities, retriever._inner.max_k = frozenset({"phrases"}), 12
    retriever._inner.stats = {"retries": 3.0}
    assert retriever.capabilities == {"phrases"}
    assert list(retriever.syntax) == ["phrases"]
    assert retriever.max_k == 12
    assert retriever.stats["retries"] == 3
    assert not retriever.matches_everything
    retriever._inner.matches_everything = True
    assert retriever.matches_everything


@pytest.mark.parametrize("type", ["bm25", "rank_bm25"])
def test_queries_that_a_retriever_calls_the_same_have_the_same_hits(type):
    retriever = PARTS.build("retriever", {"type": type, "fields": {"title": 2, "texts": 1}}, TITLED)
    rng = np.random.default_rng(3)
    for _ in range(50):
        words = rng.choice(["red", "blue", "tent", "tents", "cup", "of", "tea"], 6).tolist()
        queries = [" ".join(rng.permutation(words)) for _ in range(4)] + [", ".join(words).upper()]
        assert len({retriever.normal_query(query) for query in queries}) == 1
        hits = retriever.search(queries, 5)
        for row in range(1, 5):
            assert_same(
                Hits(hits.rows_QK[row], hits.scores_QK[row]),
                Hits(hits.rows_QK[0], hits.scores_QK[0]),
            )


@pytest.mark.parametrize("type", ["bm25", "rank_bm25"])
def test_queries_that_differ_in_a_term_or_its_count_are_not_the_same(type):
    retriever = PARTS.build("retriever", {"type": type}, TITLED)
    assert len({retriever.normal_query(query) for query in ("red", "red red", "red tent", "tent", "")}) == 5


# --- the file


def test_the_next_process_finds_what_one_left(tmp_path):
    cached(tmp_path).search(QUERIES, 4)
    again = cached(tmp_path)
    again.search([*QUERIES, "item49"], 4)
    assert again._inner.calls == [(["item49"], 4)]
    assert again.stats["hit_rate"] == 30 / 31


def test_another_index_has_another_file(tmp_path):
    cached(tmp_path).search(["red"], 2)
    other = cached(tmp_path, sorts=True)
    other.search(["red"], 2)
    assert len(other._inner.calls) == 1
    assert len(list(tmp_path.glob("hits-*.lmdb"))) == 2


def test_odd_queries_are_kept_apart_on_disk(tmp_path):
    odd = ["", " ", "\x00", "\ud800", "\\ud800", "red\u0301", "1", "x" * 100_000, "[1, 2]"]
    cached(tmp_path).search(odd, 2)
    again = cached(tmp_path)
    assert_same(again.search(odd, 2), BM25(CATALOG, backend="numpy").search(odd, 2))
    assert again._inner.calls == []


def test_a_query_that_is_known_on_disk_is_not_brought_into_its_normal_form_again(tmp_path):
    cached(tmp_path, sorts=True).search(["red item3", "item4"], 2)
    again = cached(tmp_path, sorts=True)
    again.search(["red item3", "item3 red", "item5"], 2)
    assert again._inner.normalised == ["item3 red", "item5"]
    assert again._inner.calls == [(["item5"], 2)]


def changed(file, change):
    """Lets `change` have all hits of a file, by place."""
    with file._transaction(write=True) as (transaction, hits, _, _):
        records = {bytes(place): bytes(record) for place, record in transaction.cursor(hits)}
        for place, record in change(records).items():
            transaction.put(place, record, db=hits)


@pytest.mark.parametrize("at", [0, 8, -1])
def test_hits_whose_bytes_were_changed_are_searched_again(tmp_path, at):
    def flip(records):
        place, record = next(iter(records.items()))
        flipped = bytearray(record)
        flipped[at] ^= 1
        return {place: bytes(flipped)}

    expected = cached(tmp_path).search(["red", "item3"], 2)
    again = cached(tmp_path)
    changed(again._file, flip)
    assert_same(again.search(["red", "item3"], 2), expected)
    assert len(again._inner.calls[0][0]) == 1
    third = cached(tmp_path)
    assert_same(third.search(["red", "item3"], 2), expected)
    assert third._inner.calls == []  # they were written again


def test_hits_that_stand_in_the_place_of_others_are_searched_again(tmp_path):
    expected = cached(tmp_path).search(["red", "item3"], 2)
    again = cached(tmp_path)
    changed(again._file, lambda records: dict(zip(records, reversed(records.values()), strict=True)))
    assert_same(again.search(["red", "item3"], 2), expected)
    assert again._inner.calls == [(["red", "item3"], 2)]


@pytest.mark.parametrize(
    "damage", [lambda data: b"not a database" * 1000, lambda data: data[:10_000], lambda data: data[:1000]]
)
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path, damage):
    first = cached(tmp_path)
    first.search(QUERIES, 50)
    path = first._file.path
    del first
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"^disk: {path} is damaged \(.*\): delete it"):
        cached(tmp_path)
    path.unlink()
    cached(tmp_path).search(QUERIES, 50)


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        cached(tmp_path / "file" / "inside")


def test_a_file_that_breaks_later_costs_a_warning_and_no_hits(tmp_path, caplog):
    retriever, expected = cached(tmp_path, memory=0), BM25(CATALOG, backend="numpy").search(QUERIES, 3)
    with retriever._file._transaction(write=True) as (transaction, hits, _, _):
        transaction.drop(hits)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert_same(retriever.search(QUERIES, 3), expected)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is no longer used (mdb_cursor_open: Invalid argument): searching without it" in caplog.text
    assert len(retriever._inner.calls) == 3


def run(program, tmp_path):
    command = [sys.executable, "-c", program, str(tmp_path)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


FULL = """
import logging, resource, sys
from tests.retrievers.combine.test_cache import BM25, CATALOG, QUERIES, assert_same, cached
logging.basicConfig(level=logging.WARNING)
retriever, expected = cached(sys.argv[1], memory=0), BM25(CATALOG, backend="numpy").search(QUERIES, 40)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
for _ in range(3):
    assert_same(retriever.search(QUERIES, 40), expected)
assert len(retriever._inner.calls) == 3
"""


def test_a_disk_without_room_costs_a_warning_and_no_hits(tmp_path):
    done = run(FULL, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is no longer used") == 1
    assert "(mdb_txn_commit: " in done.stderr
    again = cached(tmp_path)  # what could not be written whole did not damage the file
    assert_same(again.search(QUERIES, 40), BM25(CATALOG, backend="numpy").search(QUERIES, 40))


def test_past_the_limit_the_oldest_hits_make_room(tmp_path):
    retriever, plain = cached(tmp_path, memory=0, disk_mb=1), BM25(CATALOG, backend="numpy")
    batches = [[f"item{number % 50} x{number}" for number in range(first, first + 20)] for first in range(0, 400, 20)]
    for batch in batches:
        retriever.search(batch, 1000)  # 8 kB a query, 3.2 MB in all
    assert retriever._file.path.stat().st_size < 2 * 2**20
    retriever._inner.calls.clear()
    for batch in (batches[-1], batches[0]):
        assert_same(retriever.search(batch, 1000), plain.search(batch, 1000))
    assert retriever._inner.calls == [(batches[0], 1000)]


def test_a_batch_larger_than_the_limit_is_answered_and_kept_in_part(tmp_path):
    retriever, plain = cached(tmp_path, memory=0, disk_mb=1), BM25(CATALOG, backend="numpy")
    batch = [f"item{number % 50} x{number}" for number in range(300)]
    for _ in range(2):
        assert_same(retriever.search(batch, 1000), plain.search(batch, 1000))
    assert retriever._file.path.stat().st_size < 2 * 2**20
    assert 0 < len(retriever._inner.calls[1][0]) < 300


def test_a_query_that_has_no_place_on_disk_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be a string or a tuple of numbers, got frozenset"):
        cached(tmp_path, type="Histories").search([frozenset({1})], 2)


WRITER = """
import sys
from tests.retrievers.combine.test_cache import BM25, CATALOG, assert_same, cached
retriever, plain = cached(sys.argv[1]), BM25(CATALOG, backend="numpy")
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    some = [f"item{number}", f"item{number + 1} red", f"word{number % 7}"]
    assert_same(retriever.search(some, 5), plain.search(some, 5))
"""


def test_several_processes_fill_one_file(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(first)]) for first in (0, 5, 10)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    again = cached(tmp_path)
    again.search([f"item{number}" for number in range(30)], 5)
    assert again._inner.calls == []


KILLED = """
import sys
from tests.retrievers.combine.test_cache import cached
retriever = cached(sys.argv[1])
for number in range(10**6):
    retriever.search([f"item{number % 50} y{number}", f"word{number % 7} y{number}"], 50)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_file_that_can_be_used(tmp_path):
    plain = BM25(CATALOG, backend="numpy")
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        while int(writer.stdout.readline()) < 30:
            pass
        time.sleep(0.01)
        writer.kill()
        written = 30 + len(writer.communicate()[0].split())
        again = cached(tmp_path)
        queries = [f"item{number % 50} y{number}" for number in range(written)]
        assert_same(again.search(queries, 50), plain.search(queries, 50))
        assert again._inner.calls == []


FORKS = """
import os, sys
from tests.retrievers.combine.test_cache import BM25, CATALOG, QUERIES, assert_same, cached
retriever, plain = cached(sys.argv[1], memory=0), BM25(CATALOG, backend="numpy")
retriever.search(QUERIES[:10], 5)
child = os.fork()
part = QUERIES[:20] if child else QUERIES[10:]
for _ in range(20):
    assert_same(retriever.search(part, 5), plain.search(part, 5))
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert_same(retriever.search(QUERIES, 5), plain.search(QUERIES, 5))
    assert retriever.stats["hit_rate"] == 1
"""


def test_a_file_that_was_open_before_a_fork_serves_both(tmp_path):
    done = run(FORKS, tmp_path)
    assert done.returncode == 0, done.stderr


def test_threads_share_memory_and_file(tmp_path):
    retriever, plain = cached(tmp_path, memory=11), BM25(CATALOG, backend="numpy")
    expected = plain.search(QUERIES, 3)
    begin = threading.Barrier(6)

    def work(_):
        begin.wait()
        return [retriever.search(QUERIES[first : first + 7], 3) for first in range(0, 23, 2)]

    with ThreadPoolExecutor(6) as threads:
        for found in threads.map(work, range(6)):
            for first, hits in zip(range(0, 23, 2), found, strict=True):
                assert_same(hits, Hits(expected.rows_QK[first : first + 7], expected.scores_QK[first : first + 7]))


def test_a_pickled_one_takes_its_file_along_and_not_its_memory(tmp_path):
    retriever = Cached(CATALOG, retriever={"type": "bm25", "backend": "numpy"}, disk=str(tmp_path))
    expected = retriever.search(QUERIES, 3)
    copy = pickle.loads(pickle.dumps(retriever))
    assert copy.stats["cached"] == 0
    assert_same(copy.search(QUERIES, 3), expected)
    assert copy.stats["hit_rate"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": -1}, "memory: must be an integer >= 0, got -1"),
        ({"memory": 0}, "memory: 0 keeps nothing without a folder in disk"),
        (
            {"disk": "somewhere", "disk_mb": 0},
            "disk_mb: must be an integer >= 1, got 0",
        ),
        ({"retriever": {"type": "bm52"}}, r"retriever\.type: no 'bm52' here; did you mean 'bm25'\?"),
        ({"retriever": {"type": "bm25", "k1": -1}}, r"retriever\.k1: must be a number >= 0"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Cached(CATALOG, **{"retriever": {"type": "bm25"}, **options})
