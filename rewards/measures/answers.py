"""Measures of answers in text: how close a rating is, which feature words an explanation names, how near a title is.

They read the text that a completion means (`Answer`) and the `gold` of the answer key; no item is ranked, so that their
names have no cutoff. A completion that is no answer measures 0, and so does every one of a need whose answer key has no
gold of their kind: a number for `RatingCloseness`, a text for the others. Words are compared in one case, without
punctuation, and are not stemmed. All are 0 to 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import ClassVar

import numpy as np

from retrievers.analyzer import stopword_lists
from retrievers.base import Catalog, Floats, Rows
from retrievers.errors import UserError
from retrievers.options import PositiveInt, Share
from rewards.base import Doubles, Graded, Qrels
from rewards.guards.words import words_of
from rewards.measures.base import Measure

RUN = 3
"""Words in a row that are copied where the need's text has them in a row too."""


def number_of(text: str) -> float | None:
    """The finite number that a text is; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class AnswerMeasure(Measure):
    """A measure of the answer itself. Its cutoff means nothing, and is not part of its name."""

    cutoff: PositiveInt = 1

    @property
    def name(self) -> str:
        """The symbol, with the settings that are not the default."""
        given = [(f.name, getattr(self, f.name)) for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        shown = ",".join(f"{name}={value:g}" for name, value in given)
        return f"{self.symbol}({shown})" if shown else self.symbol

    @property
    def depth(self) -> int | None:
        """0: it reads no place of a ranking."""
        return 0

    def check_depth(self, k: int) -> None:
        """Any k is enough."""

    def __call__(self, rows_BK: Rows, qrels_B: Sequence[Qrels], catalog: Catalog | None = None) -> Floats:
        """Raises `ValueError`: rankings have no answers; see `of` and `of_texts`."""
        raise UserError(f"{self.name} measures answers in text, not rankings")

    def of(self, graded: Graded) -> Floats:
        """(B,) float32; raises `ValueError` where there are rankings alone, as for what a search of the need finds."""
        if graded.answers_B is None:
            raise UserError(f"{self.name} measures answers in text, and here are rankings alone")
        return self._score(graded).astype(np.float32)

    def of_texts(self, texts_B: Sequence[str | None], qrels_B: Sequence[Qrels], asked_B: Sequence[str]) -> Floats:
        """(B,) float32 from answers, their answer keys and the texts of their needs."""
        empty = np.empty((len(texts_B), 0), np.int32)
        return self.of(Graded(empty, qrels_B, empty, answers_B=texts_B, asked_B=asked_B))


@dataclass(frozen=True)
class GoldMeasure(AnswerMeasure):
    """A measure of the answer that compares it with the gold one."""

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where no answer key has a gold of its kind, or a number is outside of the scale."""
        if not any(self.applies(key) for key in qrels.values()):
            what = "no answer key of this task has such a gold answer: measure what its answers are"
            raise ValueError(f"{self.name} compares answers in text with gold ones, and {what}")

    def applies(self, qrels: Qrels) -> bool:
        """Whether the answer key has a gold answer of its kind."""
        return qrels.gold is not None and number_of(qrels.gold) is None

    def _score(self, graded: Graded) -> Doubles:
        assert graded.answers_B is not None and graded.asked_B is not None
        each = zip(graded.answers_B, graded.qrels_B, graded.asked_B, strict=True)
        values = (
            0.0 if text is None or key.gold is None or not self.applies(key) else self._value(text, key.gold, asked)
            for text, key, asked in each
        )
        return np.fromiter(values, np.float64, len(graded.qrels_B))

    @abstractmethod
    def _value(self, text: str, gold: str, asked: str) -> float:
        """From 0 to 1."""


