"""Does every word of a query count, and does a query without a match find nothing?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recr1.doctor.base import Finding, Patient, Symptom, finding, graded
from recr1.errors import examples
from retrievers.base import Hits

LENGTH = 4
"""Words of the queries in which each is replaced in turn."""
PLACES = ("first", "second", "third", "last")

UNKNOWN = "zxqvjk"
"""A word that no catalog has."""

NONSENSE = (UNKNOWN, "wqqzpfx kzzvhr", "qjxzv qkkjwz vvxqz", "", " \t", "?!;,.", "\x00")
"""Queries that no catalog can match."""

UNPARSED = 0.02
"""The share of raw needs that may be no queries before it is worth a warning."""

ODD = (
    '"',
    '"unbalanced phrase',
    "(((",
    "red AND",
    "AND OR NOT",
    "a:b:c",
    "title:",
    "+ - * ? ~ ^ \\",
    "price:[10 TO",
    "/regex(",
    '{"query": "red"}',
    "<query>red</query>",
    "na\u00efve caf\u00e9 \u65e5\u672c \U0001f45f",
    "word " * 200,
    "x" * 1000,
)
"""Queries that nobody should send and some policy will."""


def one_word(patient: Patient) -> Finding:
    """One-word queries find something."""
    words = patient.some(patient.vocabulary, "one_word")
    found = patient.search(words).rows_QK[:, 0] >= 0
    share = float(found.mean()) if words else 0.0
    lost = [word for word, hit in zip(words, found, strict=True) if not hit]
    verdict = graded(share, warn_below=0.9, fail_below=0.5)
    message = f"{share:.0%} of {len(words)} words of the catalog find something when they are the whole query"
    if verdict != "ok":
        message = (
            f"only {message}; not {examples(lost)}: the retriever changes queries before it searches, or cuts words "
            "another way than its index does"
        )
    return Finding("one_word", verdict, message, {"words": len(words), "found": share, "lost": lost})


def every_word(patient: Patient) -> Finding:
    """Every word of a query counts, wherever it stands.

    A word counts in its place when putting a word that no item has there changes what is found or its scores, or when
    it finds something there in the company of such words. The first alone would blame engines whose scores are ranks,
    the second those that want all the words. Words are not dropped: where the engine loses the first word, dropping it
    makes the engine lose the second, so that the scores change and nothing shows.
    """
    queries = [words for row in patient.probes if len(words := _words(patient, row)) == LENGTH]
    if not queries:
        message = f"no item has {LENGTH} different words to replace one of: add titles or texts"
        return Finding("every_word", "warning", message, {"queries": 0})
    places = range(LENGTH)
    whole = [" ".join(words) for words in queries]
    without = [" ".join([*words[:p], UNKNOWN, *words[p + 1 :]]) for words in queries for p in places]
    alone = [" ".join([UNKNOWN] * p + [words[p]] + [UNKNOWN] * (LENGTH - p - 1)) for words in queries for p in places]
    hits = patient.search([*whole, *without, *alone, " ".join([UNKNOWN] * LENGTH)])
    each, last = np.arange(len(without)), len(hits.rows_QK) - 1
    changes = _differ(hits, each // LENGTH, len(whole) + each)
    finds = _differ(hits, np.full(len(alone), last), len(whole) + len(without) + each)
    counted = (changes | finds).reshape(-1, LENGTH).mean(axis=0)
    shares = dict(zip(PLACES, counted.tolist(), strict=True))
    symptoms = [
        Symptom(verdict, f"the {place} word of a query counts in only {share:.0%} of {len(whole)} queries")
        for place, share in shares.items()
        if (verdict := graded(share, warn_below=0.9, fail_below=0.5)) != "ok"
    ]
    if symptoms:
        advice = "compare what the retriever sends to the engine with the query it was given"
        symptoms[-1] = Symptom(symptoms[-1].verdict, f"{symptoms[-1].message}: {advice}")
    fine = f"every word counts: another one in its place changes what {len(whole)} queries of {LENGTH} words find"
    return finding("every_word", symptoms, fine, {"queries": len(whole), "counts": shares})


def _differ(hits: Hits, some: NDArray[np.int_], others: NDArray[np.int_]) -> NDArray[np.bool_]:
    """(P,) whether the hits of two queries differ, for P pairs of places in the batch."""
    same = (hits.rows_QK[some] == hits.rows_QK[others]) & (hits.scores_QK[some] == hits.scores_QK[others])
    differ: NDArray[np.bool_] = ~same.all(axis=1)
    return differ


def _words(patient: Patient, row: int) -> list[str]:
    """The first words of an item's title, or of its text where the title is too short."""
    words = patient.content_words(patient.titles[row])[:LENGTH]
    return words if len(words) == LENGTH else patient.content_words(patient.catalog.texts[row])[:LENGTH]


def no_match(patient: Patient) -> Finding:
    """A query that matches nothing finds nothing."""
    # In company of a query that finds something, and not alone: some engines hand on what they found before.
    something = patient.vocabulary[:1]
    rows = patient.search([*NONSENSE, *something, *NONSENSE[::-1]]).rows_QK[: len(NONSENSE), 0]
    found = [query for query, row in zip(NONSENSE, rows, strict=True) if row >= 0]
    numbers = {"queries": len(NONSENSE), "found_something": found, "matches_everything": patient.matches_everything}
    if patient.matches_everything and UNKNOWN in found:
        message = (
            "the retriever declares that it matches everything: a query of words that no item has finds the nearest "
            "items, so that the reward of nonsense is that of chance"
        )
        return Finding("no_match", "ok", message, numbers)
    if patient.matches_everything:
        message = (
            f"the retriever declares that it matches everything, but {UNKNOWN!r} finds nothing: drop the declaration "
            "matches_everything, which keeps this check from finding what is wrong"
        )
        return Finding("no_match", "error", message, numbers)
    if not found:
        return Finding("no_match", "ok", f"{len(NONSENSE)} queries that match nothing find nothing", numbers)
    message = (
        f"{len(found)} of {len(NONSENSE)} queries that match nothing find items all the same ({examples(found)}), "
        "which would pay for nonsense: drop hits of score 0, or declare matches_everything if every item has a score"
    )
    return Finding("no_match", "error", message, numbers)


def odd_queries(patient: Patient) -> Finding:
    """Queries with broken syntax, markup or a thousand characters are only queries: searching them does not raise.

    Where the retriever has a syntax and counts what does not parse, the raw needs should: a policy begins with those.
    """
    patient.search(ODD)
    needs = [need.text for need in patient.some(patient.needs, "odd_queries")]
    odd, lost = patient.unparsed(ODD), patient.unparsed(needs)
    message = f"{len(ODD)} queries with broken syntax, markup and odd characters are searched without an error"
    if odd:
        message += f"; {odd} of them do not parse in the retriever's syntax, and find nothing"
    numbers = {"queries": len(ODD), "unparsed": odd, "needs": len(needs), "unparsed_needs": lost}
    if lost < UNPARSED * len(needs):
        return Finding("odd_queries", "ok", message, numbers)
    what = f"{lost} of {len(needs)} raw needs do not parse in the retriever's syntax, and find nothing"
    remedy = "a policy begins with queries like those; take a retriever that reads words alone (lucene: syntax=bag)"
    return Finding("odd_queries", "warning", f"{what}: {remedy}", numbers)
