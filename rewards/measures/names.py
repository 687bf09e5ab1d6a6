"""From names to measures, and the measure that each need names itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import ClassVar

import numpy as np

from retrievers.base import Catalog, Floats, Rows
from retrievers.errors import shown
from rewards.base import Doubles, Graded, Qrels
from rewards.measures.answers import (
    AnswerMeasure,
    FeatureF1,
    FeaturePrecision,
    FeatureRecall,
    RatingCloseness,
    RougeL,
)
from rewards.measures.base import Measure
from rewards.measures.diversity import AlphaNDCG, Categories, Entropy, SubtopicRecall
from rewards.measures.exposure import CORPUS_MEASURES, Popularity, Tail
from rewards.measures.ranking import NDCG, AveragePrecision, Precision, Recall, ReciprocalRank, Success
from rewards.measures.standing import Standing
from rewards.measures.unjudged import RBP, Bpref, Judged, RBPResidual


@dataclass(frozen=True)
class Own(Measure):
    """The measure that the answer key names for each need: of a task `mixed`, that of the need's family.

    One number for families that are measured differently, so that a checkpoint can be chosen by it. A need without a
    measure of its own, or with one that is deeper than k, is refused.

    Formula: -
    Elsewhere: -
    """

    symbol: ClassVar[str] = "Own"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where an answer key names no measure, or one that does not fit."""
        by_measure: dict[str, dict[str, Qrels]] = {}
        for need, key in qrels.items():
            if key.measure is None:
                raise ValueError(f"{self.name}: need '{need}' has no own measure: set `measures` of the task `mixed`")
            by_measure.setdefault(key.measure, {})[need] = key
        for name, keys in by_measure.items():
            measure = parse_measure(name)
            measure.check_depth(self.cutoff)
            measure.check_data(catalog, keys)

    def _score(self, graded: Graded) -> Doubles:
        values_B = np.zeros(len(graded.qrels_B))
        names = [key.measure for key in graded.qrels_B]
        for name in dict.fromkeys(names):
            if name is None:
                raise ValueError(f"{self.name}: a need has no measure of its own")
            places = np.array([place for place, own in enumerate(names) if own == name], np.intp)
            values_B[places] = parse_measure(name).of(graded.of(places))
        return values_B


MEASURES: Mapping[str, type[Measure]] = {
    m.symbol: m
    for m in (
        *(NDCG, Recall, ReciprocalRank, AveragePrecision, Precision, Success),
        *(Judged, Bpref, RBP, RBPResidual),
        *(AlphaNDCG, SubtopicRecall, Categories, Entropy),
        *(Popularity, Tail),
        Own,
    )
}
"""Measures by their symbol, in the order of the documentation."""

ANSWER_MEASURES: Mapping[str, type[AnswerMeasure]] = {
    kind.symbol: kind for kind in (RatingCloseness, FeatureRecall, FeaturePrecision, FeatureF1, RougeL, Standing)
}
"""Measures of answers by their symbol, in the order of the documentation."""

_OTHER_NAMES = {
    "nDCG(gain=exp)": ("ndcgexp", "expndcg", "ndcgburges"),
    "nDCG": ("ndcgcut", "ndcgat", "dcg"),
    "R": ("recall", "recallat"),
    "RR": ("mrr", "reciprank", "reciprocalrank"),
    "AP": ("map", "mapcut", "averageprecision"),
    "P": ("precision", "precisionat"),
    "Success": ("hit", "hits", "hr", "hitrate", "hitratio"),
    "Judged": ("judgedat", "judgmentrate"),
    "RBP": ("rankbiasedprecision",),
    "RBPResidual": ("residual",),
    "alpha_nDCG": ("alphandcgat", "andcg"),
    "StRecall": ("subtopicrecall", "strec"),
    "Categories": ("categorycoverage", "diversity"),
    "Entropy": ("categoryentropy",),
    "Popularity": ("avgpop", "averagepopularity", "arp"),
    "Tail": ("tailshare", "longtail", "aplt"),
    "RatingCloseness": ("mae", "rmse", "rating"),
    "RougeL": ("rouge",),
}
"""What other tools call them, lower case and letters only: for "did you mean" alone."""


