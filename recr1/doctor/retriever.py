"""The retriever on known items: does the index belong to the catalog, are results stable, and is it fast?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter

import numpy as np

from recr1.doctor.base import Fault, Finding, Setup, Verdict, finding, graded
from recr1.errors import examples
from retrievers.base import Hits

FIRST = 10
"""A title should find its item within this rank; in a small catalog, within the first tenth."""
CLOSE = 1e-4
"""Scores this close, as a share of a query's highest, may change places: another order of addition rounds otherwise."""
SECONDS = 4.0
"""Time limit for single queries, and for batches."""
SLOW, TOO_SLOW = 0.1, 0.5
"""Shares of a training step above which a search is a warning, and an error."""


def index(setup: Setup) -> Finding:
    """The index opens, holds the whole catalog, and its rows are the catalog's."""
    catalog, probes = setup.catalog, np.array(setup.probes, np.int64)
    problems = []
    empty = [catalog.ids[row] for row, title in enumerate(setup.titles) if not (title or catalog.texts[row].strip())]
    if empty:
        what = f"{len(empty)} items have neither title nor text ({examples(empty)})"
        problems.append(Fault("warning", f"{what}: no query can find them; add texts, or drop these items"))
    if len(probes) == 0:
        problems.append(Fault("error", "no item has a title or a text: name the columns in the task's options"))
    else:
        problems += _shifted(probes, setup.title_hits.rows_QK[:, 0]) or _cut_off(setup, probes)
    opened = {f"{what}_seconds": round(seconds, 3) for what, seconds in setup.opened.items()}
    numbers = {"items": len(catalog), "catalog": catalog.fingerprint, "empty_items": len(empty), **opened}
    took = f", opened in {setup.opened['index']:.1f} s" if "index" in setup.opened else ""
    notes = [f"the sample is reduced to {setup.sample}, because searches are slow"] * setup.reduced
    notes += ["the retriever is checked without its cache"] * setup.without_cache
    ok = "; ".join([f"{len(catalog)} items{took}; the index matches the catalog", *notes])
    return finding("index", problems, ok, numbers | {"sample": setup.sample})


def _shifted(probes: np.ndarray, first: np.ndarray) -> list[Fault]:
    """Whether most titles find the item a fixed number of rows away."""
    offsets = Counter((first - probes)[first >= 0].tolist())
    offset, count = offsets.most_common(1)[0] if offsets else (0, 0)
    if offset == 0 or count < max(3, 0.5 * len(probes)):
        return []
    rows = "1 row" if abs(offset) == 1 else f"{abs(offset)} rows"
    what = f"{count} of {len(probes)} titles find the item {rows} {'below' if offset > 0 else 'above'} their own"
    return [Fault("error", f"{what}: the index was built from a catalog in another order; build it from this one")]


def _cut_off(setup: Setup, probes: np.ndarray) -> list[Fault]:
    """Whether titles do not find the last rows of the catalog."""
    found = _found_in(setup, len(setup.titles))
    late = probes >= 0.9 * len(setup.catalog)
    if late.sum() < 3 or found[late].mean() >= 0.5 or found[~late].mean() < 0.8:
        return []
    what = f"only {found[late].mean():.0%} of the items in the last tenth of the catalog are found"
    return [Fault("error", f"{what}: the index is older or shorter than the catalog; build it again")]


