"""Operators: do those that a retriever declares work, in the syntax of `retrievers.abilities`?

What an operator should find follows from what the engine finds for single words, so that its stemming, stop words and
fields need not be known: `a AND b` must find the items that both `a` and `b` find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations, pairwise
from math import isfinite
from typing import TypeAlias

from recr1.doctor.base import Fault, Finding, Setup, catching, finding
from retrievers.abilities import CAPABILITIES, capabilities_of, max_k_of, syntax_of

DEEPEST = 1000
"""Items per search; words that find more are not used, since not all of their items would be seen."""
ROWS, TRIALS = 60, 30
"""Most items whose words are used, and most queries per operator."""
LEAST = 0.9
"""Share of queries in which an operator must work."""

SIGNS: Mapping[str, Sequence[str]] = {"boolean": ("AND", "OR", "NOT"), "phrases": ('"',), "filters": (":[", " TO ")}
"""What a description of the usual syntax of an operator contains."""

Rows: TypeAlias = frozenset[int]
Check: TypeAlias = Callable[[Rows], bool]  # whether what a query found is right
Count: TypeAlias = tuple[int, int]
"""Queries in which an operator worked, and all that were tried."""


def operators(setup: Setup) -> Finding:
    """Every declared operator works; "ok" where none is declared."""
    with catching("reading the retriever's capabilities"):
        declared = sorted(capabilities_of(setup.env.retriever))
    if not declared:
        return Finding("operators", "ok", "no operators are declared: queries are plain words", {"declared": []})
    words = syntax_of(setup.env.retriever)
    own = [name for name in declared if not _is_usual(name, words[name], setup.catalog.fields)]
    probe = _Probe(setup)
    trials = {key: count for name in declared if name not in own for key, count in TESTS[name](probe).items()}
    remedy = "pass queries to the engine's own parser, or do not declare it, since prompts would ask for it"
    problems = [
        Fault("error", f"{name} is declared, but works in only {held} of {asked} queries: {remedy}")
        for name, (held, asked) in trials.items()
        if held < LEAST * asked
    ]
    untested = [*own, *(name for name, (_, asked) in trials.items() if not asked)]
    if untested:
        why = "they have another syntax, or the catalog has no words for them"
        problems.append(Fault("warning", f"could not be tested: {', '.join(untested)} ({why}); test them yourself"))
    numbers = {"declared": declared, "held": {name: list(count) for name, count in trials.items()}}
    tried = ", ".join(f"{name} {held} of {asked}" for name, (held, asked) in trials.items() if asked)
    ok = f"all declared operators work (queries: {tried})"
    return finding("operators", problems, ok, numbers)


def _is_usual(name: str, words: str, fields: Collection[str]) -> bool:
    """Whether the description of an operator in prompts is of the syntax that is tested here."""
    if name == "fields":
        return words == CAPABILITIES[name] or bool(_named_in(words, fields))
    return all(sign in words for sign in SIGNS[name])


def _named_in(words: str, fields: Collection[str]) -> list[str]:
    """The fields that a description names; none in the usual one, which is for any catalog."""
    usual = words == CAPABILITIES["fields"]
    return [] if usual else [name for name in fields if re.search(rf"\b{re.escape(name)}\b", words)]


class _Probe:
    """Single words of titles, and all items that each finds."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self._items = setup, len(setup.catalog)
        self._depth = min(self._items, DEEPEST, max_k_of(setup.env.retriever) or self._items)
        rows = setup.probes[:: max(1, len(setup.probes) // ROWS)]
        self.words_of = {row: setup.content_words(setup.titles[row])[:6] for row in rows}
        self.of_word: dict[str, Rows] = {}
        self.learn(sorted({word for words in self.words_of.values() for word in words}))

    def learn(self, words: Sequence[str]) -> None:
        """Adds what single words find; without words that find more items than can be seen."""
        new = self.find([word for word in words if word not in self.of_word])
        self.of_word |= {word: found for word, found in new.items() if found and self.complete(found)}

    def find(self, queries: Sequence[str]) -> dict[str, Rows]:
        """What each query finds, as deep as possible."""
        found = self.setup.search(queries, self._depth).rows_QK.tolist() if queries else []
        return {query: frozenset(rows) - {-1} for query, rows in zip(queries, found, strict=True)}

    def complete(self, rows: Rows) -> bool:
        """Whether these are all the items that were found."""
        return self._depth == self._items or len(rows) < self._depth

    def share(self, expected: Mapping[str, Check]) -> Count:
        """How many queries found what they should, and how many were searched."""
        found = self.find(list(expected))
        return sum(right(found[query]) for query, right in expected.items()), len(expected)


def _boolean(probe: _Probe) -> dict[str, Count]:
    pairs = []
    for words in probe.words_of.values():
        known = [word for word in words if word in probe.of_word]
        pairs += [(a, b) for a, b in combinations(known, 2) if probe.of_word[a] != probe.of_word[b]][:1]
    expected: dict[str, dict[str, Check]] = {"AND": {}, "OR": {}, "NOT": {}}
    for a, b in pairs[:TRIALS]:
        one, other = probe.of_word[a], probe.of_word[b]
        expected["AND"][f"{a} AND {b}"] = (one & other).__eq__
        expected["NOT"][f"{a} AND NOT {b}"] = (one - other).__eq__
        if probe.complete(one | other):
            expected["OR"][f"{a} OR {b}"] = (one | other).__eq__
    return {f"boolean {name}": probe.share(of_name) for name, of_name in expected.items()}


def _phrases(probe: _Probe) -> dict[str, Count]:
    expected: dict[str, Check] = {}
    for row in list(probe.words_of)[:TRIALS]:
        catalog = probe.setup.catalog
        whole = " ".join([catalog.texts[row], *(catalog.column(name)[row] for name in catalog.fields)]).lower()
        pair = _neighbours(probe, row, whole)
        if pair:
            expected[f'"{pair[0]} {pair[1]}"'] = lambda found, row=row: row in found or not probe.complete(found)  # type: ignore[misc]
            expected[f'"{pair[1]} {pair[0]}"'] = lambda found, row=row: row not in found  # type: ignore[misc]
    return {"phrases": probe.share(expected)}


def _neighbours(probe: _Probe, row: int, whole: str) -> tuple[str, str] | None:
    """Two neighbouring words of an item's title that are nowhere in the item in the other order."""
    known = set(probe.words_of[row])
    for a, b in pairwise(probe.setup.titles[row].split()):
        backwards = re.search(rf"{re.escape(b.lower())}\W+{re.escape(a.lower())}", whole)
        if a in known and b in known and a != b and not backwards:
            return a, b
    return None


def _fields(probe: _Probe) -> dict[str, Count]:
    """Each field with its words: the item is found, and items with the word in other fields are not."""
    named = _named_in(syntax_of(probe.setup.env.retriever)["fields"], probe.setup.catalog.fields)
    shares = {
        f"fields ({field})": probe.share(expected)
        for field in named or probe.setup.catalog.fields
        if (expected := _expected_of(probe, field, even_weak=bool(named)))
    }
    if named:  # prompts name them: each must work
        return shares or {"fields": (0, 0)}
    return _working(shares) or {"fields": (0, 0)}


def _working(shares: dict[str, Count]) -> dict[str, Count]:
    """The fields that work, or all: a catalog may have fields that are not searched, so one that works is enough."""
    return {name: count for name, count in shares.items() if count[0] >= LEAST * count[1]} or shares


def _expected_of(probe: _Probe, field: str, *, even_weak: bool) -> dict[str, Check]:
    """Queries of a field, and whether what they find is right.

    They are of words that other fields have too. Without such words, the others show at least that the field exists.
    """
    column = probe.setup.catalog.column(field)
    words_of = {row: {*words, *probe.setup.content_words(column[row])[:2]} for row, words in probe.words_of.items()}
    places = {word: row for row, words in words_of.items() for word in sorted(words & set(column[row].split()))}
    probe.learn(list(places))
    stems = [frozenset(word[:4] for word in re.findall(r"\w+", value.lower())) for value in column]
    outside = {
        word: frozenset(row for row in probe.of_word.get(word, ()) if word.lower()[:4] not in stems[row])
        for word in places
    }
    some = ([word for word in places if outside[word]] or (list(places) if even_weak else []))[:TRIALS]
    return {
        f"{field}:{word}": lambda found, row=places[word], others=outside[word]: (  # type: ignore[misc]
            (row in found or not probe.complete(found)) and not found & others
        )
        for word in some
    }


def _filters(probe: _Probe) -> dict[str, Count]:
    """A range of each numeric field with a word: items of the word that are in the range, and no others."""
    shares = {}
    joint = " AND " if "boolean" in capabilities_of(probe.setup.env.retriever) else " "
    for field, column in probe.setup.catalog.fields.items():
        numbers = {row: float(v) for row, v in enumerate(column) if isinstance(v, int | float) and isfinite(v)}
        expected: dict[str, Check] = {}
        for word, rows in probe.of_word.items():
            values = sorted(numbers[row] for row in rows if row in numbers)
            if len(values) < 2 or values[0] == values[-1] or len(expected) >= TRIALS:
                continue
            low, high = values[0], values[(len(values) - 1) // 2]
            inside = frozenset(row for row in rows if low <= numbers.get(row, high + 1) <= high)
            if inside != rows:
                expected[f"{word}{joint}{field}:[{low:g} TO {high:g}]"] = inside.__eq__
        if expected:
            shares[f"filters ({field})"] = probe.share(expected)
    return _working(shares) or {"filters": (0, 0)}


TESTS = {"boolean": _boolean, "phrases": _phrases, "fields": _fields, "filters": _filters}
