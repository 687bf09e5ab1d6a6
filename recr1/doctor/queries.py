"""Unusual queries: does every word count, and does a query without a match find nothing?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recr1.doctor.base import UNKNOWN, Fault, Finding, Setup, finding, graded
from recr1.errors import examples
from retrievers.abilities import matches_everything
from retrievers.base import Hits

PLACES = ("first", "second", "third", "last")
LENGTH = len(PLACES)
"""Words of the queries in which each is replaced in turn."""
NONSENSE = (UNKNOWN, "wqqzpfx kzzvhr", "qjxzv qkkjwz vvxqz", "", " \t", "?!;,.", "\x00")
"""Queries that no catalog can match."""
UNPARSED = 0.02
"""Share of raw needs that do not parse from which on there is a warning."""
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
    "men's shoes, rock 'n' roll & 50% off #1 c++ \\",
)
"""Queries that some policies will write."""


def one_word(setup: Setup) -> Finding:
    """One-word queries find something."""
    words, found = setup.words, setup.word_hits.rows_QK[:, 0] >= 0
    share = float(found.mean()) if words else 0.0
    lost = [word for word, hit in zip(words, found, strict=True) if not hit]
    verdict = graded(share, warn_below=0.9, fail_below=0.5, of=len(words) or None)
    message = f"{share:.0%} of {len(words)} words of the catalog find something as one-word queries"
    if verdict != "ok":
        remedy = "the retriever changes queries before the search, or splits words differently from its index"
        message = f"only {message} (nothing for {examples(lost)}): {remedy}"
    return Finding("one_word", verdict, message, {"words": len(words), "found": share, "lost": lost})


def every_word(setup: Setup) -> Finding:
    """Every word of a query counts, whatever its position.

    A word counts if replacing it by an unknown word changes rows or scores, or if it finds something among unknown
    words. The first test alone fails engines whose scores are ranks, the second those that require all words. Words
    are replaced and not dropped: an engine that loses the first word would then lose the second, and nothing would
    show.
    """
    queries = [words for row in setup.probes if len(words := _words(setup, row)) == LENGTH]
    if not queries:
        message = f"no item has {LENGTH} different words for a test query: add titles or texts"
        return Finding("every_word", "warning", message, {"queries": 0})
    places = range(LENGTH)
    whole = [" ".join(words) for words in queries]
    without = [" ".join([*words[:p], UNKNOWN, *words[p + 1 :]]) for words in queries for p in places]
    alone = [" ".join([UNKNOWN] * p + [words[p]] + [UNKNOWN] * (LENGTH - p - 1)) for words in queries for p in places]
    hits = setup.search([*whole, *without, *alone, " ".join([UNKNOWN] * LENGTH)])
    each, last = np.arange(len(without)), len(hits.rows_QK) - 1
    changes = differ(hits.of(each // LENGTH), hits.of(len(whole) + each))
    finds = differ(hits.of(np.full(len(alone), last)), hits.of(len(whole) + len(without) + each))
    counted = (changes | finds).reshape(-1, LENGTH).mean(axis=0)
    shares = dict(zip(PLACES, counted.tolist(), strict=True))
    problems = [
        Fault(verdict, f"the {place} word of a query counts in only {share:.0%} of {len(whole)} queries")
        for place, share in shares.items()
        if (verdict := graded(share, warn_below=0.9, fail_below=0.5, of=len(whole))) != "ok"
    ]
    if problems:
        advice = "compare the query that the engine gets with the one that the retriever was given"
        problems[-1] = Fault(problems[-1].verdict, f"{problems[-1].message}: {advice}")
    ok = f"every word counts: replacing one changes what {len(whole)} queries of {LENGTH} words find"
    return finding("every_word", problems, ok, {"queries": len(whole), "counts": shares})


def differ(some: Hits, others: Hits) -> NDArray[np.bool_]:
    """(P,) whether the hits of two queries differ, for P pairs of queries."""
    same = (some.rows_QK == others.rows_QK) & (some.scores_QK == others.scores_QK)
    differing: NDArray[np.bool_] = ~same.all(axis=1)
    return differing


def _words(setup: Setup, row: int) -> list[str]:
    """The first words of an item's title, or of its text where the title is too short."""
    words = setup.content_words(setup.titles[row])[:LENGTH]
    return words if len(words) == LENGTH else setup.content_words(setup.catalog.texts[row])[:LENGTH]


def no_match(setup: Setup) -> Finding:
    """A query that matches nothing finds nothing."""
    # With a query that finds something in the batch: some engines return what they found before.
    something = setup.vocabulary[:1]
    rows = setup.search([*NONSENSE, *something, *NONSENSE[::-1]]).rows_QK[: len(NONSENSE), 0]
    found = [query for query, row in zip(NONSENSE, rows, strict=True) if row >= 0]
    declared = matches_everything(setup.env.retriever)
    numbers = {"queries": len(NONSENSE), "found_something": found, "matches_everything": declared}
    right = (UNKNOWN in found) if declared else not found
    if declared:
        ok = "a query of unknown words finds the nearest items, so nonsense has the reward of random items"
        what = f"{UNKNOWN!r} finds nothing: remove the declaration, which hides problems from this check"
        message = f"the retriever declares matches_everything{f': {ok}' if right else f', but {what}'}"
    elif right:
        message = f"{len(NONSENSE)} queries that match nothing find nothing"
    else:
        what = f"{len(found)} of {len(NONSENSE)} queries that match nothing find items ({examples(found)})"
        remedy = "drop hits of score 0, or declare matches_everything if every item has a score"
        message = f"{what}, so nonsense would be rewarded: {remedy}"
    return Finding("no_match", "ok" if right else "error", message, numbers)


def odd_queries(setup: Setup) -> Finding:
    """Queries with broken syntax, markup or a thousand characters raise no exception.

    Where the retriever counts queries that do not parse, raw needs should parse: a policy starts with those.
    """
    setup.search(ODD)
    needs = [need.text for need in setup.sampled(setup.needs, "odd_queries")]
    odd, lost = setup.unparsed(ODD), setup.unparsed(needs)
    message = f"{len(ODD)} queries with broken syntax, markup and odd characters are searched without an exception"
    if odd:
        message += f"; {odd} of them do not parse in the retriever's syntax and find nothing"
    numbers = {"queries": len(ODD), "unparsed": odd, "needs": len(needs), "unparsed_needs": lost}
    if lost < UNPARSED * len(needs):
        return Finding("odd_queries", "ok", message, numbers)
    what = f"{lost} of {len(needs)} raw needs do not parse in the retriever's syntax and find nothing"
    remedy = "policies start with such queries; use a retriever that only reads words (lucene: syntax=bag)"
    return Finding("odd_queries", "warning", f"{what}: {remedy}", numbers)
