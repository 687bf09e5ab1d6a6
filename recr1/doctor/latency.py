"""How long does a search take, beside the training step that waits for it?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter

import numpy as np

from recr1.doctor.base import Finding, Patient, Verdict

SECONDS = 4.0
"""Spent at most on single queries, and on batches."""
SLOW, TOO_SLOW = 0.1, 0.5
"""Shares of a training step that a search may take before it is worth a word, and before it is wrong."""


def latency(patient: Patient) -> Finding:
    """p50 and p95 of a query and of a batch, and the share of a training step that a batch will be."""
    queries = _queries(patient)
    patient.search(queries[: patient.batch])  # compiles, opens and warms what there is
    query = _times([lambda text=text: patient.search([text]) for text in queries[:100]])  # type: ignore[misc]
    batches = [queries[place : place + patient.batch] for place in range(0, len(queries), patient.batch)]
    batch = _times([lambda texts=texts: patient.search(texts) for texts in batches])  # type: ignore[misc]
    share = float(batch[0] / (batch[0] + patient.step_seconds))
    verdict: Verdict = "error" if share >= TOO_SLOW else "warning" if share >= SLOW else "ok"
    message = (
        f"a query takes {_readable(query[0])} (p95 {_readable(query[1])}), a batch of {patient.batch} "
        f"{_readable(batch[0])} (p95 {_readable(batch[1])}): {share:.1%} of a training step, if its other parts take "
        f"{patient.step_seconds:g} s"
    )
    if verdict != "ok":
        message += "; the GPU waits for it: take a faster retriever, a smaller k, or a machine nearer to the engine"
    numbers = {
        "query_p50_ms": query[0] * 1000,
        "query_p95_ms": query[1] * 1000,
        "batch": patient.batch,
        "batch_p50_ms": batch[0] * 1000,
        "batch_p95_ms": batch[1] * 1000,
        "step_seconds": patient.step_seconds,
        "share_of_step": share,
    }
    return Finding("latency", verdict, message, numbers)


def _queries(patient: Patient) -> list[str]:
    """Ten batches of different queries about as long as needs are: raw needs, then words of titles."""
    rng = patient.rng("latency")
    wanted = 10 * patient.batch
    needs = list(dict.fromkeys(need.text for need in patient.needs if need.text.strip()))
    titles = [title for title in patient.titles if title]
    texts = [*needs[: wanted // 2], *rng.permutation(titles[: 10 * wanted])[:wanted].tolist()]
    return list(islice(cycle(texts), wanted))


def _times(calls: list[Callable[[], object]]) -> tuple[float, float]:
    """Median and 95th percentile of seconds; stops at `SECONDS`, not before the second call."""
    seconds: list[float] = []
    for call in calls:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
        if len(seconds) >= 2 and sum(seconds) > SECONDS:
            break
    return float(np.percentile(seconds, 50)), float(np.percentile(seconds, 95))


def _readable(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
