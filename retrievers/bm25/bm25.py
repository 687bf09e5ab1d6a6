"""BM25 for catalogs of up to millions of items."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.analyzer import K1, VERSION, Analyzer, FieldWeights, searched_fields
from retrievers.base import Catalog, Floats, Hits, Query
from retrievers.bm25.index import Bounds, Postings, bounds_of, index_fields
from retrievers.options import Share, checked
from retrievers.store import Entry, Store, save_array, save_lines
from retrievers.topk import NO_KEY, Keys, best_keys, check_k, hits_from_keys

NUMBA_PAYS_FROM = 4_000
"""Items from which `auto` takes numba. Below, numpy answers hundreds of queries in milliseconds; loading the compiled
code takes a fifth of a second, and compiling it, the first time, more than one."""
SCORES_AT_A_TIME = 2**18
"""The numpy backend computes this many scores together, which fit the processor's cache."""


class Terms(NamedTuple):
    """Q queries as columns of an index; those of query q are from `ends[q]` to `ends[q + 1]` and ascend."""

    columns: NDArray[np.int64]
    times: Floats
    ends: NDArray[np.int64]


@checked
class BM25:
    """BM25 with Lucene's formula.

    The score of an item with terms d for a query with terms q is

        sum over t in q:  idf(t) * tf / (tf + k1 * (1 - b + b * |d| / mean |d|)),
        idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

    where tf counts t in d, df counts the items with t, and a term that the query repeats counts as often as it occurs.
    Words that no item has are ignored. An item matches if it has a term of the query, and its score is then above zero.
    With `fields`, the score is the sum over the fields of weight * the score in that field, each field with its own df
    and mean length (Elasticsearch calls this `most_fields`). Each summand is rounded to 32 bits and summed in 64, so
    that a score depends neither on the order of the words nor on the backend.

    The variant is the "Lucene (accurate)" one of Kamphuis et al., "Which BM25 Do You Mean?", ECIR 2020. Searching is
    safe from several threads.

    Args:
        catalog: What is searched.
        k1: How slowly a repeated term stops counting; 0 counts presence only.
        b: How much the length of a text counts, from 0 to 1.
        fields: Fields of the catalog to search, with their weights; None searches its `texts`.
        lowercase: See `Analyzer`, as for the next two.
        stopwords: The name of a list ("english"), the words, or None.
        stemmer: A Snowball language ("english"), or None.
        backend: "numba" is compiled (once, then kept on disk), "numpy" needs nothing; the same hits to the last bit.
            "auto" takes numba where it is installed and the catalog is large enough for it to pay.
        store: A folder that keeps the index, so that it is built once and all processes of a machine share its pages;
            "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps it in memory.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        k1: K1 = 1.2,
        b: Share = 0.75,
        fields: FieldWeights | None = None,
        lowercase: bool = True,
        stopwords: str | list[str] | None = None,
        stemmer: str | None = None,
        backend: Literal["auto", "numba", "numpy"] = "auto",
        store: str | None = None,
    ) -> None:
        self._items = len(catalog)
        self._compiled = _takes_numba(backend, self._items)
        self._analyzer = Analyzer(lowercase=lowercase, stopwords=stopwords, stemmer=stemmer)
        self.normal_query = self._analyzer.normal_query
        searched = searched_fields(catalog, fields)
        index = partial(index_fields, self._analyzer, searched, k1, b, compiled=self._compiled)
        self._entry: Entry | None = None
        if store is None:
            self._columns_by_field, self._postings = index()
            self._bounds = bounds_of(self._postings, self._items)
            return
        key = {"catalog": catalog.fingerprint, "fields": fields, "k1": k1, "b": b, **_identity(self._analyzer)}
        self._entry = Store(store).open("bm25", key, lambda folder: _save(folder, self._items, *index()))
        self._columns_by_field, self._postings, self._bounds = _opened(self._entry)

    check_options = staticmethod(Analyzer.check_options)

    def __getstate__(self) -> dict[str, Any]:
        left_out = () if self._entry is None else ("_columns_by_field", "_postings", "_bounds")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._entry is not None:
            self._columns_by_field, self._postings, self._bounds = _opened(self._entry)

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k). Raises `ValueError` for a query that is not text or a k below 1."""
        check_k(k)
        terms, most = self._terms(queries), min(k, self._items)
        if self._compiled:
            from retrievers.bm25.blocks import best_keys_in_blocks

            return hits_from_keys(best_keys_in_blocks(self._postings, self._bounds, terms, self._items, most), k)
        return hits_from_keys(_best_keys_numpy(self._postings, terms, self._items, most), k)

    def _terms(self, queries: Sequence[Query]) -> Terms:
        columns: list[int] = []
        times: list[int] = []
        ends = [0]
        for query in queries:
            counts = self._analyzer.query_terms(query)
            first = 0
            for columns_of in self._columns_by_field:
                # In the order of columns, so that the order of the words cannot show in the last bit of a sum.
                for column, term in sorted((columns_of[term], term) for term in counts if term in columns_of):
                    columns.append(first + column)
                    times.append(counts[term])
                first += len(columns_of)
            ends.append(len(columns))
        return Terms(np.array(columns, np.int64), np.array(times, np.float32), np.array(ends, np.int64))


