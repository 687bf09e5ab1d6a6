"""A catalog as a Lucene index on disk: document numbers are catalog rows, and the texts themselves are not stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

from retrievers.base import Catalog
from retrievers.lucene.jvm import find_jar, java
from retrievers.progress import tracked

DEFAULT_FIELD, ID_FIELD = "contents", "id"
"""pyserini's names for the catalog's `texts` and ids, so that it can open the index too. We never read the ids."""
BUFFER_MB = 128.0


class Analysis(NamedTuple):
    """How `Lucene` analyzes a text: Lucene's standard tokenizer, then these, in this order."""

    lowercase: bool
    stopwords: tuple[str, ...]
    stemmer: str | None

    def analyzer(self) -> Any:
        """Lucene's Analyzer."""
        with TemporaryDirectory() as folder:
            builder = java("org.apache.lucene.analysis.custom.CustomAnalyzer").builder(_path(folder))
            builder.withTokenizer("standard")
            if self.lowercase:
                builder.addTokenFilter("lowercase")
            if self.stopwords:
                lines = "".join(f"{java_text(word)}\n" for word in self.stopwords)
                (Path(folder) / "stopwords.txt").write_text(lines, encoding="utf-8")
                builder.addTokenFilter("stop", "words", "stopwords.txt", "format", "wordset")
            if self.stemmer is not None:
                builder.addTokenFilter("snowballPorter", "language", stemmers()[self.stemmer])
            return builder.build()


def java_text(text: str) -> str:
    """A text that Java takes: half a surrogate pair becomes the replacement character."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def lucene_name(field: str) -> str:
    """Lucene's name for a field of the catalog."""
    return DEFAULT_FIELD if field == "texts" else field


def write_index(
    folder: Path, catalog: Catalog, fields: Sequence[str], analyzer: Any, *, positions: bool, vectors: bool
) -> None:
    """Writes the index of some fields of a catalog into a folder.

    `positions` keeps the places of a term in an item, for phrases; `vectors` keeps the terms of each item, for RM3.
    One thread adds the items in their order and only neighbours are merged, so that document numbers are rows.
    """
    kind = java("org.apache.lucene.document.FieldType")(java("org.apache.lucene.document.TextField").TYPE_NOT_STORED)
    if not positions:
        kind.setIndexOptions(java("org.apache.lucene.index.IndexOptions").DOCS_AND_FREQS)
    kind.setStoreTermVectors(vectors)
    config = java("org.apache.lucene.index.IndexWriterConfig")(analyzer)
    config.setMergePolicy(java("org.apache.lucene.index.LogDocMergePolicy")())
    config.setRAMBufferSizeMB(BUFFER_MB)
    with closing(_directory(folder)) as directory:
        writer = java("org.apache.lucene.index.IndexWriter")(directory, config)
        try:
            _add_items(writer, catalog, fields, kind)
            writer.forceMerge(1)
            writer.close()
        finally:
            if writer.isOpen():
                writer.rollback()


def open_searcher(folder: Path, similarity: Any) -> Any:
    """Lucene's IndexSearcher on an index, memory-mapped."""
    reader = java("org.apache.lucene.index.DirectoryReader").open(_directory(folder))
    signature = "(Lorg/apache/lucene/index/IndexReader;)V"
    searcher = java("org.apache.lucene.search.IndexSearcher")(reader, signature=signature)
    searcher.setSimilarity(similarity)
    return searcher


def weight_map(weights: Mapping[str, float]) -> Any:
    """A Java Map of fields and their weights."""
    made = java("java.util.HashMap")()
    for name, weight in weights.items():
        made.put(name, java("java.lang.Float")(float(weight)))
    return made


def _add_items(writer: Any, catalog: Catalog, fields: Sequence[str], kind: Any) -> None:
    """One document object is reused: making new ones would take longer than Lucene does."""
    document = java("org.apache.lucene.document.Document")()
    stored = java("org.apache.lucene.document.StoredField")(ID_FIELD, "")
    no_bytes = java("org.apache.lucene.util.BytesRef")()
    sortable = java("org.apache.lucene.document.BinaryDocValuesField")(ID_FIELD, no_bytes)
    document.add(sortable)
    slots: list[tuple[Any, Sequence[str]]] = [(stored, catalog.ids)]
    signature = "(Ljava/lang/String;Ljava/lang/CharSequence;Lorg/apache/lucene/index/IndexableFieldType;)V"
    for name in fields:
        slot = java("org.apache.lucene.document.Field")(lucene_name(name), "", kind, signature=signature)
        slots.append((slot, catalog.column(name)))
    for slot, _ in slots:
        document.add(slot)
    for row in tracked(range(len(catalog)), "indexing items"):
        for slot, column in slots:
            slot.setStringValue(java_text(column[row]))
        sortable.setBytesValue(catalog.ids[row].encode("utf-8", "replace"), pass_by_reference=False)
        writer.addDocument(document)


@cache
def stemmers() -> Mapping[str, str]:
    """Snowball languages -> Lucene's names for them: their classes without "Stemmer"."""
    prefix, suffix = "org/tartarus/snowball/ext/", "Stemmer.class"
    with ZipFile(find_jar()) as jar:
        found = [name for name in jar.namelist() if name.startswith(prefix) and name.endswith(suffix)]
    names = [name.removeprefix(prefix).removesuffix(suffix) for name in sorted(found)]
    return {name.lower(): name for name in names}


def _directory(folder: Path) -> Any:
    return java("org.apache.lucene.store.FSDirectory").open(_path(folder))


def _path(folder: Path | str) -> Any:
    return java("java.nio.file.Paths").get(str(folder))
