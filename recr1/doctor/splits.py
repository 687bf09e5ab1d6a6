"""Splits: does one contain the needs of another, and are they of one kind?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from recr1.doctor.base import Fault, Faults, Finding, Setup, finding
from recr1.doctor.texts import ENOUGH
from recr1.tasks.splits import WRONG, find_overlaps, group_key
from rewards.base import Need

SHORTEST = 8
"""Letters of a need in which a typing error is looked for: shorter words are often one letter apart."""


def splits(setup: Setup) -> Finding:
    """No need appears in two splits, by id, by text or nearly, and the splits are of one size and kind.

    Shared targets are counted. Thresholds: needs that are one typing error away from one of an earlier split: three,
    and 2%; an error from a fifth. A split of fewer than 20 needs beside one of ten times as many. Half of all needs
    left out. Where two splits have 20 needs or more: three times as many words in a need, on average four times as many
    judgements of one, or another highest grade.
    """
    faults, overlaps = Faults(), find_overlaps(setup.env.task)
    faults.problems += [Fault("error", leak) for overlap in overlaps for leak in overlap.leaks()]
    faults.problems += [Fault("warning", remark) for overlap in overlaps for remark in overlap.remarks()]
    for (one, needs), (other, others) in combinations(setup.splits.items(), 2):
        if len(edited := _edited(needs, others)) >= 3:
            what = f"needs of {other} are one typing error away from one of {one} {{}}: keep variants in one split"
            faults.share("edited needs", edited, len(others), what, warn=0.02, fail=WRONG)
    sizes = {split: len(needs) for split, needs in setup.splits.items()}
    _sizes(faults, setup, sizes)
    _kinds(faults, setup)
    numbers: dict[str, Any] = {"needs": sizes} | faults.numbers
    numbers |= {overlap.pair: overlap.counts() for overlap in overlaps}
    nearly = sum(len(overlap.near) for overlap in overlaps)
    shared = "; ".join(f"{overlap.pair} {overlap.shared_targets} of {overlap.targets}" for overlap in overlaps)
    ok = f"no need is in two splits, {nearly or 'none'} nearly (shared targets: {shared or 'there is one split'})"
    return finding("splits", faults.problems, ok, numbers)


def _sizes(faults: Faults, setup: Setup, sizes: Mapping[str, int]) -> None:
    """Splits too small to measure anything, and needs that are in none."""
    for split, size in sizes.items():
        if size < ENOUGH and 10 * size <= max(sizes.values()):
            what = f"{split} has {size} needs beside {max(sizes.values())}: judge more of its needs, or split anew"
            faults.add("small split", "warning", what)
    without = sum(setup.env.task.counts.get(f"needs left out, {why}", 0) for why in ("not judged", "no positive grade"))
    if without >= len(setup.needs) > 0:
        what = f"{without} of {without + len(setup.needs)} needs are left out, since nothing is relevant to them"
        faults.add("unjudged needs", "warning", f"{what}: judge more needs, or see whether the ids are the same")


def _kinds(faults: Faults, setup: Setup) -> None:
    """Splits whose needs or judgements are of another kind than those of another split."""
    qrels = setup.env.task.qrels
    kinds: dict[str, tuple[float, float, int]] = {}
    for split, needs in setup.splits.items():
        keys = [key for need in needs if (key := qrels.get(need.id))]
        if len(keys) >= ENOUGH:
            words, judged = np.mean([len(need.text.split()) for need in needs]), np.mean([len(key) for key in keys])
            kinds[split] = float(words), float(judged), max(int(key.grades_J.max()) for key in keys)
    for (one, first), (other, second) in combinations(kinds.items(), 2):
        for place, factor, name, what in (
            (0, 3, "unlike needs", "words"),
            (1, 4, "thin split", "judgements"),
        ):
            if max(first[place], second[place]) >= factor * min(first[place], second[place]):
                numbers = f"{first[place]:.1f} {what} in {one}, {second[place]:.1f} in {other}"
                remedy = "what is learned on one may not be measured on the other"
                faults.add(name, "warning", f"a need has on average {numbers}: {remedy}")
        if first[2] != second[2]:
            what = f"the highest grade is {first[2]} in {one} and {second[2]} in {other}: use one scale"
            faults.add("other grades", "warning", what)


def _edited(needs: Sequence[Need], others: Sequence[Need]) -> list[str]:
    """The others that become one of the needs if one letter is added, removed or changed, ignoring case; no digits.

    Two such texts have a text in common if one letter of each is left out, or of one.
    """
    texts = {key: need.text for need in others if len(key := group_key(need.text)) >= SHORTEST}
    known = {key for need in needs if len(key := group_key(need.text)) >= SHORTEST}
    variants: dict[str, list[str]] = {}
    for key in texts.keys() - known:
        for variant in (key, *_without_a_letter(key)):
            variants.setdefault(variant, []).append(key)
    near = (variant for key in known for variant in (key, *_without_a_letter(key)) if variant in variants)
    found = {key for variant in near for key in variants[variant]}
    return [text for key, text in texts.items() if key in found]


def _without_a_letter(text: str) -> Iterator[str]:
    """But no digit, and no sign of a script in which each is a word or a syllable: those are no typing errors."""
    return (text[:at] + text[at + 1 :] for at, letter in enumerate(text) if letter.isalpha() and letter < "\u3041")
