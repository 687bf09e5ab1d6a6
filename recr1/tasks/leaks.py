"""Whether splits are apart: needs that stand in two of them, or almost, and targets that they share."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any

from recr1.errors import UserError, examples
from recr1.tasks.base import Task, splits_of
from recr1.tasks.splits import group_key
from rewards.base import Need
from rewards.guards.words import says, words_of

NEAR = 0.8
"""Needs are near-equal when this share of all their different words is common to both (Jaccard)."""
WORTH_A_WORD, WRONG = 0.01, 0.2
"""Shares of a split that may be near-equal to needs of another one before it is worth a word, and a leak."""
TELLING = 5
"""Letters and digits from which on an id or a title in a text says something: "12" stands in many."""


@dataclass(frozen=True)
class Overlap:
    """What two splits have in common; `held` counts the needs of the second, which is the one that is leaked into."""

    one: str
    other: str
    held: int
    ids: Sequence[str]
    """Need ids that stand in both."""
    equal: Sequence[str]
    """Texts of the second split that stand in the first, case and punctuation aside."""
    near: Sequence[str]
    """Texts of the second split that have almost the words of one of the first, and are not equal to any."""
    targets: int
    shared_targets: int
    """Items that are best for a need of the second split, and how many of them are for one of the first."""

    @property
    def pair(self) -> str:
        """Both names, as messages say them."""
        return f"{self.one} and {self.other}"

    def leaks(self) -> list[str]:
        """Why the second split does not measure what it should, in words; none where it does."""
        found = []
        if self.ids:
            what = f"{len(self.ids)} need ids stand in {self.pair} ({examples(self.ids)})"
            found.append(f"{what}: training would find two needs for one id; rename or drop them")
        if self.equal:
            what = f"{len(self.equal)} of {self.held} needs of {self.other} are the same text in {self.pair}"
            found.append(f"{what} ({examples(self.equal, 2)}): the split measures memory; split by text, not by line")
        if len(self.near) >= WRONG * self.held > 0:
            found.append(self._nearly())
        return found

    def remarks(self) -> list[str]:
        """What is worth a word and no leak."""
        return [self._nearly()] if WORTH_A_WORD * self.held <= len(self.near) < WRONG * self.held else []

    def counts(self) -> dict[str, int]:
        """The numbers alone."""
        return {
            "equal_ids": len(self.ids),
            "equal_needs": len(self.equal),
            "near_equal_needs": len(self.near),
            "targets": self.targets,
            "shared_targets": self.shared_targets,
        }

    def _nearly(self) -> str:
        what = f"{len(self.near)} of {self.held} needs of {self.other} have almost the same words in {self.pair}"
        return f"{what} ({examples(self.near, 2)}): keep variants of a need in one split"


def find_overlaps(task: Task) -> list[Overlap]:
    """What each two splits of a task have in common, the earlier split first."""
    pairs = combinations(splits_of(task).items(), 2)
    return [_overlap(task, one, needs, other, held) for (one, needs), (other, held) in pairs]


def refuse_leaks(overlaps: Sequence[Overlap], *, accepted: bool) -> dict[str, Any]:
    """What `run.json` shall say of the splits; raises `UserError` for a leak that the recipe does not accept."""
    leaks = [leak for overlap in overlaps for leak in overlap.leaks()]
    if leaks and not accepted:
        lines = "".join(f"\n  {leak}" for leak in leaks)
        raise UserError(
            f"the splits are not apart:{lines}\nput the needs right, or accept it with evaluate.accept_leaks=true: "
            "the run says so, and so does every report of it"
        )
    return {"accepted": leaks, "pairs": {overlap.pair: overlap.counts() for overlap in overlaps}}


def _overlap(task: Task, one: str, needs: Sequence[Need], other: str, held: Sequence[Need]) -> Overlap:
    texts = {group_key(need.text) for need in needs}
    targets = _targets(task, held)
    return Overlap(
        one,
        other,
        len(held),
        sorted({need.id for need in needs} & {need.id for need in held}),
        [need.text for need in held if group_key(need.text) in texts],
        [need.text for need in near_equal(needs, held) if group_key(need.text) not in texts],
        len(targets),
        len(targets & _targets(task, needs)),
    )


def near_equal(needs: Sequence[Need], held: Sequence[Need], least: float = NEAR) -> Iterator[Need]:
    """The held needs whose set of words has a Jaccard similarity of at least `least` with some need's; exact.

    Two sets this alike share one of the rarest words of each, so that only those are looked up (prefix filtering:
    Chaudhuri, Ganti, Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006).
    """
    sets, probes = [_tokens(need.text) for need in needs], [_tokens(need.text) for need in held]
    frequency = Counter(token for tokens in (*sets, *probes) for token in tokens)

    def rarest(tokens: frozenset[str]) -> list[str]:
        ordered = sorted(tokens, key=lambda token: (frequency[token], token))
        return ordered[: len(tokens) - ceil(least * len(tokens)) + 1]

    holders: dict[str, list[int]] = defaultdict(list)
    for place, tokens in enumerate(sets):
        for token in rarest(tokens):
            holders[token].append(place)
    for need, tokens in zip(held, probes, strict=True):
        places = {place for token in rarest(tokens) for place in holders.get(token, ())}
        if any(len(tokens & sets[place]) >= least * len(tokens | sets[place]) for place in places):
            yield need


def copied(texts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[int]:
    """The places of texts that hold one of their answers whole, as words in a row, case and punctuation aside.

    Answers are ids or titles; those of fewer than `TELLING` letters and digits are left out.
    """
    found = []
    for place, (text, keys) in enumerate(zip(texts, answers, strict=True)):
        words = words_of(text)
        named = [name for key in keys if len("".join(name := words_of(key))) >= TELLING]
        if any(says(words, name) for name in named):
            found.append(place)
    return found


def _tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _targets(task: Task, needs: Sequence[Need]) -> set[int]:
    """The items of the highest grade of each need's answer key."""
    keys = (task.qrels.get(need.id) for need in needs)
    return {row for key in keys if key for row in key.rows_J[key.grades_J == key.grades_J.max()].tolist()}
