"""Vectors of all items: embedded once, chunk by chunk, and compared exactly.

A vector is rounded to a grid of 2^-26 of its length (to the next power of two), which moves a component by less than
the last bit of the largest ones in 32-bit numbers. On that grid 64 bits hold every product and sum of a dot product
without rounding. So a score does not depend on the order of summation: not on the batch, the place of an item, threads,
the matrix library or the device. Equal items always tie.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from retrievers.base import Catalog, Floats, Hits, Rows
from retrievers.dense.encoders import Encoder, ReadsOnlyTheBeginning
from retrievers.progress import ProgressBar
from retrievers.store import Store, save_array
from retrievers.topk import LAST_ROW, NO_KEY, Keys, best_keys, hits_from_keys

_log = logging.getLogger(__name__)

CHUNK = 1024
"""Items that are embedded together; a process that is killed loses no more than these."""

ITEMS_AT_A_TIME, QUERIES_AT_A_TIME = 2**14, 2**8
"""How many are compared together: their scores fit the processor's cache."""
FRACTION_BITS = 26


def on_grid(vectors: Floats) -> Floats:
    """Vectors (..., D) rounded so that their dot products are exact in 64 bits; see the module.

    Raises `ValueError` for a component that is not a finite number.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("an encoder gave a vector that is not finite: it cannot be ranked")
    exact = vectors.astype(np.float64)
    _, exponents = np.frexp(np.linalg.norm(exact, axis=-1, keepdims=True))
    steps = np.ldexp(1.0, exponents - FRACTION_BITS)
    rounded: Floats = (np.rint(exact / steps) * steps).astype(np.float32)
    return rounded


def embed(encoder: Encoder, texts: Sequence[str], folder: Path) -> None:
    """Writes `vectors` (N, dim) of texts into a folder, and `blank`, the rows of those that are zero.

    It resumes where an earlier call was killed. Each different text is encoded once, so that equal items have the same
    vector to the last bit, which neural encoders do not promise.
    """
    places: dict[str, int] = {}
    first_N = [places.setdefault(text, row) for row, text in enumerate(texts)]
    if isinstance(encoder, ReadsOnlyTheBeginning):
        cut, longest = encoder.cut(texts)
        if cut:
            what = (
                "%d of %d items are longer than the encoder reads (%d tokens): the rest of their text is not searched"
            )
            _log.warning(what, cut, len(texts), longest)
    with (folder / "vectors.npy").open("a+b") as file, ProgressBar(quiet=len(texts) <= CHUNK) as bar:
        array = _ArrayFile(file, len(texts), encoder.dim)
        bar.begin("embedding items", len(texts))
        bar.advance(array.done, len(texts))
        while array.done < len(texts):
            rows = range(array.done, min(array.done + CHUNK, len(texts)))
            fresh = [row for row in rows if first_N[row] == row]
            new = encoder.encode_items([texts[row] for row in fresh])
            if new.shape != (len(fresh), encoder.dim):
                raise ValueError(
                    f"the encoder gave vectors of shape {new.shape} for {len(fresh)} texts of {encoder.dim}"
                )
            known = dict(zip(fresh, on_grid(new), strict=True))
            wanted = first_N[rows.start : rows.stop]
            array.append(np.stack([known[row] if row in known else array.read(row) for row in wanted]))
            bar.advance(array.done, len(texts))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    blank = [
        first + np.flatnonzero(~vectors[first : first + ITEMS_AT_A_TIME].any(axis=1))
        for first in range(0, len(vectors), ITEMS_AT_A_TIME)
    ]
    save_array(folder, "blank", np.concatenate(blank).astype(np.int32))


def embedded(catalog: Catalog, field: str, encoder: Encoder, store: str | None) -> Floats:
    """(N, dim) the vectors of a field of all items, kept in the store if there is one; zeros for nothing to read."""
    texts = catalog.column(field)
    key = {"catalog": catalog.fingerprint, "field": field, "encoder": dict(encoder.identity)}
    with TemporaryDirectory() as nowhere:
        place = Store(nowhere if store is None else store)
        entry = place.open("embeddings", key, lambda folder: embed(encoder, texts, folder), resumes=True)
        return np.array(entry.array("vectors"))


def search_numpy(vectors_ND: Floats, blank: Rows, queries_QD: Floats, k: int) -> Hits:
    """The k best items of each query by dot product, all of them looked at; never a blank one."""
    k_of_N = min(k, len(vectors_ND))
    best_QK = np.full((len(queries_QD), k_of_N), NO_KEY)
    for first in range(0, len(vectors_ND), ITEMS_AT_A_TIME):
        items_DI = vectors_ND[first : first + ITEMS_AT_A_TIME].astype(np.float64).T
        unseen = blank[(blank >= first) & (blank < first + ITEMS_AT_A_TIME)] - first
        for query in range(0, len(queries_QD), QUERIES_AT_A_TIME):
            some = slice(query, query + QUERIES_AT_A_TIME)
            scores_QI = (queries_QD[some].astype(np.float64) @ items_DI).astype(np.float32)
            scores_QI[:, unseen] = -np.inf
            keys_QK = best_keys(scores_QI, min(k, scores_QI.shape[1]))
            keys_QK[keys_QK != NO_KEY] -= first
            both = np.concatenate([best_QK[some], keys_QK], axis=1)
            best_QK[some] = np.partition(both, both.shape[1] - k_of_N, axis=1)[:, both.shape[1] - k_of_N :]
    return hits_from_keys(best_QK, k)


def search_torch(vectors_ND: Any, blank: Rows, queries_QD: Floats, k: int) -> Hits:
    """As `search_numpy`, to the last bit, where the vectors are a tensor on some device."""
    import torch

    device = vectors_ND.device
    k_of_N = min(k, len(vectors_ND))
    queries = torch.tensor(queries_QD, dtype=torch.float64, device=device)
    unseen = torch.tensor(blank.astype(np.int64), device=device)
    best_QK = torch.full((len(queries_QD), 0), int(NO_KEY), dtype=torch.int64, device=device)
    for first in range(0, len(vectors_ND), ITEMS_AT_A_TIME):
        scores_QI = (queries @ vectors_ND[first : first + ITEMS_AT_A_TIME].double().T).float()
        rows_I = torch.arange(first, first + scores_QI.shape[1], device=device)
        bits_QI = (scores_QI + 0.0).view(torch.int32)
        ordered_QI = torch.where(bits_QI < 0, bits_QI ^ int(LAST_ROW), bits_QI).long()
        keys_QI = (ordered_QI << 32) | (int(LAST_ROW) - rows_I)
        keys_QI[:, unseen[(unseen >= first) & (unseen < first + scores_QI.shape[1])] - first] = int(NO_KEY)
        both = torch.cat([best_QK, keys_QI], dim=1)
        best_QK = both.topk(min(k_of_N, both.shape[1]), dim=1).values
    keys: Keys = best_QK.cpu().numpy()
    return hits_from_keys(keys, k)


class _ArrayFile:
    """An array file (.npy) that grows row by row, open for appending; an incomplete last row is cut off."""

    def __init__(self, file: BinaryIO, rows: int, dim: int) -> None:
        self._file, self._row_bytes = file, 4 * dim
        self._begin = _after_header(file, rows, dim)
        self.done = (file.seek(0, os.SEEK_END) - self._begin) // self._row_bytes
        file.truncate(self._begin + self.done * self._row_bytes)

    def append(self, vectors: Floats) -> None:
        """Writes rows, and waits until they are on the disk."""
        self._file.write(vectors.astype("<f4").tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += len(vectors)

    def read(self, row: int) -> Floats:
        """A row that was written."""
        self._file.seek(self._begin + row * self._row_bytes)
        return np.frombuffer(self._file.read(self._row_bytes), "<f4")


def _after_header(file: BinaryIO, rows: int, dim: int) -> int:
    """Where the rows begin; the header is written first where it is missing, incomplete or of another shape."""
    file.seek(0)
    with suppress(ValueError):  # empty, or killed while the header was written
        np.lib.format.read_magic(file)
        if np.lib.format.read_array_header_1_0(file)[0] == (rows, dim):
            return file.tell()
    file.truncate(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
    return file.tell()
