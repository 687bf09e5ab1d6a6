"""Which need is for training, which chooses the checkpoint and which is kept for the end."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from recr1.tasks.base import SPLITS
from rewards.base import Need

DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def group_key(text: str) -> str:
    """Words alone, without case, punctuation or spacing: needs with one key are one need to a split.

    A text without any word (":-)") is its own key.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain)) or plain


def share_problem(shares: Mapping[str, Any]) -> str | None:
    """What is wrong with shares by split, in words, or None."""
    unknown = [split for split in shares if split not in SPLITS]
    if unknown:
        return f"no split is called {unknown[0]!r}: give shares of {', '.join(SPLITS)}"
    if not all(0 < share <= 1 for share in shares.values()):
        return f"every share must be above 0 and at most 1, got {dict(shares)}; leave out a split that you do not want"
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        return f"the shares must sum to 1, got {sum(shares.values()):g} from {dict(shares)}"
    return None


def hash_split(needs: Sequence[Need], shares: Mapping[str, float], seed: int) -> dict[str, list[Need]]:
    """The needs by split, each split in the order given.

    A need's split follows from the seed and its text alone: it stays the same whatever the order of the file and
    whatever is added to it, and needs of equal text (see `group_key`) are never apart. So shares are met on average.
    """
    assert share_problem(shares) is None, share_problem(shares)
    # In the order of SPLITS, not of the mapping: the order of a recipe's keys must not matter.
    ordered = {split: shares[split] for split in SPLITS if split in shares}
    splits: dict[str, list[Need]] = {split: [] for split in ordered}
    for need in needs:
        splits[_split_at(unit_hash(seed, group_key(need.text)), ordered)].append(need)
    return splits


def without_leaks(splits: Mapping[str, Sequence[Need]]) -> dict[str, list[Need]]:
    """The same splits, less every need whose text is also in a later one: test before validation before training."""
    kept: dict[str, list[Need]] = {}
    held_out: set[str] = set()
    for split in reversed(SPLITS):
        if split in splits:
            kept[split] = [need for need in splits[split] if group_key(need.text) not in held_out]
            held_out.update(group_key(need.text) for need in kept[split])
    return {split: kept[split] for split in SPLITS if split in kept}


def sample(needs: Sequence[Need], count: int, seed: int) -> list[Need]:
    """At most `count` of the needs, chosen by hash and in the order given; a larger count keeps every smaller one's."""
    chosen = {need.id for need in sorted(needs, key=lambda need: (unit_hash(seed, need.id), need.id))[:count]}
    return [need for need in needs if need.id in chosen]


def unit_hash(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on the two alone: not on the process, the platform or the Python version."""
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def _split_at(place: float, shares: Mapping[str, float]) -> str:
    """The split in whose stretch of [0, 1) a place lies, the stretches being laid end to end."""
    end = 0.0
    for split, share in shares.items():
        end += share
        if place < end:
            return split
    return split  # the shares may sum to a hair less than 1
