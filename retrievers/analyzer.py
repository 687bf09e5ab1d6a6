"""From text to terms: what the lexical retrievers count, the same for every backend."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Annotated, Any, TypeAlias
from weakref import WeakKeyDictionary

from annotated_types import MinLen

from retrievers.base import Catalog, Query, text_of
from retrievers.errors import shown
from retrievers.options import NonNegativeFloat, PositiveFloat, checked

# Scripts written without spaces: each character is a term, as in Lucene's standard tokenizer.
_SIGNS = "\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
K1: TypeAlias = Annotated[NonNegativeFloat, "0.9 to 1.5 is usual"]  # the option `k1` of BM25
FieldWeights: TypeAlias = Annotated[dict[str, PositiveFloat], MinLen(1)]
"""The option `fields`: fields of the catalog, and what each counts."""

VERSION = 3
"""Raised with every change of the terms of any text: part of fingerprints and of the keys of stored indexes."""

_ASCII_WORDS = re.compile(r"[a-zA-Z0-9_]+")
_INVISIBLE = re.compile("[\u00ad\u200c\u200d\u2060\u3164\ufeff\uffa0]+")  # soft hyphens, joiners, fillers
_WIDTHS = re.compile("[\uff01-\uffee]")


@checked
class Analyzer:
    r"""Cuts a text into terms: words -> without case -> stop words out -> stems, in this order.

    A word is a run of letters, digits and underscores (`\w`) with the marks that some scripts write between letters;
    everything else separates. Ideographs and hiragana are terms one by one. Words are compared in one spelling (see
    `folded`). Any string has terms, or none: nothing that a language model can write raises, not even a lone surrogate,
    and the time is linear in the length of the text.

    The defaults are those of Lucene's standard analyzer: no case, no stop words, no stemmer.

    Args:
        lowercase: Whether case is ignored.
        stopwords: Words that are left out of texts and queries: the name of a list of the library bm25s ("english" has
            the 33 words of Lucene's list, "english_plus" 179), a list of words, or None. Compared before stemming.
        stemmer: A Snowball language ("english", "german"; "porter" is the classic one), or None.
    """

    def __init__(
        self, *, lowercase: bool = True, stopwords: str | list[str] | None = None, stemmer: str | None = None
    ) -> None:
        words = stopword_lists()[stopwords] if isinstance(stopwords, str) else stopwords or []
        self.lowercase, self.stemmer = lowercase, stemmer
        lowered = [word.lower() for word in words] if lowercase else words
        # As written too, for Lucene, whose words are lowered only: it keeps a sharp s.
        self.stopwords = frozenset([*lowered, *(folded(word, lowercase=lowercase) for word in words)])

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the names of a list of stop words and of a stemmer."""
        stopwords, stemmer = options.get("stopwords"), options.get("stemmer")
        problems = []
        if isinstance(stopwords, str) and stopwords not in stopword_lists():
            lists = ", ".join(sorted(stopword_lists()))
            problems.append(f"stopwords: must be a list or its name, got {shown(stopwords)}; there are: {lists}")
        if stemmer is not None:
            from Stemmer import algorithms

            if stemmer not in algorithms():
                problems.append(
                    f"stemmer: must be a language, got {shown(stemmer)}; there are: {', '.join(algorithms())}"
                )
        return problems

    def terms(self, text: str) -> list[str]:
        """The terms of a text in its order, repeated as often as they occur."""
        words = self.words(text)
        return words if self.stemmer is None else _snowball(self.stemmer).stemWords(words)

    def words(self, text: str) -> list[str]:
        """The terms before they are stemmed, so that a caller with many texts can stem each word once."""
        text = folded(text, lowercase=self.lowercase)
        words = _ASCII_WORDS.findall(text) if text.isascii() else _unicode_patterns()[0].findall(text)
        return [word for word in words if word not in self.stopwords] if self.stopwords else words

    def stem(self, word: str) -> str:
        """The term that one of these words becomes."""
        return word if self.stemmer is None else _snowball(self.stemmer).stemWord(word)

    def query_terms(self, query: Query) -> Counter[str]:
        """The terms of a query and how often it has each; raises `ValueError` for a query that is not text."""
        return Counter(self.terms(text_of(query, "a lexical retriever")))

    def normal_query(self, query: Query) -> tuple[tuple[str, int], ...]:
        """The counted terms in order: queries that are equal in this have the same hits."""
        return tuple(sorted(self.query_terms(query).items()))


def searched_fields(catalog: Catalog, fields: dict[str, float] | None) -> list[tuple[Sequence[str], float]]:
    """The searched columns of the catalog with their weights; None is its `texts`. `ValueError` for a missing field."""
    searched = {"texts": 1.0} if fields is None else fields
    return [(catalog.column(name), float(weight)) for name, weight in searched.items()]


def folded(text: str, *, lowercase: bool = True) -> str:
    """A text in one spelling: composed (NFC), in usual width, without invisible characters such as soft hyphens.

    With `lowercase` also without case, by Unicode's case folding: a sharp s is ss. A dotted capital I is i, as Lucene
    has it.
    """
    if text.isascii():
        return text.lower() if lowercase else text
    text = _WIDTHS.sub(lambda wide: unicodedata.normalize("NFKC", wide[0]), _INVISIBLE.sub("", text))
    text = _composed(text)
    return _composed(text.casefold()).replace("i\u0307", "i") if lowercase else text


def _composed(text: str) -> str:
    if unicodedata.is_normalized("NFC", text):
        return text
    # Composing takes quadratic time in a run of marks; 30 are the most that Unicode's stream-safe format allows. A run
    # that needs none stays, as in a text that needs none: a word must not depend on the words around it.
    return unicodedata.normalize("NFC", _unicode_patterns()[1].sub(_cut_short, text))


def _cut_short(run: re.Match[str]) -> str:
    return run[0] if unicodedata.is_normalized("NFC", run[0]) else run[1]


def has_word(text: str) -> bool:
    """Whether a text has a term, without which no text search finds it."""
    return bool(_ASCII_WORDS.search(text)) or (not text.isascii() and bool(_DEFAULT.words(text)))


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing: no character, or only blanks, control characters and invisible ones."""
    return all(unicodedata.category(char)[0] in "ZC" or char in "\u115f\u1160\u2800\u3164\uffa0" for char in text)


@cache
def _unicode_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The pattern of a word, and of a run of more than 30 marks."""
    marks = _ranges([point for point in range(0x300, 0x20000) if unicodedata.category(chr(point)).startswith("M")])
    marks += "\U000e0100-\U000e01ef"
    words = re.compile(rf"[{_SIGNS}][{marks}]*|[^\W{_SIGNS}](?:[^\W{_SIGNS}]|[{marks}])*")
    return words, re.compile(rf"([{marks}]{{30}})[{marks}]+")


def _ranges(points: list[int]) -> str:
    """Sorted code points as the inside of a character class."""
    starts = [point for point, before in zip(points, [-1, *points], strict=False) if point != before + 1]
    ends = [point for point, after in zip(points, [*points[1:], -1], strict=True) if point != after - 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


@cache
def stopword_lists() -> Mapping[str, tuple[str, ...]]:
    """Lists of the library bm25s by name, from their file alone: the library loads numba and scipy."""
    found = find_spec("bm25s")
    assert found is not None and found.submodule_search_locations
    names = run_path(str(Path(found.submodule_search_locations[0]) / "stopwords.py"))
    prefix = "STOPWORDS_"
    lists = {name.removeprefix(prefix).lower(): tuple(names[name]) for name in names if name.startswith(prefix)}
    lists["english"], lists["english_plus"] = lists.pop("en"), lists.pop("en_plus")
    return lists


def usual_stopwords(texts: Sequence[str]) -> frozenset[str]:
    """The stop words of English, and of the language whose stop words are most, and 5%, of the words of the texts."""
    words, lists = Analyzer().terms(" ".join(texts)), stopword_lists()
    shares = {name: sum(map(frozenset(of_list).__contains__, words)) for name, of_list in lists.items()}
    best = max(shares, key=lambda name: shares[name])
    return frozenset(lists["english_plus"]).union(lists[best] if shares[best] >= 0.05 * len(words) else ())


_stemmers = threading.local()


def _snowball(language: str) -> Any:
    """This thread's stemmer: PyStemmer's objects can be used by one thread only, and cannot be pickled."""
    stemmer = _stemmers.__dict__.get(language)
    if stemmer is None:
        import Stemmer

        stemmer = _stemmers.__dict__[language] = Stemmer.Stemmer(language)
    return stemmer


_DEFAULT = Analyzer()
_known: WeakKeyDictionary[Catalog, dict[str | None, frozenset[str]]] = WeakKeyDictionary()


def vocabulary(catalog: Catalog, stemmer: str | None = None) -> frozenset[str]:
    """Every word of the items' texts and of the fields that are text, lower case, as `Analyzer` cuts them.

    With a `stemmer`, their stems. Read once per catalog. Raises `ValueError` for a stemmer that does not exist.
    """
    words_by_stemmer = _known.setdefault(catalog, {})
    if stemmer not in words_by_stemmer:
        analyzer, words = Analyzer(stemmer=stemmer), set[str]()
        if stemmer:
            words.update(map(analyzer.stem, vocabulary(catalog)))
        else:
            for column in (catalog.texts, *catalog.fields.values()):
                for value in column:
                    words.update(analyzer.words(value) if isinstance(value, str) else ())
        words_by_stemmer[stemmer] = frozenset(words)
    return words_by_stemmer[stemmer]
