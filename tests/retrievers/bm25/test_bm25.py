from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from math import log

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.bm25 import BM25, NUMBA_PAYS_FROM, _takes_numba
from tests.retrievers.bm25.formulas import lucene

SHOES = Catalog(["1", "2", "3"], ["red shoe red", "blue shoe", "green hat with a wide brim"])
"""Lengths 3, 2 and 6: the mean is 11/3."""

BACKENDS = pytest.mark.parametrize("backend", ["numba", "numpy"])


def catalog_of(*texts, **fields):
    return Catalog([str(row) for row in range(len(texts))], texts, fields)


def random_texts(seed, items, words=50, longest=30):
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in rng.zipf(1.3, rng.integers(0, longest)) % words) for _ in range(items)]


def found(retriever, query, k=5):
    rows, scores = retriever.search([query], k)
    return {int(row): float(score) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0}


@BACKENDS
def test_scores_are_those_of_the_formula_by_hand(backend):
    retriever = BM25(SHOES, k1=1.2, b=0.75, backend=backend)
    idf_red, idf_shoe = log(1 + 2.5 / 1.5), log(1 + 1.5 / 2.5)
    norm_1, norm_2 = 1.2 * (0.25 + 0.75 * 3 / (11 / 3)), 1.2 * (0.25 + 0.75 * 2 / (11 / 3))
    expected = {0: idf_red * 2 / (2 + norm_1) + idf_shoe / (1 + norm_1), 1: idf_shoe / (1 + norm_2)}
    assert found(retriever, "Red shoe?") == pytest.approx(expected, rel=1e-6)


def test_the_defaults_are_those_of_lucene():
    assert found(BM25(SHOES), "red shoe") == found(BM25(SHOES, k1=1.2, b=0.75), "red shoe")


def test_with_k1_of_0_only_presence_counts():
    assert found(BM25(SHOES, k1=0), "red") == pytest.approx({0: log(1 + 2.5 / 1.5)}, rel=1e-6)


def test_with_b_of_0_length_does_not_count():
    scores = found(BM25(SHOES, b=0), "shoe")
    assert scores[0] == scores[1]


def test_a_repeated_query_term_counts_as_often_as_it_occurs():
    once, thrice = found(BM25(SHOES), "shoe"), found(BM25(SHOES), "shoe shoe SHOE")
    assert thrice == pytest.approx({row: 3 * score for row, score in once.items()}, rel=1e-6)


def test_unknown_query_terms_change_nothing():
    assert found(BM25(SHOES), "red unheard shoe of") == found(BM25(SHOES), "red shoe")


def test_the_order_of_the_words_changes_nothing():
    retriever = BM25(catalog_of(*random_texts(1, 200)))
    words = [f"w{word}" for word in range(30)]
    rows, scores = retriever.search([" ".join(words), " ".join(words[::-1]), " ".join(words[7:] + words[:7])], 100)
    assert (rows == rows[0]).all()
    assert (scores == scores[0]).all()


@BACKENDS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_an_independent_loop(backend, seed):
    texts = random_texts(seed, 150)
    retriever = BM25(catalog_of(*texts), k1=0.9, b=0.4, backend=backend)
    for query in random_texts(seed + 10, 20, longest=8):
        expected = lucene([text.split() for text in texts], query.split(), k1=0.9, b=0.4)
        assert found(retriever, query, 150) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [1, 10, 100, 5000])
def test_both_backends_give_the_same_hits_to_the_last_bit(k):
    texts, queries = random_texts(3, 3000, words=400), [*random_texts(4, 150, words=420, longest=12), "", "w1 " * 999]
    catalog = catalog_of(*texts, title=texts[::-1])
    for fields in (None, {"title": 0.3, "texts": 1.7}):
        by_backend = [BM25(catalog, fields=fields, backend=name).search(queries, k) for name in ("numba", "numpy")]
        for numba, numpy in zip(*by_backend, strict=True):
            assert numba.tobytes() == numpy.tobytes()


@BACKENDS
def test_sums_of_the_same_parts_tie_in_whatever_order_they_were_added(backend):
    """120 items that hold five words 1 to 5 times, each in another arrangement."""
    counts = list(permutations(range(1, 6)))
    catalog = catalog_of(*("".join(f"{word} " * n for word, n in zip("vwxyz", times, strict=True)) for times in counts))
    rows, scores = BM25(catalog, backend=backend).search(["v w x y z"], 120)
    assert rows[0].tolist() == list(range(120))
    assert len(set(scores[0].tolist())) == 1


