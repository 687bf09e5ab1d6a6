"""What a comparison holds of a slice of its needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recr1.evaluate.slices import Slice
from recr1.judge.stats import bootstrap_interval

if TYPE_CHECKING:
    from recr1.compare.entry import Entry


def slice_mapping(part: Slice, entries: Sequence[Entry], measure: str, seed: int) -> dict[str, Any]:
    """What `compare.json` holds of a slice: each policy's mean and its difference to the first, with own intervals."""
    base = entries[0].per_need(measure)[part.rows]
    means = {entry.label: entry.per_need(measure)[part.rows] for entry in entries}
    return {
        "by": part.by,
        "name": part.name,
        "needs": len(part.rows),
        "rows": part.rows.tolist(),
        "policies": {label: bootstrap_interval(values, seed=seed)._asdict() for label, values in means.items()},
        "differences": {
            label: bootstrap_interval(values - base, seed=seed)._asdict() for label, values in list(means.items())[1:]
        },
    }
