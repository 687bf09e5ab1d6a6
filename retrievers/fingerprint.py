"""The fingerprint of a retriever: two of the same rank the same, so that hits can be kept and runs compared."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from retrievers.abilities import HasFingerprint
from retrievers.base import Catalog, Retriever

SEARCH_LIBRARIES = (
    *("recr1", "numpy", "bm25s", "rank-bm25", "PyStemmer", "pyserini"),
    *("torch", "transformers", "sentence-transformers", "faiss-cpu", "milvus-lite"),
)
"""Libraries that can change a ranking."""


def retriever_fingerprint(spec: Mapping[str, Any], catalog: Catalog, retriever: Retriever | None = None) -> str:
    """16 hex digits that change with all that a ranking depends on.

    That is a retriever's type and options, the catalog, the versions of search libraries, and the file of each class
    from outside of this project. A retriever whose engine is elsewhere has an attribute
    `fingerprint`, which is then the answer.

    Args:
        spec: The recipe's section: `type` and the options.
        catalog: What is searched.
        retriever: The retriever that was built from it, where there is one.
    """
    if retriever is not None and isinstance(retriever, HasFingerprint):
        return str(retriever.fingerprint)
    known = {**versions(SEARCH_LIBRARIES), "unicode": unicodedata.unidata_version}
    text = json.dumps([dict(spec), catalog.fingerprint, known, _sources(spec)], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the libraries that are installed, read from their metadata: nothing is imported."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _sources(spec: Mapping[str, Any]) -> dict[str, str]:
    """The digest of the file of each class `package.module:Class` that a section names, at any depth."""
    digests = {}
    for name in sorted(set(_types(spec))):
        file = getattr(import_module(name.partition(":")[0]), "__file__", None)
        if file is not None:  # a module typed into a console has none
            digests[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return digests


def _types(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = value.get("type")
        if isinstance(name, str) and ":" in name:
            yield name
        for inside in value.values():
            yield from _types(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _types(inside)
