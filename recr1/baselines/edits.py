"""Small edits of a need's text, made from the text and from the words of other needs; no catalog."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple, TypeAlias

from retrievers.analyzer import folded, stopword_lists

SHORTEST = 4
"""Letters of the shortest word whose spelling is changed: most short words are one letter from another word."""
LONG = 8
"""Letters from which on a word may differ in two letters from its correction."""
CLEARLY = 5
"""How many times as often as a word its correction must be in the needs."""
CORRECTIONS = 2
"""Corrections that are tried for a word."""
ADDED = 8
"""Words of other needs that are tried for a need, unless said otherwise."""
DOUBT = 5
"""Added to the needs with a word, of which a share has another: what few needs show is believed less."""
DROPS = frozenset({"dropped repeated words", "dropped stop words", "dropped a word", "dropped two words"})
"""The kinds of edits that only leave words out."""

Replaced: TypeAlias = tuple[int, Sequence[str]]
"""How many words, from a place on, and what stands there then."""

_NUMBER = re.compile(r"(\d+(?:[.,]\d+)*)-?([^\W\d_]+|\"|'')")  # 15.6inch, 15.6-inch, 15.6"
_BORDER = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|[-/_]+")  # iphone12, wi-fi


class Change(NamedTuple):
    """One edit: its kind in words, and the words before and after it, without case."""

    kind: str
    before: str
    after: str


class Edits:
    """The edits of any text.

    Words are corrected to words that are clearly more frequent in the needs, as SymSpell finds them: two words that
    differ in few letters have a rest in common after that many deletions (Garbe 2012). Words are added that
    other needs have beside one of the need's words more often than chance would have it, by their part of the
    Kullback-Leibler divergence (Carpineto et al. 2001).

    Args:
        texts: the needs that words are counted in: those of training.
        added: words that are tried at the end of a text, at most.
    """

    def __init__(self, texts: Iterable[str], added: int = ADDED) -> None:
        self._stop_words = frozenset(stopword_lists()["english"])
        self._counts: Counter[str] = Counter()
        self._beside: dict[str, Counter[str]] = defaultdict(Counter)
        self._needs, self._added = 0, added
        for text in texts:
            words = [plain for word in text.split() if (plain := _plain(word))]
            self._needs += 1
            self._counts.update(words)
            for one, other in permutations(dict.fromkeys(words), 2) if added else ():
                if self._stop_words.isdisjoint((one, other)):
                    self._beside[one][other] += 1
        self._by_rest: dict[str, list[str]] = defaultdict(list)
        for word in sorted(word for word, count in self._counts.items() if count > 1 and word.isalpha()):
            for rest in _rests(word):
                self._by_rest[rest].append(word)
        self._corrections = cache(self._corrected)

    def of(self, text: str) -> list[tuple[Change, str]]:
        """Each edit and the text after it, always in the same order; no text twice, none empty or as it was."""
        words = text.split()
        found: dict[str, Change] = {}
        for change, edited in self._whole(words):
            found.setdefault(edited, change)
        for kind, edits in self._kinds():
            for place in range(len(words)):
                for count, after in edits(words, place):
                    edited = " ".join([*words[:place], *after, *words[place + count :]])
                    before = words[place : place + count]
                    found.setdefault(edited, Change(kind, *(" ".join(map(folded, part)) for part in (before, after))))
        for word in self._companions(words):
            found.setdefault(" ".join([*words, word]), Change("added a word", "", word))
        for same in ("", " ".join(words)):
            found.pop(same, None)
        return [(change, edited) for edited, change in found.items()]

    def _whole(self, words: Sequence[str]) -> Iterator[tuple[Change, str]]:
        plain = list(map(_plain, words))
        again = {place for place, word in enumerate(plain) if word in plain[:place]}
        stop = {place for place, word in enumerate(plain) if word in self._stop_words}
        for kind, out in (("dropped repeated words", again), ("dropped stop words", stop)):
            kept = " ".join(word for place, word in enumerate(words) if place not in out)
            yield Change(kind, " ".join(plain[place] for place in sorted(out)), ""), kept

    def _kinds(self) -> Sequence[tuple[str, Callable[[Sequence[str], int], Iterable[Replaced]]]]:
        return (
            # Dropped first: a word that no item has is as good as none, and of equal edits the first is kept.
            ("dropped a word", lambda words, place: [(1, [])]),
            ("dropped two words", lambda words, place: [(2, [])]),
            ("spelling", lambda words, place: [(1, [word]) for word in self._corrections(_plain(words[place]))]),
            ("number and unit", lambda words, place: _number_forms(folded(words[place]))),
            ("split a word", lambda words, place: self._split(_plain(words[place]))),
            ("joined two words", lambda words, place: self._known(2, "".join(words[place : place + 2]))),
            ("singular or plural", lambda words, place: self._other_number(words[place])),
            ("doubled a word", lambda words, place: [(1, [words[place]] * 2)]),
        )

    def _companions(self, words: Sequence[str]) -> list[str]:
        """Words that other needs have beside these, the closest first."""
        own = dict.fromkeys(map(_plain, words))
        closest: dict[str, float] = {}
        for one in own:
            for other, both in self._beside.get(one, {}).items():
                if both > 1 and other not in own:  # one need alone is chance
                    lift = math.log(both * self._needs / (self._counts[one] * self._counts[other]))
                    closest[other] = max(closest.get(other, 0.0), both / (self._counts[one] + DOUBT) * lift)
        found = [word for word in closest if closest[word] > 0]
        return sorted(found, key=lambda word: (-closest[word], word))[: self._added]

    def _known(self, count: int, word: str) -> list[Replaced]:
        """A word in place of others, if a need has it: one that nobody writes only makes a search forget the others."""
        return [(count, [word])] if _plain(word) in self._counts else []

    def _other_number(self, word: str) -> list[Replaced]:
        return [] if _plain(word) in self._stop_words else self._known(1, _other_number(word))

    def _split(self, word: str) -> Iterator[Replaced]:
        if len(parts := [part for part in _BORDER.split(word) if part]) > 1:
            yield from ((1, parts), (1, ["".join(parts)]))
        halves = [(word[:at], word[at:]) for at in range(2, len(word) - 1)]
        known = [pair for pair in halves if all(part.isalpha() and part in self._counts for part in pair)]
        for pair in sorted(known, key=lambda pair: -min(self._counts[part] for part in pair))[:1]:
            yield 1, pair

    def _corrected(self, word: str) -> list[str]:
        if len(word) < SHORTEST or not word.isalpha():
            return []
        least = max(CLEARLY * self._counts[word], 2)
        near = {other for rest in _rests(word) for other in self._by_rest.get(rest, ()) if self._counts[other] >= least}
        limit = _limit(word)
        distances = {other: n for other in near if (n := _distance(word, other, limit)) <= limit}
        return sorted(distances, key=lambda other: (distances[other], -self._counts[other], other))[:CORRECTIONS]


def _plain(word: str) -> str:
    """A word without case and without the signs around it."""
    return re.sub(r"^\W+|\W+$", "", folded(word))


def _number_forms(word: str) -> list[Replaced]:
    """15.6inch -> 15.6 inch, 15.6inch and 15.6."""
    if not (match := _NUMBER.fullmatch(word)):
        return []
    number, unit = match[1], match[2] if match[2].isalpha() else "inch"
    return [(1, [number, unit]), (1, [number + unit]), (1, [number])]


def _other_number(word: str) -> str:
    """The plural of a singular and the other way round, by the rules of English alone; a number stays as it is."""
    if not (plain := _plain(word)).isalpha():
        return word
    word = plain
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"


def _limit(word: str) -> int:
    return 2 if len(word) >= LONG else 1


def _rests(word: str) -> set[str]:
    """The word, and what is left of it after each set of deletions that a word of this length may have."""
    most = 2 if len(word) >= LONG - 2 else 1  # the correction of a long word may be shorter
    return {
        "".join(letter for place, letter in enumerate(word) if place not in out)
        for count in range(most + 1)
        for out in combinations(range(len(word)), count)
    }


def _distance(one: str, other: str, limit: int) -> int:
    """Letters to insert, delete, replace or swap with a neighbour (Damerau-Levenshtein); above the limit, more."""
    if one == other:
        return 0
    if limit == 0 or abs(len(one) - len(other)) > limit:
        return limit + 1
    if one and other and one[0] == other[0]:
        return _distance(one[1:], other[1:], limit)
    ways = [(one[1:], other), (one, other[1:]), (one[1:], other[1:])]
    if one[:2] == other[1::-1] and len(one) > 1:
        ways.append((one[2:], other[2:]))
    return 1 + min(_distance(*way, limit - 1) for way in ways)
