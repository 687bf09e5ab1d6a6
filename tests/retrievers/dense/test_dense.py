"""Dense search: exact ties, approximate recall, embedding once, resuming after a kill."""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from recr1.config.build import check_part
from retrievers import Catalog
from retrievers.dense.dense import RECALL, Dense
from retrievers.dense.vectors import CHUNK, on_grid, search_numpy, search_torch
from tests.retrievers.test_store import ROOT, wait_for

TEXTS = ["red shoe", "blue shoe", "", "reading lamp", "shoe red"]
COUNTING = "tests.retrievers.dense.counting_encoder:Counting"


def catalog_of(texts):
    return Catalog([str(row) for row in range(len(texts))], texts, {"title": [text[:3] for text in texts]})


def hashing(catalog, **options):
    return Dense(catalog, encoder={"type": "hashing"}, **{"store": None, **options})


def clustered(items, dim=32, clusters=40, seed=0):
    """Unit vectors in clusters, which are harder for indexes than vectors all over the place."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    vectors = centres[rng.integers(0, clusters, items)] + 0.5 * rng.standard_normal((items, dim))
    return on_grid((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))


class Given:
    """An encoder for tests: the text is the number of a vector."""

    def __init__(self, *, dim: int = 32, items: int = 4000):
        self.dim = dim
        self.identity = {"type": "given", "dim": dim, "items": items}
        self._vectors = clustered(items, dim)

    def encode_items(self, texts):
        return self._vectors[[int(text) for text in texts]]

    def encode_queries(self, texts):
        rng = np.random.default_rng(1)
        return self.encode_items(texts) + 0.1 * rng.standard_normal((len(texts), self.dim)).astype(np.float32)


def test_scores_are_cosines_and_equal_items_stand_in_the_order_of_rows():
    hits = hashing(catalog_of(TEXTS)).search(["red shoe"], 5)
    assert hits.rows_QK[0, :2].tolist() == [0, 4]
    assert hits.scores_QK[0, :2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("index", RECALL)
def test_an_empty_query_finds_nothing_and_an_empty_item_is_not_found(index):
    hits = hashing(catalog_of(TEXTS), index=index).search(["", "shoe", " \n"], 5)
    assert hits.rows_QK[[0, 2]].tolist() == [[-1] * 5] * 2
    assert sorted(hits.rows_QK[1].tolist()) == [-1, 0, 1, 3, 4]


@pytest.mark.parametrize("index", RECALL)
def test_a_catalog_of_empty_items_is_searched_in_vain(index):
    assert hashing(catalog_of(["", " "]), index=index).search(["shoe"], 2).rows_QK.tolist() == [[-1, -1]]


def test_a_field_is_embedded_instead_of_the_texts():
    hits = hashing(catalog_of(TEXTS), field="title").search(["rea"], 1)
    assert (hits.rows_QK[0, 0], hits.scores_QK[0, 0]) == (3, 1.0)


def test_scores_on_the_grid_do_not_depend_on_the_order_of_summation():
    rng = np.random.default_rng(3)
    vectors = on_grid((rng.standard_normal((50, 384)) * 10.0 ** rng.integers(-3, 3, (50, 1))).astype(np.float32))
    order = rng.permutation(384)
    for one in vectors.astype(np.float64):
        for other in vectors[:5].astype(np.float64):
            products = one * other
            assert products.sum() == products[order].sum() == math.fsum(products)


def test_the_grid_moves_a_vector_by_less_than_the_last_bit_of_its_length():
    vectors = np.random.default_rng(4).standard_normal((100, 64)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (abs(on_grid(vectors) - vectors) <= lengths * 2**-26).all()


def test_a_vector_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="a vector that is not finite"):
        on_grid(np.array([[1.0, np.nan]], np.float32))


@pytest.mark.parametrize("k", [1, 7, 40_000])
def test_torch_and_numpy_find_the_same_to_the_last_bit(k):
    torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
    vectors, blank = clustered(20_000, dim=16), np.array([3, 17_000], np.int32)
    vectors[5], vectors[19_000], vectors[blank] = vectors[0], vectors[0], 0
    queries = np.concatenate([vectors[:1], clustered(8, dim=16, seed=1)])
    expected = search_numpy(vectors, blank, queries, k)
    found = search_torch(torch.tensor(vectors), blank, queries, k)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.scores_QK, expected.scores_QK)


def test_exact_search_over_many_blocks_agrees_with_sorting_everything():
    vectors = clustered(40_000, dim=16)
    vectors[30_000] = vectors[2]
    queries = vectors[:300] * np.float32(0.5)
    hits = search_numpy(vectors, np.empty(0, np.int32), queries, 20)
    for query in (0, 2, 299):
        scores = (vectors.astype(np.float64) @ queries[query].astype(np.float64)).astype(np.float32)
        assert hits.rows_QK[query].tolist() == np.lexsort((np.arange(40_000), -scores))[:20].tolist()


@pytest.mark.parametrize("index", RECALL)
@pytest.mark.parametrize("k", [10, 100, 500])
def test_an_index_has_the_recall_that_it_declares(index, k, tmp_path_factory):
    store = tmp_path_factory.getbasetemp() / "recall"
    catalog = catalog_of([str(row) for row in range(4000)])
    dense = Dense(catalog, encoder={"type": f"{__name__}:Given"}, index=index, store=str(store))
    assert dense.recall([str(row) for row in range(0, 4000, 40)], k) >= RECALL[index]


def test_recall_falls_where_the_index_may_look_at_little(tmp_path):
    catalog = catalog_of([str(row) for row in range(4000)])
    options = {"encoder": {"type": f"{__name__}:Given"}, "store": str(tmp_path), "index": "ivf", "nlist": 80}
    queries = [str(row) for row in range(100)]
    little, more = (Dense(catalog, nprobe=nprobe, **options).recall(queries, 100) for nprobe in (1, 20))
    assert little < 0.8
    assert more > little
    assert len(list(tmp_path.glob("ivf-*/"))) == 1, "what only a search reads builds no second index"


def test_an_index_finds_all_of_many_equal_items_in_the_order_of_rows():
    catalog = catalog_of(["red shoe"] * 600 + ["lamp"])
    for index in RECALL:
        rows = hashing(catalog, index=index).search(["red shoe"], 590).rows_QK[0]
        assert rows.tolist() == list(range(590)), index


def test_items_are_embedded_once_and_equal_texts_together(tmp_path):
    catalog, log = catalog_of([f"text {row % 700}" for row in range(2500)]), tmp_path / "log"
    options = {"encoder": {"type": COUNTING, "log": str(log)}, "store": str(tmp_path / "store")}
    first = Dense(catalog, **options)
    for index in ("exact", "flat"):
        again = Dense(catalog, index=index, **options)
        assert again.search(["text 5"], 9).rows_QK.tolist() == first.search(["text 5"], 9).rows_QK.tolist()
    assert len(log.read_text().splitlines()) == 700


def test_another_catalog_or_encoder_is_embedded_anew(tmp_path):
    options = {"store": str(tmp_path)}
    for catalog, encoder in [
        (catalog_of(["red"]), {"type": "hashing"}),
        (catalog_of(["blue"]), {"type": "hashing"}),
        (catalog_of(["red"]), {"type": "hashing", "seed": 1}),
    ]:
        Dense(catalog, encoder=encoder, **options)
    Dense(catalog_of(["red"]), encoder={"type": "hashing"}, field="title", **options)
    assert len(list(tmp_path.glob("embeddings-*/"))) == 4


def test_truncated_embeddings_are_made_again(tmp_path, caplog):
    dense = hashing(catalog_of(TEXTS), store=str(tmp_path))
    expected = dense.search(["shoe"], 3)
    (file,) = tmp_path.glob("embeddings-*/vectors.npy")
    del dense
    os.truncate(file, file.stat().st_size - 100)
    with caplog.at_level(logging.WARNING):
        hits = hashing(catalog_of(TEXTS), store=str(tmp_path)).search(["shoe"], 3)
    assert np.array_equal(hits.rows_QK, expected.rows_QK)
    assert "vectors.npy has" in caplog.text


def test_an_embedding_that_was_killed_goes_on_where_it_was(tmp_path):
    items, log, store = 4 * CHUNK + 100, tmp_path / "log", tmp_path / "store"
    code = f"""
