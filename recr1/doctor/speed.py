"""Is the retriever fast beside a training step, from the first call to the last?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from time import perf_counter

import numpy as np

from recr1.doctor.base import Fault, Finding, Setup, finding

SECONDS = 4.0
"""Time limit for single queries, and for batches."""
SLOW, TOO_SLOW = 0.1, 0.5
"""Shares of a training step above which a search is a warning, and an error."""


def latency(setup: Setup) -> Finding:
    """p50 and p95 of a query and of a batch, and the share of a training step that a batch takes.

    Slower with each call, an error: the fastest of each fifth of the single queries takes longer than that of the fifth
    before, in the end a quarter longer, and in a second round again (other processes may do that to one); or the
    fastest of all takes ten times as long, and 10 ms more, than at the start. A first call that is 20 times as long as
    others is a warning, if it computes for two training steps, or takes a second of which the processor works for less
    than 2%: it waits for something.
    """
    queries = _queries(setup)
    setup.search(queries[: setup.batch])  # compiling, connecting and warming up are not measured
    alone: list[Callable[[], object]] = [partial(setup.search, [text]) for text in queries[:100]]
    singly = _times(alone)
    rises = _rise(singly) and _rise(_times(alone))
    batches = [queries[place : place + setup.batch] for place in range(0, len(queries), setup.batch)]
    together = _times([partial(setup.search, texts) for texts in batches])
    query, batch = (np.percentile(seconds, [50, 95]).tolist() for seconds in (singly, together))
    share = float(batch[0] / (batch[0] + setup.step_seconds))
    ok = (
        f"a query takes {_duration(query[0])} (p95 {_duration(query[1])}), a batch of {setup.batch} "
        f"{_duration(batch[0])} (p95 {_duration(batch[1])}): {share:.1%} of a training step whose other parts take "
        f"{setup.step_seconds:g} s"
    )
    problems = []
    if share >= SLOW:
        what = f"{ok}; the GPU waits for it: use a faster retriever, a smaller k, or a machine closer to the engine"
        problems.append(Fault("error" if share >= TOO_SLOW else "warning", what))
    first, early = setup.opened.get("first", 0.0), setup.opened.get("query", np.inf)
    if rises or min(singly) >= max(10 * early, early + 0.01):
        start = f"{_duration(early if early < np.inf else singly[0])} at the start, {_duration(singly[-1])} now"
        what = f"searches get slower with each call ({start})"
        problems.append(Fault("error", f"{what}: look for connections and memory that are kept"))
    busy = setup.opened.get("first_busy", 0.0)
    if first >= 20 * early and (busy >= 2 * setup.step_seconds or first >= max(1, 50 * busy)):
        what = f"the first call takes {_duration(first)}, later ones {_duration(early)} for each query"
        problems.append(Fault("warning", f"{what}: load, connect and compile when the retriever is built"))
    numbers = {"batch": setup.batch, "step_seconds": setup.step_seconds, "share_of_step": share}
    for name, (median, high) in (("query", query), ("batch", batch)):
        numbers |= {f"{name}_p50_ms": median * 1000, f"{name}_p95_ms": high * 1000}
    return finding("latency", problems, ok, numbers)


def _rise(seconds: list[float]) -> bool:
    """Whether times rise with the number of the call; the fastest of some is not disturbed by other processes."""
    fastest = [min(part) for part in np.array_split(seconds, 5)] if len(seconds) >= 20 else [0.0]
    return fastest == sorted(set(fastest)) and fastest[-1] > 1.25 * fastest[0]


def _queries(setup: Setup) -> list[str]:
    """Ten batches of different queries about as long as needs are: raw needs, then titles."""
    wanted = 10 * setup.batch
    needs = list(dict.fromkeys(need.text for need in setup.needs if need.text.strip()))
    names = [title for title in setup.titles if title]
    texts = [*needs[: wanted // 2], *setup.rng("latency").permutation(names[: 10 * wanted])[:wanted].tolist()]
    return list(islice(cycle(texts), wanted))


def _times(calls: list[Callable[[], object]]) -> list[float]:
    """Seconds of each call; stops after `SECONDS`, but not before the second call."""
    seconds: list[float] = []
    for call in calls:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
        if len(seconds) >= 2 and sum(seconds) > SECONDS:
            break
    return seconds


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
