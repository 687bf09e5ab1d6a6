"""The formulas of the lexical retrievers once more, as plain loops over split text: slow, and easy to check by eye."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

Tokens = Sequence[list[str]]
Scores = dict[int, float]


def words(text: str) -> list[str]:
    """Lower-cased words of the texts that the contract makes; its two ideographs are words one by one."""
    return re.findall(r"[\u65e5\u672c]|[a-z0-9_\u00e9\u00ef]+", text.lower())


def lucene(texts: Tokens, query: list[str], k1: float, b: float) -> Scores:
    mean = sum(map(len, texts)) / len(texts)
    scores: Scores = {}
    for row, text in enumerate(texts):
        for term in query:
            if term in text:
                df = sum(term in other for other in texts)
                idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
                tf = text.count(term)
                scores[row] = scores.get(row, 0) + idf * tf / (tf + k1 * (1 - b + b * len(text) / mean))
    return scores


def okapi(texts: Tokens, query: list[str], k1: float, b: float, epsilon: float) -> Scores:
    mean = sum(map(len, texts)) / len(texts)
    idf = {}
    for term in {term for text in texts for term in text}:
        df = sum(term in text for text in texts)
        idf[term] = math.log((len(texts) - df + 0.5) / (df + 0.5))
    mean_idf = sum(idf.values()) / len(idf) if idf else 0
    scores: Scores = {}
    for row, text in enumerate(texts):
        for term in query:
            if term in text:
                weight = idf[term] if idf[term] >= 0 else epsilon * mean_idf
                tf = text.count(term)
                part = weight * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(text) / mean))
                scores[row] = scores.get(row, 0) + part
    return scores


def over_fields(score: Callable[[Tokens], Scores], fields: Sequence[tuple[Sequence[str], float]]) -> Scores:
    """The sum over fields, each its texts and its weight, of weight * score."""
    total: Scores = {}
    for texts, weight in fields:
        for row, part in score([words(text) for text in texts]).items():
            total[row] = total.get(row, 0) + weight * part
    return total