from retrievers import Catalog
from retrievers.dense.dense import Dense
texts = [f"text {{row}}" for row in range({items})]
Dense(Catalog(texts, texts), encoder={{"type": {COUNTING!r}, "log": {str(log)!r}, "pause": 0.5}}, store={str(store)!r})
"""
    texts = [f"text {row}" for row in range(items)]
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "COLUMNS": "80"})
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 3 * CHUNK)
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=20)
    (partial,) = store.glob("embeddings-*.partial/vectors.npy")
    kept = (partial.stat().st_size - 128) // (4 * 16)
    assert kept == 2 * CHUNK
    with partial.open("ab") as file:
        file.write(b"half a row")
    log.unlink()
    dense = Dense(Catalog(texts, texts), encoder={"type": COUNTING, "log": str(log)}, store=str(store))
    assert log.read_text().splitlines() == texts[kept:]
    unbroken = Dense(Catalog(texts, texts), encoder={"type": COUNTING, "log": os.devnull}, store=None)
    for found, expected in zip(dense.search(texts[:50], 20), unbroken.search(texts[:50], 20), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("index", RECALL)
def test_a_stored_retriever_pickles_as_paths(index, tmp_path):
    catalog = catalog_of([f"text {row}" for row in range(2000)])
    dense = hashing(catalog, index=index, store=str(tmp_path))
    data = pickle.dumps(dense)
    assert len(data) < 2000
    found, expected = pickle.loads(data).search(["text 7"], 5), dense.search(["text 7"], 5)
    assert np.array_equal(found.rows_QK, expected.rows_QK)


def test_without_a_store_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "cache"))
    hashing(catalog_of(TEXTS), index="flat", store=None).search(["shoe"], 1)
    assert not (tmp_path / "cache").exists()


def test_a_query_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match=r"a dense retriever searches text, not a tuple: \(1, 2\)"):
        hashing(catalog_of(TEXTS)).search([(1, 2)], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nprobe": 4}, "nprobe: index exact does not read it, only ivf; leave it out"),
        ({"index": "ivf", "device": "cpu"}, "device: index ivf does not read it, only exact; leave it out"),
        ({"index": "hnsw", "ef_search": 0}, "ef_search: must be an integer >= 1, or null, got 0"),
        ({"index": "ivf", "nlist": 9}, "nlist: there cannot be 9 groups of 5 items; leave it out, or name fewer"),
        ({"index": "pq", "pq_m": 7}, "pq_m: 256 dimensions cannot be cut into 7 equal parts; name a divisor"),
        ({"field": "colour"}, "the catalog has no field 'colour'; it has: texts, title"),
        ({"encoder": {"type": "hashin"}}, "encoder.type: no 'hashin' here; did you mean 'hashing'?"),
        ({"encoder": {"type": "hashing", "dim": 9}}, "encoder.dim: must be an integer >= 8 divisible by 8, got 9"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Dense(catalog_of(TEXTS), **{"encoder": {"type": "hashing"}, "store": None, **options})


def test_a_recipe_with_a_wrong_encoder_is_told_what_it_meant():
    wrong = {"type": "dense", "encoder": {"type": "hashin"}, "index": "hnws"}
    (encoder, index) = sorted(map(str, check_part("retriever", wrong, "retriever")))
    assert encoder.startswith("retriever.encoder.type: no 'hashin' here; did you mean 'hashing'?")
    assert index.startswith("retriever.index: must be one of 'exact', 'flat', 'ivf', 'hnsw', 'pq', got 'hnws'")


def test_a_recipe_with_a_wrong_option_of_an_encoder_or_index_is_told_so_before_anything_loads():
    encoder = {"type": "sentence_transformers", "model": "./no/such/folder", "batchsize": 3}
    problems = check_part("retriever", {"type": "dense", "encoder": encoder}, "retriever")
    assert [problem.path for problem in problems] == ["retriever.encoder.batchsize", "retriever.encoder.model"]
    assert "did you mean 'batch_size'?" in problems[0].what
    wrong = {"type": "dense", "encoder": {"type": "hashing"}, "nlist": 10}
    (problem,) = check_part("retriever", wrong, "retriever")
    assert problem == ("retriever.nlist", "index exact does not read it, only ivf; leave it out")


def test_a_gpu_that_is_not_there_is_refused():
    torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match="device: torch is not installed or sees no GPU"):
        hashing(catalog_of(TEXTS), device="cuda")


@pytest.mark.gpu
def test_a_gpu_finds_the_same_as_a_cpu():
    torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can see")
    catalog = catalog_of([f"text {row % 900} of {row % 7}" for row in range(40_000)])
    queries = [f"text {row}" for row in range(64)]
    found, expected = (hashing(catalog, device=device).search(queries, 100) for device in ("cuda", "cpu"))
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.scores_QK, expected.scores_QK)