def titles(setup: Setup) -> Finding:
    """A title used as query finds its item."""
    depth = min(FIRST, max(1, len(setup.catalog) // 10), setup.env.k)
    found = _found_in(setup, depth)
    share = float(found.mean()) if len(found) else 0.0
    first = float(_found_in(setup, 1).mean()) if len(found) else 0.0
    missing = [setup.catalog.ids[row] for row, hit in zip(setup.probes, found, strict=True) if not hit]
    numbers = {"titles": len(found), "depth": depth, "found": share, "found_first": first, "missing": missing}
    verdict = graded(share, warn_below=0.9, fail_below=0.5)
    message = f"{share:.0%} of {len(found)} titles find their item {'first' if depth == 1 else f'in the first {depth}'}"
    if verdict == "ok":
        return Finding("titles", verdict, message, numbers)
    remedy = "look at one with `recr1 search`; check the fields that the retriever searches, and how ids become rows"
    unparsed = setup.unparsed([setup.titles[row] for row in setup.probes])
    if unparsed:
        remedy = f"{unparsed} of the titles do not parse in the retriever's syntax and find nothing; {remedy}"
    return Finding("titles", verdict, f"only {message} (missing: {examples(missing)}): {remedy}", numbers)


def _found_in(setup: Setup, depth: int) -> np.ndarray:
    """(R,) whether each probe's title found its item, or one with the same title, in the first `depth` places."""
    names, probed = setup.titles, zip(setup.probes, setup.title_hits.rows_QK[:, :depth], strict=True)
    return np.array(
        [any(names[hit].lower() == names[row].lower() for hit in rows_K if hit >= 0) for row, rows_K in probed], bool
    )


def deterministic(setup: Setup) -> Finding:
    """The same queries find the same: twice, in another order, and one by one."""
    queries = list(dict.fromkeys([need.text for need in setup.judged_needs] + [setup.titles[r] for r in setup.probes]))
    queries = setup.sampled(queries, "deterministic")
    first, again, backwards = setup.search(queries), setup.search(queries), setup.search(queries[::-1])
    singly = [setup.search([query]) for query in queries[:10]]
    others = {
        "when searched again": again,
        "in another order of the batch": Hits(backwards.rows_QK[::-1], backwards.scores_QK[::-1]),
        "when searched one by one": Hits(*(np.concatenate(parts) for parts in zip(*singly, strict=True))),
    }
    problems, changed = [], {}
    for how, hits in others.items():
        part = Hits(first.rows_QK[: len(hits.rows_QK)], first.scores_QK[: len(hits.rows_QK)])
        differ = (part.rows_QK != hits.rows_QK).any(axis=1)
        far = differ & ~_close(part, hits)
        changed[how] = int(differ.sum())
        if far.any():
            what = f"{far.sum()} of {len(far)} queries find other items {how}"
            problems.append(Fault("error", f"{what}: rewards would be random; seed the engine, or use one replica"))
        elif differ.any():
            what = f"in {differ.sum()} of {len(differ)} queries, items with almost equal scores change places {how}"
            problems.append(Fault("warning", f"{what}: break ties by row, as retrievers.topk does"))
    ok = f"{len(queries)} queries find the same twice, in another order and one by one"
    return finding("deterministic", problems, ok, {"queries": len(queries), "changed": changed})


def _close(one: Hits, other: Hits) -> np.ndarray:
    """(Q,) whether the scores agree in every place, so that only near ties can have changed places."""
    slack_Q1 = CLOSE * np.maximum(np.abs(one.scores_QK[:, :1]), 1e-30)
    both = np.isfinite(one.scores_QK) & np.isfinite(other.scores_QK)
    far = np.abs(np.where(both, one.scores_QK, 0) - np.where(both, other.scores_QK, 0)) > slack_Q1
    lengths = np.isfinite(one.scores_QK) != np.isfinite(other.scores_QK)
    close: np.ndarray = ~(far | lengths).any(axis=1)
    return close


def latency(setup: Setup) -> Finding:
    """p50 and p95 of a query and of a batch, and the share of a training step that a batch takes."""
    queries = _queries(setup)
    setup.search(queries[: setup.batch])  # compiling, connecting and warming up are not measured
    query = _times([lambda text=text: setup.search([text]) for text in queries[:100]])  # type: ignore[misc]
    batches = [queries[place : place + setup.batch] for place in range(0, len(queries), setup.batch)]
    batch = _times([lambda texts=texts: setup.search(texts) for texts in batches])  # type: ignore[misc]
    share = float(batch[0] / (batch[0] + setup.step_seconds))
    verdict: Verdict = "error" if share >= TOO_SLOW else "warning" if share >= SLOW else "ok"
    message = (
        f"a query takes {_duration(query[0])} (p95 {_duration(query[1])}), a batch of {setup.batch} "
        f"{_duration(batch[0])} (p95 {_duration(batch[1])}): {share:.1%} of a training step whose other parts take "
        f"{setup.step_seconds:g} s"
    )
    if verdict != "ok":
        message += "; the GPU waits for it: use a faster retriever, a smaller k, or a machine closer to the engine"
    numbers = {"batch": setup.batch, "step_seconds": setup.step_seconds, "share_of_step": share}
    for what, (median, high) in (("query", query), ("batch", batch)):
        numbers |= {f"{what}_p50_ms": median * 1000, f"{what}_p95_ms": high * 1000}
    return Finding("latency", verdict, message, numbers)


def _queries(setup: Setup) -> list[str]:
    """Ten batches of different queries about as long as needs are: raw needs, then titles."""
    wanted = 10 * setup.batch
    needs = list(dict.fromkeys(need.text for need in setup.needs if need.text.strip()))
    names = [title for title in setup.titles if title]
    texts = [*needs[: wanted // 2], *setup.rng("latency").permutation(names[: 10 * wanted])[:wanted].tolist()]
    return list(islice(cycle(texts), wanted))


def _times(calls: list[Callable[[], object]]) -> tuple[float, float]:
    """Median and 95th percentile of seconds; stops after `SECONDS`, but not before the second call."""
    seconds: list[float] = []
    for call in calls:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
        if len(seconds) >= 2 and sum(seconds) > SECONDS:
            break
    median, high = np.percentile(seconds, [50, 95])
    return float(median), float(high)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