@dataclass(frozen=True)
class RatingCloseness(GoldMeasure):
    """How close a rating is to the true one: 1 for the same, 0 for the other end of the scale, or for no number.

    Its mean is 1 - MAE / (high - low), with an answer that is no rating counted as the largest error. The best constant
    answer is the median of the ratings, not their mean.

    Formula: max(0, 1 - abs(answer - gold) / (high - low))
    Elsewhere: MAE, turned and scaled
    """

    symbol: ClassVar[str] = "RatingCloseness"

    low: float = 1.0
    high: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ValueError(f"{self.symbol}: low must be below high, got {self.low:g} and {self.high:g}")

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where no gold is a number, or one is outside of the scale."""
        super().check_data(catalog, qrels)
        for need, key in qrels.items():
            if key.gold is not None and self.applies(key) and not self.low <= float(key.gold) <= self.high:
                what = f"need '{need}' has the rating {key.gold}: write the scale into the name, as in"
                raise ValueError(f"{self.name} is for ratings from {self.low:g} to {self.high:g}, and {what} "
                                 f"{self.symbol}(low=0,high=10)")  # fmt: skip

    def applies(self, qrels: Qrels) -> bool:
        """Whether the gold answer is a number."""
        return qrels.gold is not None and number_of(qrels.gold) is not None

    def _value(self, text: str, gold: str, asked: str) -> float:
        number = number_of(text)
        return 0.0 if number is None else max(0.0, 1 - abs(number - float(gold)) / (self.high - self.low))


@dataclass(frozen=True)
class TextMeasure(GoldMeasure):
    """A measure of words, which are paid less in an answer that copies more of its need than `cap` allows."""

    cap: Share = 0.5

    def _value(self, text: str, gold: str, asked: str) -> float:
        words = words_of(text)
        return self._overlap(words, gold) * self._own(words, words_of(asked)) if words else 0.0

    def _own(self, words: Sequence[str], asked: Sequence[str]) -> float:
        """1 where at most `cap` of the words are copied from the need in runs of three, then less, 0 if all are."""
        there = {tuple(asked[place : place + RUN]) for place in range(len(asked) - RUN + 1)}
        starts = [place for place in range(len(words) - RUN + 1) if tuple(words[place : place + RUN]) in there]
        copied = len({place + step for place in starts for step in range(RUN)}) / len(words)
        return 1.0 if copied <= self.cap else (1 - copied) / (1 - self.cap)

    @abstractmethod
    def _overlap(self, words: Sequence[str], gold: str) -> float:
        """From 0 to 1, of an answer with at least one word."""


@dataclass(frozen=True)
class FeatureRecall(TextMeasure):
    """Share of the gold feature words that the answer names; they are separated by commas: "soft, easy to clean".

    A feature of several words is named where they are in a row. What copies more than `cap` of its words from the need,
    in runs of three, is paid less: nothing where all is copied.

    Formula: gold features in the answer / gold features, times min(1, (1 - copied) / (1 - cap))
    Elsewhere: feature coverage of explanations, as recall (Li et al., CIKM 2020), without the copy cap
    """

    symbol: ClassVar[str] = "FeatureRecall"

    def _overlap(self, words: Sequence[str], gold: str) -> float:
        return feature_shares(words, gold)[0]


@dataclass(frozen=True)
class FeaturePrecision(TextMeasure):
    """Share of the different words of the answer that are words of gold features; English stop words do not count.

    The copy cap is that of `FeatureRecall`.

    Formula: different words of gold features in the answer / different words of the answer, times the copy cap
    Elsewhere: -
    """

    symbol: ClassVar[str] = "FeaturePrecision"

    def _overlap(self, words: Sequence[str], gold: str) -> float:
        return feature_shares(words, gold)[1]


@dataclass(frozen=True)
class FeatureF1(TextMeasure):
    """The harmonic mean of feature recall and precision: an answer that lists every feature there is earns little.

    The copy cap is that of `FeatureRecall`.

    Formula: 2 recall precision / (recall + precision), times the copy cap
    Elsewhere: -
    """

    symbol: ClassVar[str] = "FeatureF1"

    def _overlap(self, words: Sequence[str], gold: str) -> float:
        recall, precision = feature_shares(words, gold)
        return 2 * recall * precision / (recall + precision) if recall else 0.0


@dataclass(frozen=True)
class RougeL(TextMeasure):
    """ROUGE-L of the answer: the longest sequence of words that it has in common with the gold one, as an F-measure.

    The copy cap is that of `FeatureRecall`; `cap=1` is without it.

    Formula: 2 common / (words of the answer + words of the gold answer), times the copy cap
    Elsewhere: rougeL (Lin 2004)
    """

    symbol: ClassVar[str] = "RougeL"

    def _overlap(self, words: Sequence[str], gold: str) -> float:
        wanted = words_of(gold)
        return 2 * common_length(words, wanted) / (len(words) + len(wanted))


@cache
def _stopwords() -> frozenset[str]:
    return frozenset(stopword_lists()["english_plus"])


def feature_shares(words: Sequence[str], gold: str) -> tuple[float, float]:
    """Recall and precision of an answer's words against gold features."""
    features = list(dict.fromkeys(tuple(own) for part in gold.split(",") if (own := words_of(part))))
    said = f" {' '.join(words)} "
    found = [feature for feature in features if f" {' '.join(feature)} " in said]
    of_features = {word for feature in features for word in feature}
    content = {word for word in words if word in of_features or word not in _stopwords()}
    right = {word for feature in found for word in feature}
    return len(found) / max(len(features), 1), len(right & content) / max(len(content), 1)


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    best = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, own in enumerate(other, start=1):
            before, best[place] = best[place], before + 1 if word == own else max(best[place], best[place - 1])
    return best[-1]
