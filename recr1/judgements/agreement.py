"""How far judges agree with people: weighted kappa with its interval, grades against grades, and long queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from recr1.errors import UserError
from recr1.judge.difference import bounds_text, mean_cell
from recr1.judge.stats import LEVEL, RESAMPLES, Doubles, Interval
from recr1.judge.table import Table
from recr1.judgements.base import Judgements

_Pair: TypeAlias = tuple[str, str | None]
WIDEST = 12  # different grades that a table still shows
FEWEST = 10  # short and long queries that are needed to say whether a judge likes long ones


class Agreement(NamedTuple):
    """A judge against people, on the pairs that both graded."""

    kappa: Interval | None  # Cohen's with quadratic weights; None where all grades are one and the same
    equal: float  # share of pairs with the same grade
    shift: float  # mean grade of the judge less that of people
    pairs: int
    queries: int
    alone: tuple[int, int]  # pairs that only people graded, and only the judge
    grades: Counter[tuple[float, float]]
    words: int  # the median of the queries
    long: Interval | None
    """Shift of queries with more words less that of the others, means over queries; None without texts, or with few."""

    @property
    def table(self) -> Table:
        """Pairs by the grade of people (rows) and of the judge (columns), unless they are too many."""
        names = sorted({grade for both in self.grades for grade in both})
        if len(names) > WIDEST:
            return Table("Grades: too many for a table", ["different grades"], [[str(len(names))]])
        rows = [[f"{one:g}", *(f"{self.grades[one, other]:,}" for other in names)] for one in names]
        return Table("Grades of HUMAN (rows) against JUDGE (columns)", ["grade", *(f"{one:g}" for one in names)], rows)

    def lines(self) -> Iterator[str]:
        """What there is to say of one judge."""
        said = _text(self.kappa, ".3f") if self.kappa else "undefined, all grades are one"
        yield f"weighted kappa (quadratic, {LEVEL:.0%} interval over queries): {said}"
        if self.queries < 20:
            yield "with fewer than 20 queries the interval is rough"
        yield f"pairs in both: {self.pairs:,} of {self.queries:,} queries, the same grade: {self.equal:.1%}"
        yield f"mean grade of JUDGE less that of HUMAN: {self.shift:+.3f}"
        if self.long:
            more = f"queries with more than {self.words} words less that of the others"
            yield f"the same, of {more}: {_text(self.long, '+.3f')}"
            if not self.long.low <= 0 <= self.long.high:
                way = "higher" if self.long.mean > 0 else "lower"
                yield f"warning: JUDGE grades long queries {way} than HUMAN does: do not train on its grades"
        yield f"pairs in one alone: HUMAN {self.alone[0]:,}, JUDGE {self.alone[1]:,}"


def _text(interval: Interval, spec: str) -> str:
    return f"{interval.mean:{spec}} ({bounds_text(interval.low, interval.high, spec)})"


def side_by_side(judges: Mapping[str, Agreement]) -> Table:
    """Several judges, a row each."""
    rows = []
    for name, one in judges.items():
        kappa = mean_cell(one.kappa._asdict()) if one.kappa else "-"
        long = mean_cell(one.long._asdict(), spec="+.3f") if one.long else "-"
        rows.append([name, kappa, f"{one.pairs:,}", f"{one.queries:,}", f"{one.equal:.1%}", f"{one.shift:+.3f}", long])
    note = (
        f"kappa: weighted (quadratic), with {LEVEL:.0%} intervals over queries. equal: share of pairs with the same "
        "grade. shift: mean grade less that of HUMAN. long: shift of the queries with more words than the median, less "
        "that of the others; away from 0, the judge likes or dislikes long ones. The grades of one: --source NAME."
    )
    return Table("Agreement with HUMAN", ["judge", "kappa", "pairs", "queries", "equal", "shift", "long"], rows, [note])


def agreement(people: Judgements, judge: Judgements, *, seed: int = 0) -> Agreement:
    """Compare the grades of a judge with those of people, pair by pair.

    Cohen's weighted kappa (1968) with the weights (x - y)^2 is 1 - mean (x - y)^2 / its mean if the grades of one judge
    were shuffled, which is var x + var y + (mean x - mean y)^2. The intervals are percentile bootstraps of queries, not
    of pairs: the grades of one query are alike.

    Raises `UserError` if there is no pair that both graded.
    """
    ours, theirs = _grades(people), _grades(judge)
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
    rng, size = np.random.default_rng(seed), len(sums_Q)
    drawn = [np.bincount(rng.integers(0, size, size), minlength=size) @ sums_Q for _ in range(RESAMPLES)]
    kappa = float(_kappa(sums_Q.sum(axis=0, keepdims=True))[0])
    texts = {row.query: row.text for one in (judge, people) for row in one.rows}
    words_Q = np.array([len((texts[query] or "").split()) for query in places])
    words, shift_Q = int(np.median(words_Q)), (sums_Q[:, 2] - sums_Q[:, 1]) / sums_Q[:, 0]
    short_Q, long_Q = shift_Q[words_Q <= words], shift_Q[words_Q > words]
    enough = words_Q.all() and min(len(short_Q), len(long_Q)) >= FEWEST
    means = [rng.choice(part, (RESAMPLES, len(part))).mean(axis=1) for part in (long_Q, short_Q) if enough]
    return Agreement(
        _interval(kappa, _kappa(np.array(drawn))) if np.isfinite(kappa) else None,
        float((x_N == y_N).mean()),
        float((y_N - x_N).mean()),
        len(both),
        size,
        (len(ours) - len(both), len(theirs) - len(both)),
        Counter((ours[pair], theirs[pair]) for pair in both),
        words,
        _interval(float(long_Q.mean() - short_Q.mean()), means[0] - means[1]) if enough else None,
    )


def _interval(mean: float, drawn_R: Doubles) -> Interval:
    return Interval(mean, *np.nanquantile(drawn_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def _grades(judgements: Judgements) -> Mapping[_Pair, float]:
    return {(row.query, row.item): row.grade for row in judgements.graded() if row.grade is not None}


def _kappa(sums_R: Doubles) -> Doubles:
    """(R,) kappa of R rows of: pairs, sums of x, y, x^2, y^2 and (x - y)^2; NaN where no grade differs from another."""
    x, y, xx, yy, apart = (sums_R[:, place] / sums_R[:, 0] for place in range(1, 6))
    chance = (xx - x**2) + (yy - y**2) + (x - y) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Doubles = np.where(chance > 1e-12, 1 - apart / chance, np.nan)
    return kappa
