"""How far two judges agree: weighted kappa with its interval, and a table of grades against grades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from recr1.errors import UserError
from recr1.judge.difference import bounds_text, mean_cell
from recr1.judge.stats import LEVEL, RESAMPLES, Doubles, Interval
from recr1.judge.table import Table
from recr1.judgements.base import Judgements

_Pair: TypeAlias = tuple[str, str | None]
WIDEST = 12
"""Different grades that a table still shows."""
FEWEST = 10
"""Short and long queries that are needed to say whether a judge likes long ones."""


class Liking(NamedTuple):
    """What a judge adds to the grades of another for long queries beyond what it adds for short ones."""

    words: int
    """The most words of a short query, the median."""
    short: float
    long: float
    """Mean grade of the second judge less that of the first, mean over queries."""
    apart: Interval
    """Long less short."""

    @property
    def clear(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.apart.low > 0 or self.apart.high < 0


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
    liking: Liking | None
    """Whether the second judge likes long queries; None without texts, and where all queries are about as long."""

    @property
    def table(self) -> Table:
        """Pairs by the grade of the first judge (rows) and the second (columns), unless they are too many."""
        names = sorted({grade for both in self.grades for grade in both})
        if len(names) > WIDEST:
            return Table("Grades: too many for a table", ["different grades"], [[str(len(names))]])
        rows = [[f"{one:g}", *(f"{self.grades[one, other]:,}" for other in names)] for one in names]
        return Table("Grades of HUMAN (rows) against JUDGE (columns)", ["grade", *(f"{one:g}" for one in names)], rows)

    def lines(self) -> Iterator[str]:
        """What there is to say of one judge."""
        kappa, long = self.kappa, self.liking
        said = (
            f"{kappa.mean:.3f} ({bounds_text(kappa.low, kappa.high, '.3f')})"
            if kappa
            else "undefined, all grades are one"
        )
        yield f"weighted kappa (quadratic, {LEVEL:.0%} interval over queries): {said}"
        if self.queries < 20:
            yield "with fewer than 20 queries the interval is rough"
        yield f"pairs in both: {self.pairs:,} of {self.queries:,} queries, the same grade: {self.equal:.1%}"
        yield f"mean grade of JUDGE less that of HUMAN: {self.shift:+.3f}"
        if long:
            apart = f"{long.apart.mean:+.3f} ({LEVEL:.0%} interval {bounds_text(long.apart.low, long.apart.high)})"
            lengths = f"queries of up to {long.words} words: {long.short:+.3f}, longer ones: {long.long:+.3f}"
            yield f"the same, {lengths}, apart {apart}"
            if long.clear:
                way = "higher" if long.apart.mean > 0 else "lower"
                yield f"warning: JUDGE grades long queries {way} than HUMAN does: do not train on its grades"
        yield f"pairs in one alone: HUMAN {self.first_alone:,}, JUDGE {self.second_alone:,}"


def side_by_side(judges: Mapping[str, Agreement]) -> Table:
    """Several judges, a row each."""
    rows = []
    for name, one in judges.items():
        long = mean_cell(one.liking.apart._asdict(), spec="+.3f") if one.liking else "-"
        kappa = mean_cell(one.kappa._asdict()) if one.kappa else "-"
        rows.append([name, kappa, f"{one.pairs:,}", f"{one.queries:,}", f"{one.equal:.1%}", f"{one.shift:+.3f}", long])
    note = (
        f"kappa: weighted (quadratic), with {LEVEL:.0%} intervals over queries. equal: share of pairs with the same "
        "grade. shift: mean grade less that of HUMAN. long: shift of the queries with more words than the median, less "
        "that of the others; away from 0, the judge likes or dislikes long ones. The grades of one: --source NAME."
    )
    return Table("Agreement with HUMAN", ["judge", "kappa", "pairs", "queries", "equal", "shift", "long"], rows, [note])


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
    texts = {row.query: row.text for judge in (second, first) for row in judge.rows if row.text}
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
        _liking([texts.get(query) for query in places], (sums_Q[:, 2] - sums_Q[:, 1]) / sums_Q[:, 0], seed),
    )


def _liking(texts_Q: Sequence[str | None], shifts_Q: Doubles, seed: int) -> Liking | None:
    if not all(texts_Q):
        return None
    words_Q = np.array([len((text or "").split()) for text in texts_Q])
    words = int(np.median(words_Q))
    short_Q, long_Q = shifts_Q[words_Q <= words], shifts_Q[words_Q > words]
    if min(len(short_Q), len(long_Q)) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(part, (RESAMPLES, len(part))).mean(axis=1) for part in (short_Q, long_Q)]
    low, high = np.quantile(drawn[1] - drawn[0], [0.025, 0.975]).tolist()
    short, long = float(short_Q.mean()), float(long_Q.mean())
    return Liking(words, short, long, Interval(long - short, low, high))


def _grades(judgements: Judgements) -> Mapping[_Pair, float]:
    return {(row.query, row.item): row.grade for row in judgements.graded() if row.grade is not None}


def _kappa(sums_R: Doubles) -> Doubles:
    """(R,) kappa of R rows of: pairs, sums of x, y, x^2, y^2 and (x - y)^2; NaN where no grade differs from another."""
    x, y, xx, yy, apart = (sums_R[:, place] / sums_R[:, 0] for place in range(1, 6))
    chance = (xx - x**2) + (yy - y**2) + (x - y) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Doubles = np.where(chance > 1e-12, 1 - apart / chance, np.nan)
    return kappa