def parse_measure(name: str) -> Measure:
    """The measure of a name such as nDCG@10, nDCG(gain=exp)@10, R(rel=2)@100 or RougeL.

    Raises `ValueError` for any other spelling, with the nearest right one and the list of all.
    """
    if (match := re.fullmatch(r"([A-Za-z0-9]+)(?:\(([^()]*)\))?", name)) and match[1] in ANSWER_MEASURES:
        of_answers = ANSWER_MEASURES[match[1]]
        return of_answers(1, **_settings(of_answers, match[2]))
    match = re.fullmatch(r"([A-Za-z_]+)(?:\(([^()]*)\))?@([1-9][0-9]*)", name)
    kind = MEASURES.get(match[1]) if match else None
    if match is None or kind is None:
        if match and match[1] in CORPUS_MEASURES:
            raise ValueError(f"{name} is a measure of all needs together, which every evaluation reports: leave it out")
        known = f"The measures are {'@k, '.join(MEASURES)}@k, for any integer k >= 1, and {', '.join(ANSWER_MEASURES)}"
        raise ValueError(f"no measure {shown(name)}{_suggestion(name)} {known}; as in nDCG(gain=exp)@10 or R(rel=2)@10")
    return kind(int(match[3]), **_settings(kind, match[2]))


def measure_option(name: str) -> Measure:
    """The measure that a reward's option `measure` names; an error begins with the name of the option."""
    try:
        return parse_measure(name)
    except ValueError as error:
        raise ValueError(f"measure: {error}") from error


def measure_all(
    measures: Iterable[Measure], rows_BK: Rows, qrels_B: Sequence[Qrels], catalog: Catalog | None = None
) -> dict[str, Floats]:
    """Each measure's name with its (B,) numbers; the rankings are joined with their answer keys once for all."""
    measures = list(measures)
    graded = Graded.join(rows_BK[:, : deepest(measures)], qrels_B, catalog)
    return {m.name: m.of(graded) for m in measures}


def deepest(measures: Iterable[Measure]) -> int | None:
    """How many places measures read; None for all that were searched."""
    depths = [m.depth for m in measures]
    return None if None in depths else max((depth for depth in depths if depth is not None), default=0)


def _settings(kind: type[Measure], text: str | None) -> dict[str, int | float | bool | str]:
    settings, known = dict[str, int | float | bool | str](), [field.name for field in fields(kind)[1:]]
    for part in text.split(",") if text is not None else ():
        option, _, value = (side.strip() for side in part.partition("="))
        if option not in known or option in settings:
            problem = "is given twice" if option in settings else f"is unknown; it has: {', '.join(known)}"
            raise ValueError(f"{kind.symbol}({text}): setting {option!r} {problem}")
        settings[option] = _value(value)
    return settings


def _value(text: str) -> int | float | bool | str:
    if text in ("True", "False"):
        return text == "True"
    if re.fullmatch("[0-9]+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", text) else text


def _suggestion(name: str) -> str:
    spellings = {"".join(re.findall("[a-z]", s.lower())): s for s in (*MEASURES, *ANSWER_MEASURES)}
    spellings |= {other: symbol for symbol, others in _OTHER_NAMES.items() for other in others}
    head, brackets, digits = re.match(r"([^(@0-9]*)(\([^()]*\))?[^0-9]*([0-9]*)", name).groups("")  # type: ignore[union-attr]
    near = get_close_matches("".join(re.findall("[a-z]", head.lower())), spellings, n=1, cutoff=0.7)
    if not near:
        return "."
    symbol, cutoff = spellings[near[0]], int(digits or 0)
    if symbol in ANSWER_MEASURES:
        return f"; did you mean '{symbol}{brackets}'? A measure of answers has no cutoff."
    why = "" if cutoff else " A cutoff of at least 1 is part of the name."
    return f"; did you mean '{symbol}{'' if symbol.endswith(')') else brackets}@{cutoff or 10}'?{why}"
