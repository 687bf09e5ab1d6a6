"""Team-draft interleaving of two rankings: who wins a session, and how many sessions show a difference.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.judge.difference import Difference, paired_test
from recr1.judge.stats import Doubles

Z = 1.959963984540054
"""The two-sided sign test has a level of 0.05."""
EXPERIMENTS, MOST = 4_000, 10_000_000
"""Experiments that are simulated for each number of sessions, and sessions above which no number is given."""
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


def attraction(grades_BK: NDArray[np.integer], best: int) -> Doubles:
    """(B, K) how probable a click on each item is once it is examined: `NOISE` at grade 0 to 1 at the best grade."""
    clicked: Doubles = NOISE + (1 - NOISE) * np.clip(grades_BK, 0, best) / max(best, 1)
    return clicked


def simulate(
    first: Sequence[int], second: Sequence[int], click: dict[int, float], examined_K: Doubles, rng: np.random.Generator
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


def power(won: float, lost: float, sessions: int, rng: np.random.Generator) -> float:
    """How often the sign test of that many sessions finds the second ranking better, given the shares won and lost."""
    wins_E, losses_E, _ = rng.multinomial(sessions, [won, lost, max(1 - won - lost, 0)], EXPERIMENTS).T
    # With the correction for continuity, the test has the level of the exact one.
    z_E = (wins_E - losses_E - 1) / np.sqrt(np.maximum(wins_E + losses_E, 1))
    return float((z_E >= Z).mean())


def sessions_needed(won: float, lost: float, wanted: float, *, seed: int = 0) -> int | None:
    """The sessions with which the sign test has the wanted power; None for more than `MOST`."""
    rng, high = np.random.default_rng(seed), 8
    while power(won, lost, high, rng) < wanted:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > max(low // 100, 1):  # to one percent: the simulation says no more
        middle = (low + high) // 2
        low, high = (middle, high) if power(won, lost, middle, rng) < wanted else (low, middle)
    return high
