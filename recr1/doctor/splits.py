"""Are the splits apart? Needs that stand in two of them, or almost; and targets that they share."""

from __future__ import annotations

from typing import Any

from recr1.doctor.base import Finding, Patient, Symptom, finding
from recr1.tasks.leaks import find_overlaps


def splits(patient: Patient) -> Finding:
    """No need of one split stands in another, by id, by text or almost; shared targets are counted."""
    overlaps = find_overlaps(patient.env.task)
    symptoms = [Symptom("error", leak) for overlap in overlaps for leak in overlap.leaks()]
    symptoms += [Symptom("warning", remark) for overlap in overlaps for remark in overlap.remarks()]
    numbers: dict[str, Any] = {"needs": {split: len(needs) for split, needs in patient.splits.items()}}
    numbers |= {overlap.pair: overlap.counts() for overlap in overlaps}
    nearly = sum(len(overlap.near) for overlap in overlaps)
    reported = "; ".join(f"{overlap.pair} {overlap.shared_targets} of {overlap.targets}" for overlap in overlaps)
    fine = f"no need stands in two splits, {nearly or 'none'} almost (targets in common: {reported or 'one split'})"
    return finding("splits", symptoms, fine, numbers)
