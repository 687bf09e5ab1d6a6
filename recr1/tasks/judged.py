"""A task that files judge: which need is in which split, what is left out and counted, and the answer keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from recr1.errors import DataError, UserError, shown
from recr1.formats import Format
from recr1.tasks.base import SPLITS
from recr1.tasks.splits import DEFAULT_SHARES, hash_split, sample, without_leaks
from retrievers.base import Catalog
from retrievers.options import did_you_mean
from rewards.base import Need, Qrels

ALL = "all"
"""The key of needs from a single qrels file, before they are split."""

Judgements: TypeAlias = Mapping[str, Mapping[str, Mapping[int, int]]]
"""Split, or `ALL` -> need id -> catalog row -> grade."""


class JudgedTask:
    """A task whose subclass reads the files, sets the other attributes, and gives `settle` what they say.

    Attributes:
        counts: what was left out, merged, moved or missing -> how many; nothing that did not occur.
        text_fields: the fields that together are an item's text.
    """

    catalog: Catalog
    format: Format
    qrels: Mapping[str, Qrels]
    counts: Mapping[str, int]
    text_fields: Sequence[str]
    _needs: Mapping[str, Sequence[Need]]

    def settle(
        self,
        judged: Judgements,
        needs: Mapping[str, Need],
        paths: Mapping[str, Path],
        counts: Counter[str],
        *,
        worth: Mapping[int, float] | None = None,
        shares: Mapping[str, float] | None = None,
        seed: int = 0,
        max_needs: int | None = None,
        refuse_without_positive: bool = False,
    ) -> None:
        """Sets `qrels`, `counts` and the needs of each split; `paths` are the files that errors name, by split.

        `worth` is positive grade -> gain. Raises `DataError` for an empty split.
        """
        grades = {need: key for answers in judged.values() for need, key in answers.items()}
        positive = {
            split: [need for need in needs.values() if max(answers.get(need.id, {}).values(), default=0) > 0]
            for split, answers in judged.items()
        }
        if refuse_without_positive:
            _refuse_without_positive(judged, positive, needs, paths)
        by_split = _assign(positive, shares or DEFAULT_SHARES, seed)
        _refuse_empty(by_split, paths)
        kept = by_split
        if max_needs is not None:
            kept = {split: sample(members, max_needs, seed) for split, members in by_split.items()}
        counts["needs left out, no positive grade"] = len(grades) - _count(positive)
        counts["needs left out, not judged"] = len(needs) - len(grades)
        counts["needs left out, same text as a need of a later split"] = _count(positive) - _count(by_split)
        counts["needs left out, beyond max_needs"] = _count(by_split) - _count(kept)
        if ALL not in paths and "validation" not in paths:
            counts["needs moved from train to validation"] = len(by_split.get("validation", ()))
        self.counts = {what: count for what, count in counts.items() if count}
        self._needs = {split: tuple(members) for split, members in kept.items()}
        chosen = [need.id for members in kept.values() for need in members]
        self.qrels = {need: Qrels(grades[need], worth) for need in chosen}

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split, in the order of their file; raises `UserError` for a split that does not exist."""
        if split not in self._needs:
            known = ", ".join(self._needs)
            raise UserError(f"no split {split!r} in this data{did_you_mean(split, self._needs)}; it has: {known}")
        return self._needs[split]


def _refuse_without_positive(
    judged: Judgements, positive: Mapping[str, Sequence[Need]], needs: Mapping[str, Need], paths: Mapping[str, Path]
) -> None:
    for split, answers in judged.items():
        good = {need.id for need in positive[split]}
        # A need in none of several split files is in no split on purpose; one missing from the only file is an error.
        asked = list(needs if split == ALL else answers)
        lacking = [need for need in asked if need not in good]
        if lacking:
            first = ", ".join(map(shown, lacking[:3])) + (", ..." if len(lacking) > 3 else "")
            what = f"{len(lacking):,} of {len(asked):,} needs have no positive grade ({first})"
            raise DataError(paths[split], None, f"{what}: judge them, or leave them out with without_positive: exclude")


def _assign(
    positive: Mapping[str, Sequence[Need]], shares: Mapping[str, float], seed: int
) -> Mapping[str, Sequence[Need]]:
    """The needs by split: by hash from one file, or by several files, then validation from train if it has no file."""
    if ALL in positive:
        return hash_split(positive[ALL], shares, seed)
    splits = without_leaks(positive)
    cut = {split: shares[split] for split in ("train", "validation") if split in shares}
    if len(cut) == 2 and "validation" not in splits and "train" in splits:
        cut = {split: share / sum(cut.values()) for split, share in cut.items()}
        splits |= hash_split(splits["train"], cut, seed)
    return {split: splits[split] for split in SPLITS if split in splits}


def _refuse_empty(by_split: Mapping[str, Sequence[Need]], paths: Mapping[str, Path]) -> None:
    empty = next((split for split, members in by_split.items() if not members), None)
    if empty and empty in paths:
        what = f"the split {empty!r} is empty: no need has a positive grade and a text that no later split has"
        raise DataError(paths[empty], None, f"{what} (judge more needs, or remove the file)")
    if empty:
        what = f"the split {empty!r} is empty: none of {_count(by_split):,} needs fell into its share"
        remedy = "give it a larger share, or leave it out"
        raise DataError(paths.get(ALL) or paths["train"], None, f"{what} ({remedy})")


def _count(splits: Mapping[str, Sequence[Need]]) -> int:
    return sum(len(members) for members in splits.values())
