from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from recr1.judgements.clicks import Impressions
from recr1.judgements.models import values_of
from recr1.serve.interleave import (
    NOISE,
    attraction,
    estimate,
    sessions_needed,
    simulate,
    team_draft,
    winner,
)
from rewards.base import Qrels

EXAMINED = 1 / np.arange(1, 11)


def test_a_draft_worked_by_hand():
    # Coin 1: the second team begins with 3, the first takes 1. Coin 0: the first takes 2; 4 is the second's.
    draft = team_draft([1, 2, 3, 4], [3, 1, 4, 5], [1, 0, 0, 0])
    assert draft == ([3, 1, 2, 4], [1, 0, 0, 1])


def test_the_list_is_filled_by_the_ranking_that_has_items_left():
    assert team_draft([-1, -1], [7, 8], [0, 1] * 5) == ([7, 8], [1, 1])
    assert team_draft([1], [1, 2, 3], [1, 0, 0]) == ([1, 2, 3], [1, 1, 1])
    assert team_draft([], [], [0, 0, 0]) == ([], [])


def test_a_draft_has_each_item_once_and_as_many_of_each_team():
    rng = np.random.default_rng(0)
    for _ in range(200):
        draft = team_draft(rng.permutation(20).tolist(), rng.permutation(20).tolist(), rng.integers(0, 2, 10))
        assert len(set(draft.rows)) == 10
        assert sum(draft.teams) == 5


def test_each_ranking_begins_as_often_as_the_other():
    rng = np.random.default_rng(1)
    first = [team_draft([1, 2], [3, 4], rng.integers(0, 2, 2)).rows[0] for _ in range(2_000)]
    assert abs(first.count(1) - 1_000) < 4 * np.sqrt(500)


def test_who_has_more_clicks_wins_and_a_place_clicked_twice_counts_once():
    assert [winner([0, 1, 1], clicked) for clicked in ([], [0], [1], [0, 1], [0, 1, 2], [0, 0, 1])] == [
        *(0, -1, 1, 0, 1, 0),
    ]


def test_the_estimate_is_wins_less_losses_and_the_exact_sign_test():
    found = estimate([1] * 14 + [-1] * 4 + [0] * 22)
    exact = 2 * sum(comb(18, wins) for wins in range(14, 19)) / 2**18
    assert (found.wins, found.ties, found.losses, found.difference) == (14, 22, 4, pytest.approx(0.25))
    assert found.p == pytest.approx(exact, abs=0.006)


def test_equal_rankings_are_even_and_their_interval_holds_zero_as_often_as_it_says():
    rng, rows = np.random.default_rng(2), list(range(10))
    winners = simulate(rows, rows, {2: 1.0, 5: 0.7}, EXAMINED, rng)
    assert (winners != 0).mean() > 0.3
    experiments = [estimate(rng.choice(winners, 200), seed=seed) for seed in range(200)]
    assert abs(np.mean([one.difference for one in experiments])) < 0.02
    covered = np.mean([one.low <= 0 <= one.high for one in experiments])
    assert 0.90 <= covered <= 0.99
    assert np.mean([one.p < 0.05 for one in experiments]) <= 0.09


def test_the_better_ranking_wins_in_the_limit():
    rng, good, bad = np.random.default_rng(3), [1, 2, 3, 4], [3, 4, 1, 2]
    click = {1: 1.0, 2: 0.9}
    examined = EXAMINED[:4]
    assert estimate(simulate(bad, good, click, examined, rng)).low > 0
    assert estimate(simulate(good, bad, click, examined, rng)).high < 0


def test_attraction_rises_with_the_grade_and_unjudged_items_are_of_grade_0():
    assert attraction(Qrels({3: 0, 5: 1, 7: 2}), 2) == pytest.approx({3: NOISE, 5: 0.55, 7: 1.0})


def test_the_simulated_clicks_are_those_of_the_position_based_model_of_the_logs():
    """Its examination is found again in a log of simulated clicks."""
    rng, examined = np.random.default_rng(4), np.array([1.0, 0.5, 0.25])
    rows = np.stack([rng.permutation(3) for _ in range(30_000)])
    clicked = rng.random(rows.shape) < examined * np.array([0.9, 0.5, NOISE])[rows]
    sessions, places = np.indices(rows.shape)
    columns = (np.zeros(rows.size, np.int64), rows.ravel(), places.ravel(), clicked.ravel().astype(np.int64))
    log = Impressions(["q"], ["a", "b", "c"], *columns, sessions.ravel())
    np.testing.assert_allclose(values_of(log, "pbm", 0.0).examined_R, examined, atol=0.03)


@pytest.mark.parametrize("wanted", [0.8, 0.95])
@pytest.mark.parametrize(("won", "lost"), [(0.3, 0.2), (0.12, 0.08), (0.5, 0.1), (0.61, 0.12), (0.39, 0.34)])
def test_with_the_sessions_needed_the_exact_sign_test_has_the_power(won, lost, wanted):
    needed = sessions_needed(won, lost, wanted)
    wins, losses, _ = np.random.default_rng(5).multinomial(needed, [won, lost, 1 - won - lost], 20_000).T
    better = (wins > losses) & (2 * binom.sf(wins - 1, wins + losses, 0.5) < 0.05)
    assert wanted - 0.015 < better.mean() < wanted + 0.05  # above: whole sessions, and the correction for continuity


def test_no_number_of_sessions_shows_what_is_not_there():
    assert sessions_needed(0.2, 0.2, 0.8) is None
    assert sessions_needed(0.2, 0.3, 0.8) is None
    assert sessions_needed(0.2, 0.1999, 0.8) is None
    assert sessions_needed(1.0, 0.0, 0.8) < 10
