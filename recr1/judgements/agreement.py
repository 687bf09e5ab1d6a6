"""How far two judges agree: weighted kappa with its interval, and a table of grades against grades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from recr1.errors import UserError
from recr1.judge.stats import RESAMPLES, Doubles, Interval
from recr1.judge.table import Table
from recr1.judgements.base import Judgements

_Pair: TypeAlias = tuple[str, str | None]
WIDEST = 12
"""Different grades that a table still shows."""


class Agreement(NamedTuple):
    """Two judges on the pairs that both graded."""

    kappa: Interval | None
    """Cohen's kappa with quadratic weights; None where both judges gave one and the same grade to everything."""
    equal: float
    """Share of pairs with the same grade."""
    shift: float
    """Mean grade of the second judge less that of the first."""
    pairs: int
    queries: int
    first_alone: int
    second_alone: int
    grades: Counter[tuple[float, float]]

    @property
    def table(self) -> Table:
        """Pairs by the grade of the first judge (rows) and the second (columns), unless they are too many."""
        names = sorted({grade for both in self.grades for grade in both})
        if len(names) > WIDEST:
            return Table("Grades: too many for a table", ["different grades"], [[str(len(names))]])
        rows = [[f"{one:g}", *(f"{self.grades[one, other]:,}" for other in names)] for one in names]
        return Table("Grades of HUMAN (rows) against JUDGE (columns)", ["grade", *(f"{one:g}" for one in names)], rows)


def agreement(first: Judgements, second: Judgements, *, seed: int = 0) -> Agreement:
    """Compare the grades of two judges, pair by pair.

    Cohen's weighted kappa (1968) with the weights (x - y)^2 is 1 - mean (x - y)^2 / its mean if the grades of one judge
    were shuffled, which is var x + var y + (mean x - mean y)^2. The interval is a percentile bootstrap of queries, not
    of pairs: the grades of one query are alike.

    Raises `UserError` if there is no pair that both graded.
    """
    ours, theirs = _grades(first), _grades(second)
    both = [pair for pair in ours if pair in theirs]
    if not both:
        example = f"{next(iter(ours), ('', ''))} and {next(iter(theirs), ('', ''))}"
        raise UserError(f"no pair is in both files, such as {example}: do both name queries by id, or by text?")
    grades_N = np.array([(ours[pair], theirs[pair]) for pair in both])
    places = {query: place for place, query in enumerate(dict.fromkeys(query for query, _ in both))}
    query_N = np.array([places[query] for query, _ in both])
    x_N, y_N = grades_N.T
    columns = (np.ones_like(x_N), x_N, y_N, x_N**2, y_N**2, (x_N - y_N) ** 2)
    sums_Q = np.stack([np.bincount(query_N, column) for column in columns], axis=1)
    kappa = float(_kappa(sums_Q.sum(axis=0, keepdims=True))[0])
    interval = None
    if np.isfinite(kappa):
        rng, size = np.random.default_rng(seed), len(sums_Q)
        drawn = [np.bincount(rng.integers(0, size, size), minlength=size) @ sums_Q for _ in range(RESAMPLES)]
        low, high = np.nanquantile(_kappa(np.array(drawn)), [0.025, 0.975])
        interval = Interval(kappa, float(low), float(high))
    return Agreement(
        interval,
        float((x_N == y_N).mean()),
        float((y_N - x_N).mean()),
        len(both),
        len(places),
        len(ours) - len(both),
        len(theirs) - len(both),
        Counter((ours[pair], theirs[pair]) for pair in both),
    )


def _grades(judgements: Judgements) -> Mapping[_Pair, float]:
    return {(row.query, row.item): row.grade for row in judgements.graded() if row.grade is not None}


def _kappa(sums_R: Doubles) -> Doubles:
    """(R,) kappa of R rows of: pairs, sums of x, y, x^2, y^2 and (x - y)^2; NaN where no grade differs from another."""
    x, y, xx, yy, apart = (sums_R[:, place] / sums_R[:, 0] for place in range(1, 6))
    chance = (xx - x**2) + (yy - y**2) + (x - y) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Doubles = np.where(chance > 1e-12, 1 - apart / chance, np.nan)
    return kappa
