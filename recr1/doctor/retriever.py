"""The retriever on known items: does the index belong to the catalog, and is what is found in the right order?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from recr1.doctor.base import Fault, Finding, Setup, finding, graded
from recr1.errors import examples
from retrievers.abilities import matches_everything
from retrievers.analyzer import folded, has_word

ROLL, QUICK_ROLL = 5, 25
"""How many times the sample the titles are with which items are looked for that are missing or mixed up; more of them
for an engine of which 2,000 queries a second were answered at the start."""
FIRST = 10
"""A title should find its item within this rank; in a small catalog, within the first tenth."""


def index(setup: Setup) -> Finding:
    """The index opens, holds the whole catalog, and its rows are the catalog's."""
    catalog, probes = setup.catalog, np.array(setup.probes, np.int64)
    problems = []
    empty = [catalog.ids[row] for row, title in enumerate(setup.titles) if not (title or has_word(catalog.texts[row]))]
    if empty:
        what = f"{len(empty)} items have no word in title or text ({examples(empty)})"
        problems.append(Fault("warning", f"{what}: no query can find them; add texts, or drop these items"))
    if len(probes) == 0:
        problems.append(Fault("error", "no item has a title or a text: name the columns in the task's options"))
    else:
        problems += _shifted(probes, setup.title_hits.rows_QK[:, 0]) or _astray(setup)
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


def _astray(setup: Setup) -> list[Fault]:
    """Items of a larger sample that no text of theirs finds, or that are found in each other's place.

    Of up to 5 or 25 times the sample, with both ends of the catalog, the title is searched, and where it does not find
    the item first, the words of title and text. Items that neither finds are a warning from 1% of those searched, and
    an error from 10%; of vectors, from 10% and 20%: an approximate index reaches no more.
    """
    catalog, names = setup.catalog, setup.titles
    roll = QUICK_ROLL if setup.opened.get("each", 1.0) < 1 / 2000 else ROLL
    titled = [row for row, name in enumerate(names) if name]
    some = sorted({*setup.sampled(titled, "roll", roll * setup.sample), *titled[:2], *titled[-2:]})
    rows = [row for row in some if setup.content_words(names[row])]
    titles = dict(zip(rows, setup.rows([names[row] for row in rows], min(FIRST, setup.env.k)), strict=True))
    stray = [row for row in rows if not _is(names, row, titles[row][:1])]
    both = list(dict.fromkeys(stray + [one for row in stray if (one := int(titles[row][0])) >= 0]))
    by_text = dict(zip(both, setup.rows([_words(setup, row) for row in both]), strict=True))
    firsts = {row: (int(titles[row][0]) if row in titles else -1, int(by_text[row][0])) for row in both}
    pairs = {row: one for row in stray if firsts[row] == (one := firsts[row][0], one) and one >= 0}
    swapped = [(row, one) for row, one in pairs.items() if firsts.get(one, ())[-1:] == (row,) and row != one]
    known = {row for pair in swapped for row in pair}
    if len(known) > max(2, 0.1 * len(rows)):  # not the items but their places in the ranking: see `ranking`
        return []
    gone = [row for row in stray if row not in known and not _is(names, row, [*titles[row], *by_text[row]])]
    problems = []
    if swapped:
        shown = " and ".join(repr(catalog.ids[row]) for row in swapped[0])
        what = f"items are found in each other's place ({shown}, {len(known)} in all)"
        problems.append(Fault("error", f"{what}: their rows are mixed up; build the index from this catalog"))
    least = (0.9, 0.8) if matches_everything(setup.env.retriever) else (0.99, 0.9)
    verdict = graded(1 - len(gone) / max(len(rows), 1), warn_below=least[0], fail_below=least[1])
    if verdict != "ok":
        what = f"{len(gone)} of {len(rows)} items are not found by their title and text"
        shown = examples([catalog.ids[row] for row in gone])
        problems.append(Fault(verdict, f"{what} ({shown}): the index misses items of the catalog; build it again"))
    return problems


def _words(setup: Setup, row: int) -> str:
    """The words of an item, without any sign that a query parser could read; for vectors, its text as it is."""
    whole = setup.whole(row)
    return whole if matches_everything(setup.env.retriever) else " ".join(setup.content_words(whole))


def _is(names: Sequence[str], row: int, hits: Sequence[int] | np.ndarray) -> bool:
    """Whether an item, or one with the same title, is among some hits."""
    return any(folded(names[hit]) == folded(names[row]) for hit in hits if hit >= 0)