@BACKENDS
@pytest.mark.parametrize("k", [1, 7, 500, 2000])
def test_the_best_are_found_wherever_they_stand(backend, k):
    """Scores that rise, that fall and that tie along the rows of more items than are collected at a time."""
    rising = ["red " + "word " * (40 - row // 50) for row in range(2000)]
    for texts, best in ((rising, 1950), (rising[::-1], 0), (["red shoe"] * 2000, 0)):
        rows, scores = BM25(catalog_of(*texts), backend=backend).search(["red"], k)
        assert rows[0, 0] == best
        assert sorted(zip(-scores[0], rows[0], strict=True)) == list(zip(-scores[0], rows[0], strict=True))
        assert set(rows[0].tolist()) == set(np.argsort(-by_row(texts, backend), kind="stable")[:k].tolist())


def by_row(texts, backend):
    """The score of each item, from a search for all of them."""
    rows, scores = BM25(catalog_of(*texts), backend=backend).search(["red"], len(texts))
    return scores[0][np.argsort(rows[0])]


@BACKENDS
def test_a_query_that_matches_nothing_finds_nothing(backend):
    assert (BM25(SHOES, backend=backend).search(["", "unheard", "?!"], 2).rows_QK == -1).all()


@BACKENDS
@pytest.mark.parametrize("texts", [["", "", ""], ["?", " ", "the"]])
def test_a_catalog_without_terms_is_searched_in_vain(backend, texts):
    assert (BM25(catalog_of(*texts), stopwords="english", backend=backend).search(["the", ""], 4).rows_QK == -1).all()


@BACKENDS
def test_no_queries_are_no_rows(backend):
    assert BM25(SHOES, backend=backend).search([], 4).scores_QK.shape == (0, 4)


def test_stop_words_find_nothing_and_do_not_lengthen():
    plain, stopped = BM25(SHOES), BM25(SHOES, stopwords="english")
    assert found(plain, "with")
    assert not found(stopped, "with")
    assert found(stopped, "hat") == pytest.approx(
        found(BM25(catalog_of("red shoe red", "blue shoe", "green hat wide brim")), "hat")
    )


def test_a_stemmer_matches_other_forms_of_a_word():
    assert not found(BM25(SHOES), "shoes")
    assert found(BM25(SHOES, stemmer="english"), "shoes") == found(BM25(SHOES), "shoe")


def test_case_can_be_kept():
    assert not found(BM25(SHOES, lowercase=False), "Red")


def test_the_score_over_fields_is_the_weighted_sum_of_each_field():
    catalog = catalog_of("", "", "", title=["red shoe", "hat", "red"], brand=["acme", "red", None])
    title, brand = (BM25(Catalog(catalog.ids, catalog.column(name))) for name in ("title", "brand"))
    scores = found(BM25(catalog, fields={"title": 2, "brand": 0.5}), "red acme")
    expected = {
        row: 2 * found(title, "red").get(row, 0) + 0.5 * found(brand, "red acme").get(row, 0) for row in range(3)
    }
    assert scores == pytest.approx(expected, rel=1e-6)


def test_the_same_word_in_another_field_is_another_term():
    catalog = catalog_of("", "", title=["red", "blue"], brand=["", "red"])
    assert set(found(BM25(catalog, fields={"title": 1}), "red")) == {0}
    assert set(found(BM25(catalog, fields={"brand": 1}), "red")) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -0.1}, r"k1: must be a number >= 0 \(0.9 to 1.5 is usual\), got -0.1"),
        ({"k1": float("nan")}, "k1: must be a number >= 0 .*, got nan"),
        ({"b": 1.5}, "b: must be a number between 0 and 1, got 1.5"),
        ({"backend": "fortran"}, "backend: must be one of 'auto', 'numba', 'numpy', got 'fortran'"),
        ({"stemmer": "klingon"}, "stemmer: must be a language, got 'klingon'; there are: .*english"),
        ({"fields": {"brand": 1}}, "the catalog has no field 'brand'; it has: texts"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BM25(SHOES, **options)


def test_a_query_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match="a lexical retriever searches text, not a int: 3"):
        BM25(SHOES).search(["red", 3], 1)


def test_auto_takes_numba_for_large_catalogs_only():
    assert not _takes_numba("auto", NUMBA_PAYS_FROM - 1)
    assert _takes_numba("auto", NUMBA_PAYS_FROM)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
many = Catalog([str(row) for row in range(20_000)], ["red shoe"] * 20_000)
print(BM25(many).search(["shoe"], 2).rows_QK.tolist())
try:
    BM25(many, backend="numba")
except ValueError as error:
    print(error)
"""


def test_without_numba_auto_takes_numpy_and_numba_says_how_to_install_it():
    """In a process of its own, in which the import of numba fails."""
    out = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[0] == "[[0, 1]]"
    assert "backend: 'numba' needs the library numba" in out
    assert "pip install 'recr1[fast]', or set backend=numpy" in out


@pytest.mark.slow
def test_where_no_compiled_code_can_be_kept_every_process_compiles():
    """As in a read-only container; numba is told to keep code where a variable says, and the variable is not there."""
    search = "from retrievers import Catalog; from retrievers.bm25.bm25 import BM25\n"
    search += "print(BM25(Catalog(['1'], ['red']), backend='numba').search(['red'], 1).rows_QK)"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment["NUMBA_CACHE_LOCATOR_CLASSES"] = "UserProvidedCacheLocator"
    ran = subprocess.run([sys.executable, "-c", search], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout == "[[0]]\n"
