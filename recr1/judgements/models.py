"""From clicks to the value of each pair of query and item: COEC, a position-based model, a simplified DBN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from recr1.errors import UserError
from recr1.judge.stats import Doubles, wilson
from recr1.judgements.clicks import Impressions, Ints

STEPS, CLOSE = 500, 1e-5
"""Steps of EM at most; it ends when no probability of examination moves by more than CLOSE."""


class Values(NamedTuple):
    """What a model says of P pairs and R positions."""

    query_P: Ints
    item_P: Ints
    value_P: Doubles
    low_P: Doubles
    high_P: Doubles
    support_P: Ints  # impressions that count: all of a pair, for sdbn those that were examined
    shown_P: Ints
    clicks_P: Ints
    positions_P: Ints  # at how many positions the pair was shown
    shown_R: Ints
    clicks_R: Ints
    examined_R: Doubles  # how much a position is examined, for coec its click rate over the highest; NaN if not shown


class _Cells(NamedTuple):
    """Impressions summed over pair and position, C of them; and over pairs, and over positions."""

    pair_N: Ints
    pair_C: Ints
    position_C: Ints
    shown_C: Doubles
    clicks_C: Doubles
    pairs: int
    depth: int
    minimum: int

    def by_pair(self, weights_C: Doubles) -> Doubles:
        return np.bincount(self.pair_C, weights_C, self.pairs).astype(np.float64, copy=False)

    def by_position(self, weights_C: Doubles) -> Doubles:
        return np.bincount(self.position_C, weights_C, self.depth).astype(np.float64, copy=False)


_Estimate: TypeAlias = tuple[Doubles, Doubles, Doubles, Doubles]
"""(P,) clicks, of how many impressions, and what these would be worth at a value of 1; (R,) examination."""


def values_of(log: Impressions, model: str, smoothing: float, minimum: int = 1) -> Values:
    """The value of each pair, with its interval of level 0.95.

    Each pair gets `smoothing` more impressions with the mean click rate, so that a pair with few impressions is near
    the mean. The interval is Wilson's (1927) for the click rate of these impressions, times what the model makes of a
    click rate. Pairs with fewer impressions than `minimum` do not count for the examination of pbm. Raises `UserError`
    for sdbn without sessions.
    """
    key_N = log.query_N.astype(np.int64) * len(log.items) + log.item_N
    keys_P, pair_N = np.unique(key_N, return_inverse=True)
    depth = int(log.position_N.max()) + 1
    cells_C, cell_N = np.unique(pair_N * depth + log.position_N, return_inverse=True)
    shown_C = np.bincount(cell_N).astype(np.float64)
    clicks_C = np.bincount(cell_N, log.clicked_N).astype(np.float64, copy=False)
    cells = _Cells(pair_N, cells_C // depth, cells_C % depth, shown_C, clicks_C, len(keys_P), depth, minimum)
    clicks_P, counted_P, trials_P, examined_R = MODELS[model](log, cells)
    click, trial = (smoothing * counts_P.sum() / counted_P.sum() for counts_P in (clicks_P, trials_P))
    smooth_P, more_P = clicks_P + click, np.maximum(counted_P + smoothing, 1e-9)
    # For pbm, clicks above what its examination makes possible are a value of 1; other values have no bound.
    worth_P = np.maximum(trials_P + trial, smooth_P if model == "pbm" else 0.0)
    support_P, worth_P = np.where(worth_P > 0, counted_P, 0).astype(np.int64), np.maximum(worth_P, 1e-9)
    low_P, high_P = wilson(smooth_P / more_P, more_P)
    return Values(
        keys_P // len(log.items),
        keys_P % len(log.items),
        smooth_P / worth_P,
        low_P * more_P / worth_P,
        high_P * more_P / worth_P,
        support_P,
        cells.by_pair(shown_C).astype(np.int64),
        cells.by_pair(clicks_C).astype(np.int64),
        np.bincount(cells.pair_C, minlength=cells.pairs),
        cells.by_position(shown_C).astype(np.int64),
        cells.by_position(clicks_C).astype(np.int64),
        examined_R,
    )


def _coec(log: Impressions, cells: _Cells) -> _Estimate:
    """Clicks over expected clicks: those that the mean click rate of its positions would give a pair.

    Zhang and Jones, "Comparing click logs and editorial labels for training query rewriting", 2007. Each impression
    counts at its own position.
    """
    shown_R, clicks_R = cells.by_position(cells.shown_C), cells.by_position(cells.clicks_C)
    with np.errstate(invalid="ignore"):
        rate_R = clicks_R / shown_R
    expected_P = cells.by_pair(cells.shown_C * rate_R[cells.position_C])
    return cells.by_pair(cells.clicks_C), cells.by_pair(cells.shown_C), expected_P, rate_R / np.nanmax(rate_R)


def _pbm(log: Impressions, cells: _Cells) -> _Estimate:
    """The position-based model: a click is an examined position (R) times an attractive item (P).

    Richardson, Dominowska and Ragno, WWW 2007; EM as in Chuklin, Markov and de Rijke, "Click Models for Web Search",
    2015, chapter 4. EM finds the examination, from pairs with enough impressions: each pair has an attractiveness of
    its own that fits its few clicks, and many of these would flatten the curve. The value of every pair then is its
    clicks over the impressions that were examined. The scale is free: the position examined most is examined always.
    """
    shown_P, clicks_P = cells.by_pair(cells.shown_C), cells.by_pair(cells.clicks_C)
    enough_P = shown_P >= min(cells.minimum, shown_P.max())
    rows_C = enough_P[cells.pair_C]
    some = cells._replace(**{name: getattr(cells, name)[rows_C] for name in cells._fields if name.endswith("_C")})
    shown_R, unclicked_C = some.by_position(some.shown_C), some.shown_C - some.clicks_C
    with np.errstate(invalid="ignore"):
        examined_R = some.by_position(some.clicks_C) / shown_R
    # EM never lowers a probability of 1, which settles the scale; from 0.5 it would not reach 1 in any number of steps.
    examined_R = examined_R / max(np.nanmax(examined_R), 1e-12)
    attractive_P = np.full(cells.pairs, 0.5)
    for _ in range(STEPS):
        examined_C, attractive_C = examined_R[some.position_C], attractive_P[some.pair_C]
        rest_C = unclicked_C / np.maximum(1 - examined_C * attractive_C, 1e-12)
        attracted_P = some.by_pair(some.clicks_C + rest_C * attractive_C * (1 - examined_C))
        attractive_P = attracted_P / np.maximum(shown_P, 1)
        before_R = examined_R
        with np.errstate(invalid="ignore"):
            examined_R = some.by_position(some.clicks_C + rest_C * examined_C * (1 - attractive_C)) / shown_R
        if np.nanmax(np.abs(examined_R - before_R)) < CLOSE:
            break
    examined_R = examined_R / max(np.nanmax(examined_R), 1e-12)
    examined_P = cells.by_pair(cells.shown_C * np.nan_to_num(examined_R)[cells.position_C])
    return clicks_P, shown_P, examined_P, examined_R


def _sdbn(log: Impressions, cells: _Cells) -> _Estimate:
    """The simplified DBN: a user reads down to the last click, or to the end of a page without clicks.

    Chapelle and Zhang, "A dynamic Bayesian network click model for web search ranking", WWW 2009, section 5: the value
    is attractiveness times satisfaction, (clicks / examined) * (last clicks / clicks) = last clicks / examined.
    """
    if log.session_N is None:
        raise UserError("sdbn needs sessions: which rows were on one page of results")
    _, page_N = np.unique(log.session_N * len(log.queries) + log.query_N, return_inverse=True)
    clicked_N = log.clicked_N > 0
    last_S = np.full(int(page_N.max()) + 1, -1)
    np.maximum.at(last_S, page_N[clicked_N], log.position_N[clicked_N])
    last_N = last_S[page_N]
    examined_N = (log.position_N <= last_N) | (last_N < 0)
    final_N = clicked_N & (log.position_N == last_N)
    examined_P = np.bincount(cells.pair_N[examined_N], minlength=cells.pairs).astype(np.float64)
    final_P = np.bincount(cells.pair_N[final_N], minlength=cells.pairs).astype(np.float64)
    with np.errstate(invalid="ignore"):
        share_R = np.bincount(log.position_N[examined_N], minlength=cells.depth) / cells.by_position(cells.shown_C)
    return final_P, examined_P, examined_P, share_R


MODELS: Mapping[str, Callable[[Impressions, _Cells], _Estimate]] = {"coec": _coec, "pbm": _pbm, "sdbn": _sdbn}
"""The models by the names that --model takes."""
