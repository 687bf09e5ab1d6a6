"""What the tests of `milvus` share: its contracts, on one embedded database in a temporary folder, and catalogs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from retrievers import Catalog
from retrievers.remote.milvus import Milvus
from tests.retrievers.dense.dense_contracts import STORE, DenseContract

MISSING = [library for library in ("pymilvus", "milvus_lite") if find_spec(library) is None]
needs_milvus = pytest.mark.skipif(bool(MISSING), reason="the retriever milvus needs: pip install 'recr1[milvus]'")
HASHING = {"type": "hashing", "dim": 64}


def catalog_of(name, items=300):
    return Catalog([f"i{row}" for row in range(items)], [f"{name} word{row}" for row in range(items)])


def rows(hits):
    return hits.rows_QK.tolist()


class MilvusContract(DenseContract):
    """All items looked at by a real engine: its sums are rounded, and nothing is missed."""

    options = {}  # noqa: RUF012 - read only

    def build(self, catalog):
        uri = str(Path(STORE.name, "contract.db"))
        return Milvus(catalog, encoder=HASHING, uri=uri, store=STORE.name, **self.options)


class MilvusOnGraphContract(MilvusContract):
    """An approximate index, over the same protocol."""

    options = {  # noqa: RUF012 - as above
        "index_type": "HNSW",
        "index_params": {"M": 16, "efConstruction": 100},
        "search_params": {"ef": 500},
    }
    least_recall = 0.95
