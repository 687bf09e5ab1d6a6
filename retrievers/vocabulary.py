"""Which words a catalog holds at all."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from retrievers.analyzer import Analyzer
from retrievers.base import Catalog

_known: WeakKeyDictionary[Catalog, dict[str | None, frozenset[str]]] = WeakKeyDictionary()


def vocabulary(catalog: Catalog, stemmer: str | None = None) -> frozenset[str]:
    """Every word of the items' texts and of the fields that are text, lower case, as `Analyzer` cuts them.

    With a `stemmer`, their stems. Read once for a catalog, and forgotten with it. Raises `ValueError` for a stemmer
    that does not exist.
    """
    words_by_stemmer = _known.setdefault(catalog, {})
    if stemmer not in words_by_stemmer:
        analyzer = Analyzer(stemmer=stemmer)
        plain = vocabulary(catalog) if stemmer else _words(catalog)
        words_by_stemmer[stemmer] = frozenset(map(analyzer.stem, plain)) if stemmer else plain
    return words_by_stemmer[stemmer]


def _words(catalog: Catalog) -> frozenset[str]:
    analyzer, words = Analyzer(), set[str]()
    for column in (catalog.texts, *catalog.fields.values()):
        for value in column:
            if isinstance(value, str):
                words.update(analyzer.words(value))
    return frozenset(words)