def titles(setup: Setup) -> Finding:
    """A title used as query finds its item; for vectors, which may be far from those of long texts, title and text."""
    depth = min(FIRST, max(1, len(setup.catalog) // 10), setup.env.k)
    found = _found_in(setup, depth)
    alone = float(found.mean()) if len(found) else 0.0
    if matches_everything(setup.env.retriever) and alone < 0.9:
        again = [row for row, hit in zip(setup.probes, found, strict=True) if not hit]
        hits = setup.rows([setup.whole(row) for row in again], depth)
        found[~found] = [_is(setup.titles, row, rows_K) for row, rows_K in zip(again, hits, strict=True)]
    share = float(found.mean()) if len(found) else 0.0
    first = float(_found_in(setup, 1).mean()) if len(found) else 0.0
    missing = [setup.catalog.ids[row] for row, hit in zip(setup.probes, found, strict=True) if not hit]
    numbers: dict[str, Any] = {"titles": len(found), "depth": depth, "found": share, "by_title": alone}
    numbers |= {"found_first": first, "missing": missing}
    verdict = graded(share, warn_below=0.9, fail_below=0.5, of=len(found) or None)
    message = f"{share:.0%} of {len(found)} titles find their item {'first' if depth == 1 else f'in the first {depth}'}"
    if alone < share:
        message = f"{alone:.0%} of {len(found)} titles, or {share:.0%} with their texts, find their item"
    if verdict == "ok":
        return Finding("titles", verdict, message, numbers)
    remedy = "look at one with `recr1 search`; check the fields that the retriever searches, and how ids become rows"
    unparsed = setup.unparsed([setup.titles[row] for row in setup.probes])
    if unparsed:
        remedy = f"{unparsed} of the titles do not parse in the retriever's syntax and find nothing; {remedy}"
    return Finding("titles", verdict, f"only {message} (missing: {examples(missing)}): {remedy}", numbers)


def ranking(setup: Setup) -> Finding:
    """The first places belong to the items that match best, and scores tell them apart.

    One item that is first for 20% of the titles of other items is a warning, for 50% an error; likewise one that is in
    the first ten of 80% in a catalog of 200 items and more. Titles whose item is mostly in a fixed place but the first
    are an error. Scores are rounded if all are multiples of 1, 0.1 or 0.01 and a quarter of the neighbours are equal.
    """
    rows_QK, names, probes = setup.title_hits.rows_QK, setup.titles, setup.probes
    problems = []
    second = ~_found_in(setup, 1)
    others = rows_QK[second, 0].tolist()
    near = rows_QK[:, :FIRST].ravel().tolist() if len(names) >= 200 else []
    for among, least, most, where in ((others, 0.2, 0.5, "first"), (near, 0.8, 2.0, "in the first ten")):
        (item, count), *_ = [*Counter(row for row in among if row >= 0).most_common(1), (-1, 0)]
        if count >= max(3, least * len(probes)):
            what = f"item {setup.catalog.ids[item]!r} is {where} for {count} of {len(probes)} titles of other items"
            remedy = "rank by the query alone: remove boosts, pinned items and popularity"
            problems.append(Fault("error" if count >= most * len(probes) else "warning", f"{what}: {remedy}"))
    places = np.argwhere(rows_QK[second] == np.array(probes, np.int64)[second, None])[:, 1].tolist()
    (place, count), *_ = [*Counter(places).most_common(1), (0, 0)]
    if count >= max(3, 0.5 * len(probes)):
        what = f"{count} of {len(probes)} titles find their item in place {place + 1}"
        problems.append(Fault("error", f"{what}: take the ranking as the engine gives it"))
    problems += _scores(setup)
    numbers = {"titles": len(probes), "first_for_others": len(others)}
    return finding("ranking", problems, "the items that match best come first, and scores tell items apart", numbers)


def _scores(setup: Setup) -> list[Fault]:
    """Whether scores are rounded, or equal ones not in the order of rows."""
    rows_QK = np.concatenate([setup.title_hits.rows_QK, setup.word_hits.rows_QK])
    scores_QK = np.concatenate([setup.title_hits.scores_QK, setup.word_hits.scores_QK])
    beside = rows_QK[:, 1:] >= 0
    tied = beside & (scores_QK[:, 1:] == scores_QK[:, :-1])
    problems = []
    if (wrong := (tied & (rows_QK[:, 1:] < rows_QK[:, :-1])).any(axis=1).sum()) > 0:
        what = f"in {wrong} of {len(rows_QK)} queries, items with equal scores are not in the order of their rows"
        problems.append(Fault("warning", f"{what}: break ties by row, as retrievers.topk does, not by chance"))
    scores = scores_QK[rows_QK >= 0].astype(np.float64)
    share = tied.sum() / max(beside.sum(), 1)
    decimals = next((d for d in (0, 1, 2) if np.allclose(scores, scores.round(d), rtol=1e-7, atol=1e-6)), None)
    if decimals is not None and share >= 0.25:
        what = f"scores are rounded to {decimals} decimals, so {share:.0%} of neighbours in a ranking are equal"
        remedy = "the catalog's order decides; return the engine's own scores, unless it only counts"
        problems.append(Fault("warning", f"{what}: {remedy}"))
    return problems


def _found_in(setup: Setup, depth: int) -> np.ndarray:
    """(R,) whether each probe's title found its item, or one with the same title, in the first `depth` places."""
    rows_QK = setup.title_hits.rows_QK[:, :depth]
    return np.array([_is(setup.titles, *pair) for pair in zip(setup.probes, rows_QK, strict=True)], bool)