def _takes_numba(backend: str, items: int) -> bool:
    if backend == "numpy" or (backend == "auto" and items < NUMBA_PAYS_FROM):
        return False
    try:
        import retrievers.bm25.blocks  # noqa: F401
    except ImportError as error:
        if backend == "auto":
            return False
        remedy = "install it with: pip install 'recr1[fast]', or set backend=numpy"
        raise ValueError(f"backend: 'numba' needs the library numba ({error}); {remedy}") from error
    return True


def _identity(analyzer: Analyzer) -> dict[str, Any]:
    """What terms and weights depend on in addition to the options of BM25: part of the key in the store."""
    return {
        "lowercase": analyzer.lowercase,
        "stopwords": sorted(analyzer.stopwords),
        "stemmer": analyzer.stemmer,
        "arrays": [*Postings._fields, *Bounds._fields],
        "versions": [VERSION, unicodedata.unidata_version, version("PyStemmer")],
    }


def _save(folder: Path, items: int, columns_by_field: Sequence[dict[str, int]], postings: Postings) -> None:
    for name, values in (postings._asdict() | bounds_of(postings, items)._asdict()).items():
        save_array(folder, name, values)
    for field, columns in enumerate(columns_by_field):
        save_lines(folder, f"terms-{field}", list(columns))
    save_array(folder, "fields", np.array(len(columns_by_field)))


def _opened(entry: Entry) -> tuple[list[dict[str, int]], Postings, Bounds]:
    terms_by_field = [entry.lines(f"terms-{field}") for field in range(int(entry.array("fields")))]
    columns_by_field = [dict(zip(terms, range(len(terms)), strict=True)) for terms in terms_by_field]
    postings = Postings(*(entry.array(name) for name in Postings._fields))
    return columns_by_field, postings, Bounds(*(entry.array(name) for name in Bounds._fields))


def _best_keys_numpy(postings: Postings, terms: Terms, items: int, k: int) -> Keys:
    queries = len(terms.ends) - 1
    keys_QK = np.full((queries, k), NO_KEY)
    together = max(1, SCORES_AT_A_TIME // items)
    for first in range(0, queries, together):
        ends = terms.ends[first : first + together + 1]
        keys_QK[first : first + together] = best_keys(_scores(postings, terms, ends, items), k)
    return keys_QK


def _scores(postings: Postings, terms: Terms, ends: NDArray[np.int64], items: int) -> Floats:
    """The scores (Q, N) of the queries between the given ends; -inf for items that do not match."""
    columns, times = terms.columns[ends[0] : ends[-1]], terms.times[ends[0] : ends[-1]]
    starts_T = postings.ends[columns]
    counts_T = postings.ends[columns + 1] - starts_T
    # The entries of all the terms one after the other: each term's run counts up from where its column starts.
    before_T = np.cumsum(counts_T) - counts_T
    entries = np.arange(counts_T.sum()) + np.repeat(starts_T - before_T, counts_T)
    first_cell_T = np.repeat(np.arange(len(ends) - 1) * items, np.diff(ends))
    cells = postings.rows[entries] + np.repeat(first_cell_T, counts_T)
    weights = postings.weights[entries] * np.repeat(times.astype(np.float64), counts_T)
    sums = np.bincount(cells, weights, (len(ends) - 1) * items)
    scores = sums.astype(np.float32)
    scores[scores == 0] = -np.inf
    return scores.reshape(-1, items)
