"""Splits: which need is for training, validation or test, and what two splits have in common."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Any

from recr1.errors import UserError, examples
from recr1.tasks.base import SPLITS, Task, splits_of
from retrievers.analyzer import folded
from rewards.base import Need
from rewards.guards.words import says, words_of

DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

NEAR = 0.8
"""Needs are nearly equal if they share this part of their different words (Jaccard similarity)."""
WORTH_A_WORD, WRONG = 0.01, 0.2
"""Shares of a split that are nearly equal to needs of another: from the first on a remark, from the second a leak."""
TELLING = 5
"""The fewest letters and digits of an id or a title that is searched for in texts: "12" is in many."""


def group_key(text: str) -> str:
    """The words of a text without case, punctuation and spacing: needs with equal keys are always in one split.

    A text without any word (":-)") is its own key.
    """
    plain = folded(text)
    return " ".join(re.findall(r"\w+", plain)) or plain


def share_problem(shares: Mapping[str, Any]) -> str | None:
    """What is wrong with shares by split, or None."""
    unknown = [split for split in shares if split not in SPLITS]
    if unknown:
        return f"no split {unknown[0]!r}; the splits are {', '.join(SPLITS)}"
    if not all(0 < share <= 1 for share in shares.values()):
        return f"every share must be > 0 and <= 1, got {dict(shares)}; leave out a split that you do not want"
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        return f"the shares must sum to 1, got {sum(shares.values()):g} from {dict(shares)}"
    return None


def hash_split(needs: Sequence[Need], shares: Mapping[str, float], seed: int) -> dict[str, list[Need]]:
    """The needs by split, each split in the order given.

    A need's split depends only on the seed and its text, not on the order of the file or on other needs, and needs of
    equal text (see `group_key`) are in one split. So shares are met on average.
    """
    assert share_problem(shares) is None, share_problem(shares)
    # In the order of SPLITS: the order of a recipe's keys must not matter.
    names = [split for split in SPLITS if split in shares]
    ends = list(accumulate(shares[name] for name in names))[:-1]  # the last one takes the rest, whatever the rounding
    splits: dict[str, list[Need]] = {name: [] for name in names}
    for need in needs:
        splits[names[bisect_right(ends, unit_hash(seed, group_key(need.text)))]].append(need)
    return splits


def without_leaks(splits: Mapping[str, Sequence[Need]]) -> dict[str, list[Need]]:
    """The same splits without the needs whose text is also in a later one: test before validation before training."""
    kept: dict[str, list[Need]] = {}
    held_out: set[str] = set()
    for split in reversed([split for split in SPLITS if split in splits]):
        kept = {split: [need for need in splits[split] if group_key(need.text) not in held_out], **kept}
        held_out.update(group_key(need.text) for need in kept[split])
    return kept


def sample(needs: Sequence[Need], count: int, seed: int) -> list[Need]:
    """At most `count` of the needs, chosen by hash, in the order given; a larger count keeps those of a smaller one."""
    chosen = {need.id for need in sorted(needs, key=lambda need: (unit_hash(seed, need.id), need.id))[:count]}
    return [need for need in needs if need.id in chosen]


def unit_hash(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on seed and key only, not on process, platform or Python version."""
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True)
class Overlap:
    """What two splits have in common; `size` is the number of needs of the second, which must not know the first.

    `ids` are in both. `equal` are texts of the second that are in the first too, ignoring case and punctuation; `near`
    are texts of the second with nearly the words of one of the first, and equal to none. `targets` are best items of
    needs of the second, `shared_targets` of which are best items of the first.
    """

    one: str
    other: str
    size: int
    ids: Sequence[str]
    equal: Sequence[str]
    near: Sequence[str]
    targets: int
    shared_targets: int

    @property
    def pair(self) -> str:
        """Both names, as messages say them."""
        return f"{self.one} and {self.other}"

    def leaks(self) -> list[str]:
        """Why the second split does not measure what it should; empty if it does."""
        found = []
        if self.ids:
            what = f"{len(self.ids)} need ids appear in both {self.pair} ({examples(self.ids)})"
            found.append(f"{what}: rename or remove them")
        if self.equal:
            what = f"{len(self.equal)} of {self.size} needs of {self.other} appear with the same text in {self.one}"
            found.append(f"{what} ({examples(self.equal, 2)}): the split would test memory; split by text, not by line")
        if len(self.near) >= WRONG * self.size > 0:
            found.append(self._nearly())
        return found

    def remarks(self) -> list[str]:
        """What is worth a remark but not a leak."""
        return [self._nearly()] if WORTH_A_WORD * self.size <= len(self.near) < WRONG * self.size else []

    def counts(self) -> dict[str, int]:
        """The numbers, for `run.json`."""
        return {
            "equal_ids": len(self.ids),
            "equal_needs": len(self.equal),
            "near_equal_needs": len(self.near),
            "targets": self.targets,
            "shared_targets": self.shared_targets,
        }

    def _nearly(self) -> str:
        what = f"{len(self.near)} of {self.size} needs of {self.other} have nearly the same words as one in {self.one}"
        return f"{what} ({examples(self.near, 2)}): keep variants of a need in one split"


