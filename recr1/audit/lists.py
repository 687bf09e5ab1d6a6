"""Biases of lists: the places of a prompt, popular items, titles that the model finds likely, kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recr1.audit.base import DRAWS, Number, Part, Seen, interval, lists, together
from recr1.judge.stats import Doubles
from recr1.judge.table import Table
from recr1.policies.base import RatesTexts
from retrievers.base import Hits
from rewards.audit.lists import expected_shares, kendall, left_over, partial_spearman, ranks, total_variation
from rewards.audit.terms import DisagreementReward, MiscalibrationReward, PopularityLiftReward, compared_with
from rewards.base import Batch
from rewards.fields import events_of, numbers, popularity
from rewards.measures.exposure import Coverage, Gini, Tail

FEWEST, RESAMPLES = 20, 500
"""Items that a correlation needs; resamples of an interval."""


def position(seen: Seen) -> Part:
    """Whether the place of an item in the prompt decides: each need in other orders of its candidates."""
    title, limits = "Position", seen.spec.limits
    if not any(need.candidates for need in seen.needs):
        return Part(title, remarks=["not audited: needs have no candidates"])
    if not seen.orders:
        what = "audit.orders is 0" if not seen.spec.orders else "the policy does not read the candidates"
        return Part(title, remarks=[f"not audited: {what}"])
    seats, sizes, best = [], [], []
    order_JB = np.full((len(seen.orders), len(seen.needs)), np.nan)
    flips_JB = order_JB.copy()
    for turn, batch in enumerate(seen.orders):
        for row, (own, plain) in enumerate(zip(lists(batch), lists(seen.plain), strict=True)):
            shown = [one.row for one in batch.rollouts[row].need.candidates]
            if not own or own[0] not in shown:
                continue
            seats.append(shown.index(own[0]))
            sizes.append(len(shown))
            best.append(int(np.argmax([batch.qrels[row].get(one, 0) for one in shown])))
            order_JB[turn, row] = kendall(own, shown) if len(own) > 1 else np.nan
            flips_JB[turn, row] = own[0] != plain[0] if plain else np.nan
    if not seats:
        return Part(title, remarks=["not audited: no answer begins with a candidate"])
    numbers = [_slots(seen, np.array(seats), np.array(sizes))]
    order = seen.mean("order", _means(order_JB), "Kendall's tau of lists with the order shown", limit=limits.order)
    numbers.append(_sized(order))
    chance = 1 - 1 / float(np.mean(sizes))
    says = "how often the first item is another in another order"
    numbers.append(_plain(seen.mean("flips", _means(flips_JB), says, limit=limits.flips, chance=chance)))
    term, whole = DisagreementReward(), together([seen.plain, *seen.orders])
    apart_JB = term.of(whole).reshape(-1, len(seen.needs))
    says = "(1 - Kendall's tau) / 2 between the lists of a need in different orders"
    numbers.append(_plain(seen.mean(term.name, _means(apart_JB.astype(np.float64)), says, chance=0.5)))
    hit_S, gold_S = _by_slot(seats, best)
    shares_S = np.bincount(seats, minlength=max(sizes)) / len(seats)
    rows = [
        [str(slot + 1), f"{share:.3f}", f"{hit_S[slot] / gold_S[slot]:.3f}" if gold_S[slot] else ""]
        for slot, share in enumerate(shares_S)
    ]
    header = ["place in the prompt", "chosen first", "chosen first, where the best item is there"]
    taken = {f"place {slot + 1}": interval(np.array(seats) == slot, seen.seed) for slot in range(max(sizes))}
    text = f"How often each place of the prompt is chosen first, in {len(seats)} answers"
    return Part(title, numbers, [Table("By place in the prompt", header, rows)], shares=taken, picture=text)


def _slots(seen: Seen, seats_B: NDArray[np.intp], sizes_B: NDArray[np.intp]) -> Number:
    """Orders are drawn at random, so that by chance each place holds the chosen item as often."""
    expected_S, rng = expected_shares(sizes_B.tolist()), seen.rng()

    def away(places: NDArray[np.intp]) -> float:
        return total_variation(np.bincount(places, minlength=len(expected_S)) / len(places), expected_S)

    drawn = np.array([away((rng.random(len(sizes_B)) * sizes_B).astype(int)) for _ in range(DRAWS)])
    found = away(seats_B)
    p, low, high = (1 + int((drawn >= found - 1e-12).sum())) / (1 + DRAWS), *_resampled(away, seats_B, rng)
    says = "distance of the places chosen first from chance (total variation)"
    chance, limit = float(drawn.mean()), seen.spec.limits.slots
    return Number("slots", found, says, low, high, p, chance=chance, limit=limit)


def _resampled(
    statistic: Callable[[NDArray[np.intp]], float], values_B: NDArray[np.intp], rng: np.random.Generator
) -> tuple[float, float]:
    """The bounds of the 95% bootstrap interval of a statistic."""
    found = [statistic(values_B[rng.integers(0, len(values_B), len(values_B))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return low, high


def _by_slot(seats: list[int], best: list[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How often the best item was in each place, and was chosen there."""
    size = max(*seats, *best) + 1
    hits = np.bincount([slot for slot, own in zip(best, seats, strict=True) if slot == own], minlength=size)
    return hits, np.bincount(best, minlength=size)


