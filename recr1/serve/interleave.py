"""Team-draft interleaving of two rankings: who wins a session, and how many sessions show a difference.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.judge.difference import Difference, paired_test
from recr1.judge.stats import Doubles, Z, bootstrap_interval
from recr1.judge.table import Table
from retrievers.base import Rows
from rewards.base import Qrels

POWERS, SHARES = (0.8, 0.9, 0.95), {"as simulated": 1.0, "half of it": 0.5, "a tenth of it": 0.1}
"""Of the plan: how often a difference is to be found, and how large it may be."""
MOST = 10_000_000
"""Sessions above which no number is given."""
DRAFTS, USERS = 32, 64
"""Drafts that are simulated for each need (half of them with the coins of the others turned), and users of each."""
NOISE = 0.1
"""How often an examined item without a grade, or of grade 0, is clicked."""


class Draft(NamedTuple):
    """The list that a user sees: rows, best first, and whose each is (0: the first ranking, 1: the second)."""

    rows: list[int]
    teams: list[int]


def team_draft(first: Sequence[int], second: Sequence[int], coins_K: Sequence[int] | NDArray[np.integer]) -> Draft:
    """A list of K places from two rankings of rows; -1 is a place without an item.

    In each round both teams choose their best item that is not in the list yet. The next coin says who begins: as many
    coins of 0 or 1 as places, `rng.integers(0, 2, 10)`. Where one ranking has no items left, the other one fills the
    list, and is credited for it.
    """
    coins = iter(coins_K)
    sides = [[row for row in ranking if row >= 0] for ranking in (first, second)]
    rows: dict[int, int] = {}
    while len(rows) < len(coins_K):
        left = [next((row for row in side if row not in rows), None) for side in sides]
        if left == [None, None]:
            break
        lead = sum(rows.values()) * 2 - len(rows)  # how many more the second team has
        team = int(next(coins)) if lead == 0 else int(lead < 0)
        if (chosen := left[team]) is None:
            team, chosen = 1 - team, left[1 - team]
        assert chosen is not None
        rows[chosen] = team
    return Draft(list(rows), list(rows.values()))


def winner(teams: Sequence[int], clicked: Sequence[int]) -> int:
    """1 if the second ranking wins a session, -1 if the first does, 0 for a tie: who has more clicks.

    `clicked` are the places of the list that were clicked, from 0.
    """
    return int(np.sign(sum(2 * teams[place] - 1 for place in set(clicked))))


def estimate(winners: Sequence[int] | NDArray[np.integer], *, seed: int = 0) -> Difference:
    """The share of sessions that the second ranking won minus the share that it lost, with interval and sign test.

    Half of the difference is the Delta of Chapelle et al. 2012. The test flips signs at random: a tie has none.
    """
    sign_S = np.asarray(winners, np.float64)
    return paired_test(np.maximum(sign_S, 0), np.maximum(-sign_S, 0), seed=seed)


def attraction(qrels: Qrels, best: int) -> dict[int, float]:
    """Row -> how probable a click is once it is examined: from `NOISE` at grade 0 on a line to 1 at the best grade."""
    return {row: NOISE + (1 - NOISE) * min(max(grade, 0) / best, 1) for row, grade in qrels.items()}


def simulate(
    first: Sequence[int],
    second: Sequence[int],
    click: Mapping[int, float],
    examined_K: Doubles,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(DRAFTS * USERS,) the winners of sessions with one need, by the position-based model of clicks.

    A click is an examined place times an attractive item (`recr1.judgements.models`): `examined_K` are the places,
    whose number is that of the list, and `click` is row -> probability; other rows have `NOISE`.
    """
    found, coins_DK = [], rng.integers(0, 2, (DRAFTS // 2, len(examined_K)))
    for coins_K in (*coins_DK, *(1 - coins_DK)):
        draft = team_draft(first, second, coins_K)
        clicked_K = examined_K[: len(draft.rows)] * [click.get(row, NOISE) for row in draft.rows]
        clicked_UK = rng.random((USERS, len(draft.rows))) < clicked_K
        found.append(np.sign(clicked_UK @ (2 * np.array(draft.teams, np.int64) - 1)))
    return np.concatenate(found)


def sessions_needed(won: float, lost: float, wanted: float) -> int | None:
    """The sessions with which the sign test has the wanted power, given the shares won and lost; None above `MOST`.

    Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 1987, with
    the correction for continuity of Fleiss, Tytun and Ury (Biometrics 1980), as the exact test has it.
    """
    differ, better = won + lost, won - lost
    if better <= 0:
        return None
    root = Z * sqrt(differ) + NormalDist().inv_cdf(wanted) * sqrt(max(differ - better**2, 0))
    plain = (root / better) ** 2
    needed = plain / 4 * (1 + sqrt(1 + 4 / (plain * better))) ** 2
    return ceil(needed) if needed <= MOST else None


def plan(
    first_NK: Rows, second_NK: Rows, qrels: Sequence[Qrels], examined_K: Doubles, *, seed: int = 0
) -> tuple[Table, list[str]]:
    """The sessions that an interleaving test of two rankings of N needs would take, and an A/B test beside it.

    The A/B test compares the shares of sessions with a click. Sessions whose two rankings are equal are ties whatever
    is clicked: they need no interleaving, and are not counted. Each need comes equally often.
    """
    depth, rng = len(examined_K), np.random.default_rng(seed)
    best = max((grade for key in qrels for grade in key.values()), default=1)
    differ = np.flatnonzero((first_NK[:, :depth] != second_NK[:, :depth]).any(axis=1)).tolist()
    lines = [f"{len(differ):,} of {len(qrels):,} needs have other items in the first {depth} places: sessions of these"]
    if not differ:
        return Table("Sessions needed", ["effect"], []), lines
    winners, clicks = [], np.zeros(2)
    for need in differ:
        click = attraction(qrels[need], max(best, 1))
        lists = [[row for row in rows_NK[need, :depth].tolist() if row >= 0] for rows_NK in (first_NK, second_NK)]
        winners.append(simulate(lists[0], lists[1], click, examined_K, rng))
        clicks += [1 - np.prod(1 - examined_K[: len(one)] * [click.get(row, NOISE) for row in one]) for one in lists]
    won, lost = (float(np.mean([(one == sign).mean() for one in winners])) for sign in (1, -1))
    clicked = (clicks / len(differ)).tolist()
    _, low, high = bootstrap_interval(np.array([one.mean() for one in winners]), seed=seed)
    rows = []
    for name, share in SHARES.items():
        moved = (won - lost) * (1 - share) / 2
        cells = [sessions_needed(won - moved, lost + moved, wanted) for wanted in POWERS]
        other = ab_sessions(clicked[0], clicked[0] + (clicked[1] - clicked[0]) * share, POWERS[0])
        rows.append(
            [name, f"{(won - lost) * share:+.1%}", *("none" if n is None else f"{n:,}" for n in (*cells, other))]
        )
    header = ["effect", "won - lost", *(f"power {power:.0%}" for power in POWERS), f"A/B test, {POWERS[0]:.0%}"]
    lines.append(
        f"simulated: the second ranking wins {won:.1%} of them and loses {lost:.1%} (difference {low:+.1%} to "
        f"{high:+.1%} with other needs); alone it has clicks in {clicked[1]:.1%}, the first in {clicked[0]:.1%}"
    )
    notes = ["none: more than ten million, or no gain to find"] if any("none" in row for row in rows) else []
    return Table("Sessions needed", header, rows, notes), lines


def ab_sessions(first: float, second: float, wanted: float) -> int | None:
    """The sessions of both arms with which two shares of sessions with a click are told apart, by the normal test."""
    spread = first * (1 - first) + second * (1 - second)
    needed = 2 * (Z + NormalDist().inv_cdf(wanted)) ** 2 * spread / max((second - first) ** 2, 1e-12)
    return ceil(needed) if second > first and needed <= MOST else None