def find_overlaps(task: Task) -> list[Overlap]:
    """What every two splits of a task have in common, the earlier split first."""
    pairs = combinations(splits_of(task).items(), 2)
    return [_overlap(task, one, needs, other, others) for (one, needs), (other, others) in pairs]


def refuse_leaks(overlaps: Sequence[Overlap], *, accepted: bool) -> dict[str, Any]:
    """What `run.json` says of the splits; raises `UserError` for a leak that the recipe does not accept."""
    leaks = [leak for overlap in overlaps for leak in overlap.leaks()]
    if leaks and not accepted:
        lines = "".join(f"\n  {leak}" for leak in leaks)
        raise UserError(
            f"the splits share needs:{lines}\ncorrect the data, or accept it with evaluate.accept_leaks=true: then the "
            "run and all its reports say so"
        )
    return {"accepted": leaks, "pairs": {overlap.pair: overlap.counts() for overlap in overlaps}}


def _overlap(task: Task, one: str, needs: Sequence[Need], other: str, others: Sequence[Need]) -> Overlap:
    texts = {group_key(need.text) for need in needs}
    ids = sorted({need.id for need in needs} & {need.id for need in others})
    equal = [need.text for need in others if group_key(need.text) in texts]
    near = [need.text for need in near_equal(needs, others) if group_key(need.text) not in texts]
    targets = _targets(task, others)
    return Overlap(one, other, len(others), ids, equal, near, len(targets), len(targets & _targets(task, needs)))


def near_equal(needs: Sequence[Need], others: Sequence[Need], least: float = NEAR) -> Iterator[Need]:
    """The `others` whose set of words has a Jaccard similarity of at least `least` with that of some need; exact.

    Needs with a history are left out: a history that grew by an item is another need.
    Two such sets share one of the rarest words of each, so only these are looked up (prefix filtering:
    Chaudhuri, Ganti, Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006).
    """
    others = [need for need in others if not need.history]
    sets, probes = ([frozenset(re.findall(r"\w+", folded(n.text))) for n in split] for split in (needs, others))
    frequency = Counter(token for tokens in (*sets, *probes) for token in tokens)

    def rarest(tokens: frozenset[str]) -> list[str]:
        ordered = sorted(tokens, key=lambda token: (frequency[token], token))
        return ordered[: len(tokens) - math.ceil(least * len(tokens)) + 1]

    holders: dict[str, list[int]] = defaultdict(list)
    for place, tokens in enumerate(sets):
        for token in rarest(tokens):
            holders[token].append(place)
    for need, tokens in zip(others, probes, strict=True):
        places = {place for token in rarest(tokens) for place in holders.get(token, ())}
        if any(len(tokens & sets[place]) >= least * len(tokens | sets[place]) for place in places):
            yield need


def copied(texts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[int]:
    """The places of texts that hold one of their answers as consecutive words, ignoring case and punctuation.

    Answers are ids or titles; those of fewer than `TELLING` letters and digits are left out.
    """
    found = []
    for place, (text, keys) in enumerate(zip(texts, answers, strict=True)):
        words = words_of(text)
        if any(len("".join(name)) >= TELLING and says(words, name) for name in map(words_of, keys)):
            found.append(place)
    return found


def _targets(task: Task, needs: Sequence[Need]) -> set[int]:
    """The items of the highest grade of each need's answer key."""
    keys = (task.qrels.get(need.id) for need in needs)
    return {row for key in keys if key for row in key.rows_J[key.grades_J == key.grades_J.max()].tolist()}
