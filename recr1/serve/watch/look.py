"""A look: the needs of a day and their queries, what both find on today's engine, and what the catalog has of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recr1.env import Environment
from recr1.evaluate.references import AGAIN
from recr1.evaluate.slices import category_field
from recr1.judge.stats import Doubles
from recr1.serve.table import normal
from retrievers.analyzer import vocabulary
from rewards.base import Need
from rewards.guards.words import words_of
from rewards.measures import Measure

SIDES = ("raw", "rewritten")
PLACES, PROBED = 10, 40
"""First places of a ranking that are kept; words that are searched in another spelling too, the most frequent ones."""
PROBES: Mapping[str, Callable[[str], str]] = {
    "word endings": lambda word: word[:-1] if word.endswith("s") else f"{word}s",
    "capital letters": str.upper,
    "stop words": lambda word: f"the {word}",
}
"""What an analyzer may ignore -> another spelling of a word, which then finds the same."""


@dataclass(frozen=True)
class Look:
    """N different needs as they are (raw) and with their queries (rewritten); JSON as it is."""

    needs: Sequence[str]
    counts: Sequence[int]
    """Searches of each need in the traffic; 0 for one that is looked at because it is judged."""
    queries: Sequence[str]
    outcomes: Sequence[str]  # the reason of each `Rewrite`: "rewritten", "unchanged", "gate" ...
    found: Mapping[str, Sequence[Sequence[str]]]  # side -> ids of the first items of each need
    categories: Sequence[str]
    """Of the first item that each raw need finds; an empty text where there is none."""
    unknown: Collection[str]
    """Words of needs and queries that no item has."""
    titles: Mapping[str, str]
    """Of the items found, those of most needs first, and of those asked for; items that are gone are missing."""
    probes: Mapping[str, Mapping[str, bool]]  # probe -> word -> whether both spellings find the same
    scores: Mapping[str, Mapping[str, float]]  # side -> judged need -> its measure

    def of(self, side: str) -> Sequence[str]:
        """What is searched on a side."""
        return self.needs if side == "raw" else self.queries

    def searches(self, side: str) -> dict[str, Doubles]:
        """Of each search of the traffic: its words, the share of them that is unknown, and 1 where nothing is found."""
        unknown, words = {*self.unknown}, [words_of(text) for text in self.of(side)]
        values = {
            "length": [len(of_text) for of_text in words],
            "unknown words": [sum(word in unknown for word in of_text) / max(len(of_text), 1) for of_text in words],
            "no hits": [not of_need for of_need in self.found[side]],
        }
        return {name: np.repeat(np.array(of_text, np.float64), self.counts) for name, of_text in values.items()}

    def marks(self, kind: str) -> Counter[str]:
        """How many searches have a word in the need, ask for a category, or have an outcome."""
        words, empty = [{*words_of(need)} for need in self.needs], {""}
        own = {"words": words, "categories": [{one} - empty for one in self.categories]}
        marks = own.get(kind, [{outcome} for outcome in self.outcomes])
        return Counter(mark for of_need, count in zip(marks, self.counts, strict=True) for mark in [*of_need] * count)


def look(
    env: Environment,
    measure: Measure,
    judged: Mapping[str, Need],
    needs: Mapping[str, int],
    queries: Sequence[str],
    outcomes: Sequence[str],
    *,
    before: Look | None = None,
) -> Look:
    """Search needs and queries on today's engine.

    `judged` are by their `normal` text, `needs` have how often each is searched. `before` is a look at these needs on
    another day, whose items are looked up and whose words are probed again.
    """
    catalog, texts = env.task.catalog, list(needs)
    known, field = vocabulary(catalog), category_field(list(catalog.fields), None, "the catalog")
    keys = {place: judged[key] for place, text in enumerate(texts) if (key := normal(text)) in judged}
    found: dict[str, list[list[str]]] = {}
    scores: dict[str, dict[str, float]] = {}
    for side, asked in zip(SIDES, (texts, list(queries)), strict=True):
        rows_NK = env.search(asked, again=AGAIN).rows_QK
        found[side] = [[catalog.ids[row] for row in rows_K[:PLACES] if row >= 0] for rows_K in rows_NK]
        values = measure(rows_NK[list(keys)], [env.task.qrels[need.id] for need in keys.values()], catalog)
        scores[side] = {texts[place]: float(value) for place, value in zip(keys, values, strict=True)}
    used = Counter(word for text in (*texts, *queries) for word in words_of(text))
    usual = [word for word, _ in used.most_common() if word in known and len(word) > 3 and word.isalpha()]
    firsts = [catalog.row(of_need[0]) if of_need else None for of_need in found["raw"]]
    items = Counter(item for side in SIDES for of_need in found[side] for item in of_need)
    items.update(dict.fromkeys(before.titles if before else (), 0))
    return Look(
        texts,
        list(needs.values()),
        list(queries),
        list(outcomes),
        found,
        ["" if row is None or field is None else str(catalog.fields[field][row]) for row in firsts],
        sorted(word for word in used if word not in known),
        {item: catalog.title(catalog.row(item)) for item, _ in items.most_common() if item in catalog},
        {name: _probe(env, [*before.probes[name]] if before else usual[:PROBED], name) for name in PROBES},
        scores,
    )


def _probe(env: Environment, words: Sequence[str], name: str) -> dict[str, bool]:
    """Word -> whether its other spelling finds the same first items, of the words that find something."""
    rows_QK = env.search([*words, *map(PROBES[name], words)], again=AGAIN).rows_QK[:, :PLACES]
    own_QK, other_QK = rows_QK[: len(words)], rows_QK[len(words) :]
    return {
        word: bool((own == other).all())
        for word, own, other in zip(words, own_QK, other_QK, strict=True)
        if own[0] >= 0
    }


def overlaps(then: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> Doubles:
    """(N,) the share of the first items that two rankings have in common; 1 where neither finds anything."""
    pairs = [({*one}, {*other}) for one, other in zip(then, now, strict=True)]
    return np.array([len(one & other) / max(len(one), len(other), 1) if one or other else 1.0 for one, other in pairs])
