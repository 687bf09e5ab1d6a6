"""Lucene through `lucene` and through pyserini, as engines.py and lucene.py measure them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from retrievers import Catalog

Search: TypeAlias = Callable[[Sequence[str], int, int], object]
"""Searches queries for k items each, in that many threads."""


def build_lucene(catalog: Catalog, folder: Path, threads: int = 1) -> Any:
    from retrievers.lucene.lucene import Lucene

    return Lucene(catalog, store=str(folder), threads=threads)


def open_lucene(catalog: Catalog, folder: Path) -> Search:
    of_threads = {1: build_lucene(catalog, folder)}

    def search(queries: Sequence[str], k: int, threads: int) -> object:
        if threads not in of_threads:
            of_threads[threads] = build_lucene(catalog, folder, threads)
        return of_threads[threads].search(queries, k)

    return search


def start_plain_java() -> None:
    """Java as pyserini starts it, with the heap and the collector that Java chooses itself.

    Left out is the module for vectors, which only dense search needs and not each Java has.
    """
    import jnius_config

    from retrievers.lucene import jvm

    if not jnius_config.vm_running:
        os.environ["JAVA_HOME"] = str(jvm.find_java().home)
        jnius_config.add_classpath(str(jvm.find_jar()))
        jvm.java("java.lang.Object")  # it runs from here on
    jvm.start()


def build_pyserini(catalog: Catalog, folder: Path) -> None:
    """As pyserini's LuceneIndexer, without its Python, whose import takes seconds and hundreds of megabytes more."""
    from retrievers.lucene import jvm

    start_plain_java()
    arguments = ["-index", str(folder), "-input", "", "-collection", "JsonCollection", "-threads", "1"]
    indexer = jvm.java("io.anserini.index.SimpleIndexer")([*arguments, "-stemmer", "none", "-keepStopwords"])
    for item, text in zip(catalog.ids, catalog.texts, strict=True):
        indexer.addRawDocument(json.dumps({"id": item, "contents": text}))
    indexer.close()


def open_pyserini(_: Catalog, folder: Path) -> Search:
    """As pyserini's LuceneSearcher.batch_search, and the id and the score of each hit."""
    from retrievers.lucene import jvm
    from retrievers.lucene.index import Analysis

    start_plain_java()
    analysis = Analysis(lowercase=True, stopwords=(), stemmer=None)
    searcher = jvm.java("io.anserini.search.SimpleSearcher")(str(folder), analysis.analyzer())
    searcher.set_bm25(1.2, 0.75)

    def search(queries: Sequence[str], k: int, threads: int) -> object:
        texts, names = jvm.java("java.util.ArrayList")(), jvm.java("java.util.ArrayList")()
        for number, query in enumerate(queries):
            texts.add(query)
            names.add(str(number))
        found: Any = searcher.batch_search(texts, names, k, threads)
        hits = {entry.getKey(): entry.getValue() for entry in found.entrySet().toArray()}
        return {name: [(hit.docid, hit.score) for hit in ranked] for name, ranked in hits.items()}

    return search