def _means(values_JB: Doubles) -> Doubles:
    """(B,) means without NaN; NaN where all are."""
    counts_B = np.isfinite(values_JB).sum(axis=0)
    none_B = np.full(len(counts_B), np.nan)
    return np.asarray(np.divide(np.nansum(values_JB, axis=0), counts_B, out=none_B, where=counts_B > 0), np.float64)


def _sized(number: Number) -> Number:
    """A number whose size counts, whatever its sign."""
    return replace(number, excess=abs(number.value))


def popular(seen: Seen) -> Part:
    """Whether items are listed because they are popular."""
    title, catalog, field = "Popularity", seen.env.task.catalog, seen.spec.popularity
    term = PopularityLiftReward(cutoff=seen.cutoff, field=field)
    try:
        value_N = popularity(catalog, field, term.name)
    except ValueError as error:
        return Part(title, remarks=[f"not audited: {error}"])
    limits, k = seen.spec.limits, seen.cutoff
    against = "the user's history" if any(need.history for need in seen.needs) else "the candidates"
    against = against if any(compared_with(need) for need in seen.needs) else "the whole catalog"
    lift_B = term.of(seen.plain).astype(np.float64)
    drawn = Hits(seen.drawn(seen.rng()), np.zeros((len(seen.needs), k), np.float32))
    random = Batch(seen.plain.rollouts, drawn, seen.plain.qrels, catalog=catalog)
    says = f"popularity of listed items, a share of the catalog, less that of {against}"
    by_chance = float(np.nanmean(term.of(random)))
    numbers = [seen.mean(term.name, lift_B, says, limit=limits.popularity_lift, chance=by_chance)]
    if against == "the user's history" and any(need.candidates for need in seen.needs):
        other = PopularityLiftReward(cutoff=k, field=field, over="candidates")
        says = "the same, less that of the candidates"
        numbers.append(seen.mean(other.name, other.of(seen.plain), says, chance=0.0))
    tail = Tail(k, field=field)
    found_B = seen.plain.hits.rows_QK[:, 0] >= 0
    tail_B = np.where(found_B, tail.of(seen.plain.graded), np.nan)
    numbers.append(
        _plain(seen.mean(tail.name, tail_B, "share of the long tail", chance=float(tail.of(random.graded).mean())))
    )
    for measure in (Gini(k), Coverage(k)):
        of, by_chance = (measure(rows_BK, len(catalog)) for rows_BK in (seen.plain.hits.rows_QK, drawn.rows_QK))
        says = "inequality of exposure" if measure.symbol == "Gini" else "share of the catalog that is listed at all"
        numbers.append(Number(measure.name, of, says, chance=by_chance))
    return Part(title, numbers, list(_by_taste(seen, value_N, lift_B)))


def _plain(number: Number) -> Number:
    """A number that no test is about: neither end is wrong."""
    return replace(number, p=None)


def _by_taste(seen: Seen, value_N: Doubles, lift_B: Doubles) -> Iterator[Table]:
    """Users with popular and with unusual histories."""
    rows = [row for row, need in enumerate(seen.needs) if need.history]
    if len(rows) < 2:
        return
    own = np.array([value_N[list(seen.needs[row].history)].mean() for row in rows])
    ndcg_B, unusual = seen.ndcg.of(seen.plain.graded)[rows], own <= np.median(own)
    cells = [
        [name, str(int(of.sum())), f"{ndcg_B[of].mean():.3f}", f"{np.nanmean(lift_B[rows][of]):+.3f}"]
        for name, of in (("unusual histories", unusual), ("popular histories", ~unusual))
        if of.any()
    ]
    yield Table("By taste", ["users with", "needs", seen.ndcg.name, "lift"], cells)


