"""Does the index belong to the catalog, and do items answer to their names?"""

from __future__ import annotations

from collections import Counter

import numpy as np

from recr1.doctor.base import Finding, Patient, Symptom, finding, graded
from recr1.errors import examples

FIRST = 10
"""A title should find its item among so many; in a small catalog, among the first tenth."""


def index(patient: Patient) -> Finding:
    """The index opens, holds the whole catalog, and its rows are the catalog's."""
    catalog, probes = patient.catalog, np.array(patient.probes, np.int64)
    symptoms = []
    empty = [catalog.ids[row] for row, title in enumerate(patient.titles) if not (title or catalog.texts[row].strip())]
    if empty:
        what = (
            f"{len(empty)} items have neither title nor text ({examples(empty)}): no query can find them; fill or drop"
        )
        symptoms.append(Symptom("warning", f"{what} them"))
    if len(probes) == 0:
        symptoms.append(Symptom("error", "no item has a title or a text: name the columns in the task's options"))
    else:
        symptoms += _shifted(probes, patient.title_hits.rows_QK[:, 0]) or _cut_off(patient, probes)
    opened = {f"{what}_seconds": round(seconds, 3) for what, seconds in patient.opened.items()}
    numbers = {"items": len(catalog), "catalog": catalog.fingerprint, "empty_items": len(empty), **opened}
    took = f", open after {patient.opened['index']:.1f} s" if "index" in patient.opened else ""
    notes = [f"checks look at {patient.sample} of each kind, because a search takes long"] * patient.cut
    notes += ["the retriever is examined without its cache"] * patient.without_cache
    fine = "; ".join([f"{len(catalog)} items{took}; the index matches the catalog", *notes])
    return finding("index", symptoms, fine, numbers | {"sample": patient.sample})


def _shifted(probes: np.ndarray, first: np.ndarray) -> list[Symptom]:
    """Whether most titles find the item a fixed number of rows away."""
    offsets = Counter((first - probes)[first >= 0].tolist())
    offset, count = offsets.most_common(1)[0] if offsets else (0, 0)
    if offset == 0 or count < max(3, 0.5 * len(probes)):
        return []
    rows = "1 row" if abs(offset) == 1 else f"{abs(offset)} rows"
    what = f"{count} of {len(probes)} titles find the item {rows} {'below' if offset > 0 else 'above'} their own"
    return [Symptom("error", f"{what}: the index is of a catalog in another order; build it from this one")]


def _cut_off(patient: Patient, probes: np.ndarray) -> list[Symptom]:
    """Whether the last rows of the catalog are missing from what titles find."""
    found = found_in(patient, len(patient.titles))
    late = probes >= 0.9 * len(patient.catalog)
    if late.sum() < 3 or found[late].mean() >= 0.5 or found[~late].mean() < 0.8:
        return []
    what = f"the items of the last tenth of the catalog are not found ({found[late].mean():.0%} of them are)"
    return [Symptom("error", f"{what}: the index is older or shorter than the catalog; build it again")]


def titles(patient: Patient) -> Finding:
    """A title used as query finds its item."""
    depth = min(FIRST, max(1, len(patient.catalog) // 10), patient.env.k)
    found = found_in(patient, depth)
    share = float(found.mean()) if len(found) else 0.0
    first = float(found_in(patient, 1).mean()) if len(found) else 0.0
    missing = [patient.catalog.ids[row] for row, hit in zip(patient.probes, found, strict=True) if not hit]
    numbers = {"titles": len(found), "depth": depth, "found": share, "found_first": first, "missing": missing}
    verdict = graded(share, warn_below=0.9, fail_below=0.5)
    among = "first" if depth == 1 else f"among the first {depth}"
    message = f"{share:.0%} of {len(found)} titles find their item {among}"
    if verdict == "ok":
        return Finding("titles", verdict, message, numbers)
    remedy = (
        "look at one with `recr1 search`, then at the fields that the retriever searches and how its ids become rows"
    )
    unparsed = patient.unparsed([patient.titles[row] for row in patient.probes])
    if unparsed:
        remedy = f"{unparsed} of the titles do not parse in the retriever's syntax, and then find nothing; {remedy}"
    return Finding("titles", verdict, f"only {message}; not {examples(missing)}: {remedy}", numbers)


def found_in(patient: Patient, depth: int) -> np.ndarray:
    """(R,) whether each probe's title found its item, or one of the same title, in the first `depth` places."""
    names = patient.titles
    hits = patient.title_hits.rows_QK[:, :depth]
    return np.array(
        [
            any(int(hit) == row or names[hit].lower() == names[row].lower() for hit in rows_K if hit >= 0)
            for row, rows_K in zip(patient.probes, hits, strict=True)
        ],
        bool,
    )
