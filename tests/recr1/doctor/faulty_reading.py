"""Engines that do not read all of a query, each a class that changes what goes into BM25."""

from __future__ import annotations

import re

import numpy as np

from retrievers.bm25.bm25 import BM25
from retrievers.topk import topk
from tests.recr1.doctor.faults import Sound
from tests.recr1.doctor.faulty_hits import kept


class DropsNonASCII(Sound):
    def before(self, query):
        return query.encode("ascii", "ignore").decode()


class ReadsWords(Sound):
    """Reads some words of a query only."""

    def before(self, query):
        return " ".join(self.pick(query.split()))

    def pick(self, words):
        return words[:5]


class LosesTheMiddle(ReadsWords):
    def pick(self, words):
        return words if len(words) < 6 else [*words[:3], *words[-2:]]


class LosesTheSeventh(ReadsWords):
    def pick(self, words):
        return [*words[:6], *words[7:]]


class CutsBytes(Sound):
    def before(self, query):
        return query.encode("utf-8", "ignore")[:128].decode("utf-8", "ignore")


class PlainNumbers(Sound):
    """Punctuation inside numbers is lost in the query, and kept in the index."""

    def before(self, query):
        return re.sub(r"(?<=\d)[.,](?=\d)", "", query)


class DropsNumbers(Sound):
    def before(self, query):
        return re.sub(r"\w*\d\w*", " ", query)


class DropsShortWords(Sound):
    def before(self, query):
        return re.sub(r"\b\w{1,2}\b", " ", query)


class GermanStopwords(Sound):
    def __init__(self, catalog):
        self.catalog, self.engine = catalog, BM25(catalog, stopwords="german")


class CaseOfItemsOnly(Sound):
    """The query is put in small letters, the index is not."""

    def __init__(self, catalog):
        self.catalog, self.engine = catalog, BM25(catalog, lowercase=False)

    def before(self, query):
        return query.lower()


class CaseCounts(Sound):
    def __init__(self, catalog):
        self.catalog, self.engine = catalog, BM25(catalog, lowercase=False)


class StemsQueriesOnly(Sound):
    def before(self, query):
        return re.sub(r"(?<=\w\w\w)(s|e|ed|ing|er|y)\b", "", query)


class ReadsOperators(Sound):
    """A minus before a word forbids it, as in web search, and nobody says so."""

    def search(self, queries, k):
        hits = super().search([re.sub(r"(?<!\S)-\w+", " ", query) for query in queries], k)
        keep = np.ones(hits.rows_QK.shape, bool)
        for place, query in enumerate(queries):
            for word in re.findall(r"(?<!\S)-(\w+)", query.lower()):
                for at, row in enumerate(hits.rows_QK[place]):
                    keep[place, at] &= row < 0 or word not in re.findall(r"\w+", self.catalog.texts[row].lower())
        return kept(hits, keep)


class CutsAtAmpersand(Sound):
    """The query is put into a URL as it is."""

    def before(self, query):
        return re.split(r"[&#]", query)[0].replace("+", " ")


class OneLine(Sound):
    """Only the first line of a query is sent."""

    def before(self, query):
        return query.strip().split("\n")[0]


class WhitespaceWords(Sound):
    """The query is cut at white space, the index at punctuation."""

    def before(self, query):
        return " ".join(word for word in query.split() if word.isalnum())


class AllWords(Sound):
    """AND for OR."""

    def search(self, queries, k):
        held = [set(re.findall(r"\w+", text.lower())) for text in self.catalog.texts]
        wanted = [set(re.findall(r"\w+", query.lower())) for query in queries]
        matched = np.array([[bool(some) and some <= words for words in held] for some in wanted])
        return topk(matched * np.random.default_rng(0).random(len(held)), k, matched)