def prior(seen: Seen) -> Part:
    """Whether items are listed because the model finds their titles likely: a bias that no click explains."""
    title, catalog = "Prior of the language model", seen.env.task.catalog
    if not isinstance(seen.policy, RatesTexts):
        return Part(title, remarks=["not audited: the policy does not say how likely a text is"])
    shown, exposed = _exposed(seen)
    if len(shown) < FEWEST:
        return Part(title, remarks=[f"not audited: only {len(shown)} items could be listed, fewer than {FEWEST}"])
    likely = np.array(seen.policy.likelihoods([catalog.title(row) for row in shown.tolist()]))
    field = seen.spec.popularity
    if field in catalog.fields:
        given = [np.nan_to_num(numbers(catalog, field, "popularity"))[shown]]
    else:
        given = [] if catalog.interactions is None else [events_of(catalog, "the audit")[shown].astype(np.float64)]
    found = partial_spearman(exposed, likely, *given)
    one, two = (left_over(ranks(column), *map(ranks, given)) for column in (exposed, likely))
    rng, norm = seen.rng(), math.sqrt(float((one @ one) * (two @ two))) or 1.0
    drawn = np.array([abs(one @ rng.permutation(two)) / norm for _ in range(DRAWS)])
    p = (1 + int((drawn >= abs(found) - 1e-12).sum())) / (1 + DRAWS)
    beyond = f"beyond {'popularity' if given else 'nothing, as popularity is not known'}"
    says = f"what the likelihood of a title explains of exposure {beyond} (partial Spearman, {len(shown)} items)"
    number = Number(
        "prior", found, says, p=p, chance=float(drawn.mean()), limit=seen.spec.limits.prior, excess=abs(found)
    )
    return Part(title, [number])


def _exposed(seen: Seen) -> tuple[NDArray[np.intp], Doubles]:
    """Items that could be listed, as many as `audit.titles`, and how exposed each is: its mean discount where it could.

    Without candidates every item could be listed for every need; half of those read are items that were.
    """
    size, rng = len(seen.env.task.catalog), seen.rng()
    gained_N, times_N = np.zeros(size), np.zeros(size)
    for need, rows in zip(seen.needs, lists(seen.plain), strict=True):
        times_N[[one.row for one in need.candidates] or slice(None)] += 1
        gained_N[rows] += 1 / np.log2(np.arange(2, len(rows) + 2))
    could, most = np.flatnonzero(times_N), seen.spec.titles
    listed = rng.permutation(could[gained_N[could] > 0])
    if not any(need.candidates for need in seen.needs):
        listed = listed[: most // 2]
    others = rng.permutation(np.setdiff1d(could, listed))
    read: NDArray[np.intp] = np.sort(np.concatenate([listed, others])[:most])
    return read, gained_N[read] / times_N[read]


def kinds(seen: Seen) -> Part:
    """Whether lists have the kinds of the histories."""
    title, catalog, field = "Kinds", seen.env.task.catalog, seen.spec.kinds
    if not any(need.history for need in seen.needs):
        return Part(title, remarks=["not audited: needs have no history"])
    if field not in catalog.fields:
        return Part(title, remarks=[f"not audited: the catalog has no field '{field}' (set audit.kinds)"])
    term, rng = MiscalibrationReward(cutoff=seen.cutoff, field=field), seen.rng()
    own_B = term.of(seen.plain).astype(np.float64)
    zeros = np.zeros((len(seen.needs), seen.cutoff), np.float32)
    turns = [
        Batch(seen.plain.rollouts, Hits(seen.drawn(rng), zeros), seen.plain.qrels, catalog=catalog) for _ in range(8)
    ]
    chance_B = _means(np.array([term.of(one) for one in turns], np.float64))
    says = "distance of the kinds in lists from those of histories (Kullback-Leibler, a share of the most)"
    number = seen.mean(term.name, own_B, says, chance_B, limit=seen.spec.limits.miscalibration)
    chance = float(np.nanmean(chance_B))
    return Part(title, [replace(number, chance=chance, excess=number.value - chance)])
