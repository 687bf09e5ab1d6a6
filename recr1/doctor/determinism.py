"""Does the same query find the same, whenever and in whatever company?"""

from __future__ import annotations

import numpy as np

from recr1.doctor.base import Finding, Patient, Symptom, finding
from retrievers.base import Hits

CLOSE = 1e-4
"""Scores this near, as a share of a query's highest, may change places: sums in another order round otherwise."""


def deterministic(patient: Patient) -> Finding:
    """The same hits for the same queries: twice, in another order, and one by one."""
    queries = list(dict.fromkeys([need.text for need in patient.judged] + [patient.titles[r] for r in patient.probes]))
    queries = patient.some(queries, "deterministic")
    first, again = patient.search(queries), patient.search(queries)
    backwards = patient.search(queries[::-1])
    singly = [patient.search([query]) for query in queries[:10]]
    others = {
        "when they are searched again": again,
        "in another order of the batch": Hits(backwards.rows_QK[::-1], backwards.scores_QK[::-1]),
        "when they are searched one by one": Hits(*(np.concatenate(parts) for parts in zip(*singly, strict=True))),
    }
    symptoms, changed = [], {}
    for how, hits in others.items():
        part = Hits(first.rows_QK[: len(hits.rows_QK)], first.scores_QK[: len(hits.rows_QK)])
        differ = (part.rows_QK != hits.rows_QK).any(axis=1)
        far = differ & ~_close(part, hits)
        changed[how] = int(differ.sum())
        if far.any():
            what = f"{far.sum()} of {len(far)} queries find something else {how}"
            symptoms.append(Symptom("error", f"{what}: a reward would be chance; seed the engine, use one replica"))
        elif differ.any():
            what = f"{differ.sum()} of {len(differ)} queries find items of almost equal score in another order {how}"
            symptoms.append(Symptom("warning", f"{what}: break ties by row, as retrievers.topk does"))
    fine = f"{len(queries)} queries find the same twice, in another order and one by one"
    return finding("deterministic", symptoms, fine, {"queries": len(queries), "changed": changed})


def _close(one: Hits, other: Hits) -> np.ndarray:
    """(Q,) whether the scores agree in every place, so that only near ties can have changed places."""
    slack_Q1 = CLOSE * np.maximum(np.abs(one.scores_QK[:, :1]), 1e-30)
    both = np.isfinite(one.scores_QK) & np.isfinite(other.scores_QK)
    apart = np.abs(np.where(both, one.scores_QK, 0) - np.where(both, other.scores_QK, 0)) > slack_Q1
    lengths = np.isfinite(one.scores_QK) != np.isfinite(other.scores_QK)
    close: np.ndarray = ~(apart | lengths).any(axis=1)
    return close
