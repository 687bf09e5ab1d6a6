"""Biases of lists: the places of a prompt, popular items, titles that the model finds likely, kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recr1.audit.base import DRAWS, NotAudited, Number, Part, Seen, chance_of, lists, mean_of, means_of, together
from recr1.judge.stats import Doubles, bootstrap_interval
from recr1.judge.table import Table
from recr1.policies.base import RatesTexts
from recr1.tasks.base import HidesHistory
from rewards.audit.lists import expected_shares, kendall, partial_ranks, total_variation
from rewards.audit.terms import DisagreementReward, MiscalibrationReward, PopularityLiftReward, compared_with
from rewards.fields import events_of, numbers, popularity
from rewards.measures.exposure import Coverage, Gini, Tail

FEWEST, RESAMPLES = 20, 500
"""Items that a correlation needs; resamples of an interval."""


def position(seen: Seen) -> Part:
    """Whether the place of an item in the prompt decides: each need in other orders of its candidates."""
    limits = seen.spec.limits
    if not any(need.candidates for need in seen.needs):
        raise NotAudited("needs have no candidates")
    if not seen.orders:
        raise NotAudited("the policy does not read the candidates" if seen.spec.orders else "audit.orders is 0")
    seats, sizes, best = list[int](), list[int](), list[list[int]]()
    order_JB = np.full((len(seen.orders), len(seen.needs)), np.nan)
    flips_JB, plain = order_JB.copy(), lists(seen.plain)
    for turn, batch in enumerate(seen.orders):
        for row, own in enumerate(lists(batch)):
            shown = [one.row for one in batch.rollouts[row].need.candidates]
            if not own or own[0] not in shown:
                continue
            grades = [batch.qrels[row].get(one, 0) for one in shown]
            seats.append(shown.index(own[0]))
            sizes.append(len(shown))
            best.append([slot for slot, grade in enumerate(grades) if grade == max(grades) > 0])
            order_JB[turn, row] = kendall(own, shown) if len(own) > 1 else np.nan
            flips_JB[turn, row] = own[0] != plain[row][0] if plain[row] else np.nan
    if not seats:
        raise NotAudited("no answer begins with a candidate")
    term = DisagreementReward()
    apart_JB = term.of(together([seen.plain, *seen.orders])).astype(np.float64).reshape(-1, len(seen.needs))
    says = "how often the first item is another in another order"
    chance = 1 - 1 / float(np.mean(sizes))
    follows, flips = means_of(order_JB), means_of(flips_JB)
    found = [
        _slots(seen, np.array(seats), np.array(sizes)),
        seen.mean("order", follows, "Kendall's tau of lists with the order shown", sized=True, limit=limits.order),
        seen.mean("flips", flips, says, tested=False, limit=limits.flips, chance=chance),
    ]
    says = "(1 - Kendall's tau) / 2 between the lists of a need in different orders"
    found.append(seen.mean(term.name, means_of(apart_JB), says, tested=False, chance=0.5))
    rows, taken = [], {}
    for slot in range(max(sizes)):
        chosen = np.array([seat == slot for seat in seats])
        right = chosen[[slot in of for of in best]]
        rows.append([str(slot + 1), f"{chosen.mean():.3f}", f"{right.mean():.3f}" if len(right) else ""])
        taken[f"place {slot + 1}"] = bootstrap_interval(chosen, seed=seen.seed)._asdict()
    header = ["place in the prompt", "chosen first", "chosen first, where the best item is there"]
    text = f"How often each place of the prompt is chosen first, in {len(seats)} answers"
    return Part(found, [Table("By place in the prompt", header, rows)], shares=taken, picture=text)


def _slots(seen: Seen, seats_B: NDArray[np.intp], sizes_B: NDArray[np.intp]) -> Number:
    """Orders are drawn at random, so that by chance each place holds the chosen item as often."""
    expected_S, rng, size = expected_shares(sizes_B.tolist()), seen.rng(), len(seats_B)

    def away(places: NDArray[np.intp]) -> float:
        return total_variation(np.bincount(places, minlength=len(expected_S)) / size, expected_S)

    drawn = np.array([away((rng.random(size) * sizes_B).astype(int)) for _ in range(DRAWS)])
    again = [away(seats_B[rng.integers(0, size, size)]) for _ in range(RESAMPLES)]
    found, (low, high) = away(seats_B), np.quantile(again, [0.025, 0.975]).tolist()
    says = "distance of the places chosen first from chance (total variation)"
    p, chance, limit = chance_of(found, drawn), float(drawn.mean()), seen.spec.limits.slots
    return Number("slots", found, says, low, high, p, chance=chance, limit=limit)


def popular(seen: Seen) -> Part:
    """Whether items are listed because they are popular."""
    catalog, field, k = seen.env.task.catalog, seen.spec.popularity, seen.cutoff
    term = PopularityLiftReward(cutoff=k, field=field)
    try:
        value_N = popularity(catalog, field, term.name)
    except ValueError as error:
        raise NotAudited(str(error)) from error
    against = "the user's history" if any(need.history for need in seen.needs) else "the candidates"
    against = against if any(compared_with(need) for need in seen.needs) else "the whole catalog"
    lift_B, random = term.of(seen.plain).astype(np.float64), seen.drawn(seen.rng())
    says = f"popularity of listed items, a share of the catalog, less that of {against}"
    limit, by_chance = seen.spec.limits.popularity_lift, mean_of(term.of(random))
    found = [seen.mean(term.name, lift_B, says, limit=limit, chance=by_chance)]
    if against == "the user's history" and any(need.candidates for need in seen.needs):
        other = PopularityLiftReward(cutoff=k, field=field, over="candidates")
        says = "the same, less that of the candidates"
        found.append(seen.mean(other.name, other.of(seen.plain), says, chance=0.0))
    tail = Tail(k, field=field)
    tail_B = np.where(seen.plain.hits.rows_QK[:, 0] >= 0, tail.of(seen.plain.graded), np.nan)
    by_chance = float(tail.of(random.graded).mean())
    found.append(seen.mean(tail.name, tail_B, "share of the long tail", tested=False, chance=by_chance))
    for measure in (Gini(k), Coverage(k)):
        of, by_chance = (measure(batch.hits.rows_QK, len(catalog)) for batch in (seen.plain, random))
        says = "inequality of exposure" if measure.symbol == "Gini" else "share of the catalog that is listed at all"
        found.append(Number(measure.name, of, says, chance=by_chance))
    return Part(found, list(_by_taste(seen, value_N, lift_B)))


def _by_taste(seen: Seen, value_N: Doubles, lift_B: Doubles) -> Iterator[Table]:
    """Users with popular and with unusual histories."""
    rows = [row for row, need in enumerate(seen.needs) if need.history]
    if len(rows) < 2:
        return
    own = np.array([value_N[list(seen.needs[row].history)].mean() for row in rows])
    unusual = own <= np.median(own)
    cells = [
        [name, str(int(of.sum())), f"{seen.relevance[rows][of].mean():.3f}", f"{mean_of(lift_B[rows][of]):+.3f}"]
        for name, of in (("unusual histories", unusual), ("popular histories", ~unusual))
        if of.any()
    ]
    yield Table("By taste", ["users with", "needs", seen.ndcg.name, "lift"], cells)


def prior(seen: Seen) -> Part:
    """Whether items are listed because the model finds their titles likely: a bias that no click explains."""
    catalog, field = seen.env.task.catalog, seen.spec.popularity
    if not isinstance(seen.policy, RatesTexts):
        raise NotAudited("the policy does not say how likely a text is")
    shown, exposed = _exposed(seen)
    if len(shown) < FEWEST:
        raise NotAudited(f"only {len(shown)} items could be listed, fewer than {FEWEST}")
    likely = np.array(seen.policy.likelihoods([catalog.title(row) for row in shown.tolist()]))
    if field in catalog.fields:
        given = [np.nan_to_num(numbers(catalog, field, "popularity"))[shown]]
    else:
        given = [] if catalog.interactions is None else [events_of(catalog, "the audit")[shown].astype(np.float64)]
    one, two = partial_ranks(exposed, likely, *given)
    found, rng = float(one @ two), seen.rng()
    drawn = np.array([abs(one @ rng.permutation(two)) for _ in range(DRAWS)])
    beyond = f"beyond {'popularity' if given else 'nothing, as popularity is not known'}"
    says = f"what the likelihood of a title explains of exposure {beyond} (partial Spearman, {len(shown)} items)"
    p, chance, limit = chance_of(abs(found), drawn), float(drawn.mean()), seen.spec.limits.prior
    return Part([Number("prior", found, says, p=p, chance=chance, limit=limit, excess=abs(found))])


def _exposed(seen: Seen) -> tuple[NDArray[np.intp], Doubles]:
    """Items that could be listed, as many as `audit.titles`, and how exposed each is: its mean discount where it could.

    Without candidates every item could be listed for every need, but for the history where it is hidden; half of those
    read are items that were.
    """
    task, rng = seen.env.task, seen.rng()
    hides = isinstance(task, HidesHistory) and task.hides_history
    gained_N, times_N = np.zeros((2, len(task.catalog)))
    for need, rows in zip(seen.needs, lists(seen.plain), strict=True):
        times_N[[one.row for one in need.candidates] or slice(None)] += 1
        times_N[list(set(need.history) if hides and not need.candidates else ())] -= 1
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
    field = seen.spec.kinds
    if not any(need.history for need in seen.needs):
        raise NotAudited("needs have no history")
    if field not in seen.env.task.catalog.fields:
        raise NotAudited(f"the catalog has no field '{field}' (set audit.kinds)")
    term, rng = MiscalibrationReward(cutoff=seen.cutoff, field=field), seen.rng()
    chance_B = means_of(np.array([term.of(seen.drawn(rng)) for _ in range(8)], np.float64))
    says = "distance of the kinds in lists from those of histories (Kullback-Leibler, a share of the most)"
    number = seen.mean(term.name, term.of(seen.plain), says, chance_B, limit=seen.spec.limits.miscalibration)
    chance = mean_of(chance_B)
    return Part([replace(number, chance=chance, excess=number.value - chance)])
