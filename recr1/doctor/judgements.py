"""Judgements: do they belong to these needs and items, and do the best items have the highest grades?"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import TypeAlias

import numpy as np

from recr1.doctor.base import Faults, Finding, Setup, Verdict, finding
from recr1.doctor.grades import grade_faults
from recr1.doctor.texts import ENOUGH
from retrievers.analyzer import Analyzer
from rewards.base import Doubles, Need

COMPARED = 200
"""Needs of a group that are compared with each other, at most; no search is needed, so `--sample` does not count."""
SURE, FAR = 4.0, 5.0
"""Standard errors and standard deviations from which a shift or an inversion is no chance."""
CHANCE = 3.0
"""Standard deviations of permuted judgements within which the true ones are like any others."""
KNOWN, CLEAR = 0.12, 0.8
"""The share of the needs' words that the catalog has, from which words must tell judgements from others; and the share
of the words of one need, from which its own must."""
LOST = 0.15
"""The share of such needs whose words a fifth of the others' best items have as well as their own."""
EVERYWHERE = "all needs"
WORDS = 100
"""Words of a text that are compared."""

Bag = frozenset[str]
_Named: TypeAlias = tuple[str, Verdict, str]
"""A fault's name, its verdict, and what is wrong."""
_ANALYZER = Analyzer(stopwords="english_plus")


def judgements(setup: Setup) -> Finding:
    """Judgements fit their needs better than those of other needs or rows, by shared words or by structure.

    For all needs, each split, and parts of the catalog, two statistics are compared with those of judgements that are
    permuted at random: the share of a need's words, weighted by rarity, that its best items have; and how well needs of
    similar words have other items of similar words (Mantel, "The detection of disease clustering and a generalized
    regression approach", Cancer Research 1967), which holds where needs and items share no word. Errors: shifted
    judgements, if those of another need or row share `SURE` standard errors more words, or, where words say nothing,
    have a Mantel statistic of `FAR` standard deviations and twice the true one; and unrelated ones, within `CHANCE` by
    both, for 100 needs if the catalog has the share `KNOWN` of their words. With fewer needs, or for `COMPARED` with
    fewer words, that is a warning; a part of the needs is unrelated if twice `CHANCE` is expected of it from all of
    them. A warning is also the share `LOST` of judgements that say nothing, if 30% of the needs beat
    98% of the others. Inverted grades: see `_inverted`. The others: see `grade_faults`. Needs with a history are not
    compared: the next item has other words, and is in the next history.
    """
    faults, ordered = Faults(), sorted(setup.needs, key=lambda need: _natural(need.id))
    orders = [setup.needs] if ordered == setup.needs else [setup.needs, ordered]
    names: dict[_Named, list[str]] = {}
    for name, members in _groups(setup).items():
        if len(members) >= ENOUGH and not any(need.history for need in members):
            group = _Group(setup, setup.sampled(members, f"judgements of {name}", COMPARED))
            numbers = faults.numbers.setdefault(name, {})
            fault = _misplaced(group, orders, numbers) or _inverted(group, numbers)
            whole = faults.numbers[EVERYWHERE]
            surely = max(whole["by_words"], whole["by_structure"]) * (numbers["needs"] / whole["needs"]) ** 0.5
            if fault and (fault[0] != "unrelated" or name == EVERYWHERE or surely >= 2 * CHANCE):
                names.setdefault(fault, []).append(name)
    for (name, verdict, what), groups in names.items():
        where = groups if groups[0] != EVERYWHERE else groups[:1]
        faults.add(name, verdict, f"in {', '.join(where)}, {what}")
    grade_faults(faults, setup)
    return finding("judgements", faults.problems, "answer keys fit their needs and items", faults.numbers)


def _groups(setup: Setup) -> Mapping[str, Sequence[Need]]:
    """The needs by what may have gone wrong alone; those of a part of the catalog want only items there."""

    def compared(needs: Sequence[Need]) -> list[Need]:
        return [need for need in needs if setup.best_rows(need) and _words(need.text)]

    needs, half = compared(setup.needs), len(setup.catalog) // 2
    splits = {split: compared(members) for split, members in setup.splits.items()}
    halves = {
        "the first half of the catalog": [need for need in needs if setup.best_rows(need)[-1] < half],
        "the second half of the catalog": [need for need in needs if setup.best_rows(need)[0] >= half],
        "the last quarter of the catalog": [need for need in needs if setup.best_rows(need)[0] >= 1.5 * half],
    }
    return {name: members for name, members in {EVERYWHERE: needs, **splits, **halves}.items() if members}


@dataclass(frozen=True)
class _Group:
    """Needs that are compared: n of them."""

    setup: Setup
    needs: Sequence[Need]

    @cached_property
    def wanted(self) -> list[Bag]:
        """The words of each need."""
        return [_words(need.text) for need in self.needs]

    @cached_property
    def best(self) -> list[list[int]]:
        """The best items of each need."""
        return [self.setup.best_rows(need) for need in self.needs]

    def offered(self, rows: Sequence[Sequence[int]]) -> list[Bag]:
        """The words of each need's items, in any field, since what was judged may not be what is searched.

        Rows outside of the catalog have none.
        """
        columns = self.setup.catalog.texts, *self.setup.catalog.fields.values()
        inside = ([row for row in some if 0 <= row < len(columns[0])] for some in rows)
        return [
            Bag().union(*(_words(column[row]) for row in some for column in columns if isinstance(column[row], str)))
            for some in inside
        ]

    def alike(self, rows: Sequence[Sequence[int]]) -> Doubles:
        """(n, n) how like the items of two needs are; 0 where they share one, since that is no matter of its text."""
        alike, sharing = _alike(self.offered(rows)), defaultdict[int, list[int]](list)
        for place, some in enumerate(rows):
            for row in some:
                sharing[row].append(place)
        for places in sharing.values():
            alike[np.ix_(places, places)] = 0
        return alike

    def candidates(self, orders: Sequence[Sequence[Need]]) -> Iterator[tuple[str, str, list[list[int]]]]:
        """What the judgements may belong to instead: the fault, what fits better, and each need's items then."""
        for order in orders:
            place = {need.id: at for at, need in enumerate(order)}
            for shift in (-2, -1, 1, 2):
                others = [order[at] if 0 <= (at := place[n.id] + shift) < len(order) else None for n in self.needs]
                what = f"the judgements of the need {_places(shift)} fit better"
                yield "shifted needs", what, [self.setup.best_rows(other) if other else [] for other in others]
        for shift in (-3, -2, -1, 1, 2, 3):
            what = f"the items {_places(shift)} fit better than those judged"
            yield "shifted items", what, [[row + shift for row in some] for some in self.best]


def _misplaced(group: _Group, orders: Sequence[Sequence[Need]], numbers: dict[str, float]) -> _Named | None:
    """A fault if a shift explains the judgements, or nothing does."""
    own, n = group.offered(group.best), len(group.needs)
    rng = group.setup.rng("permuted judgements")
    permuted = [rng.permutation(n) for _ in range(200)]
    rarity, rarest = _rarity(own), math.log(2 * n + 2)
    columns = {word: column for column, word in enumerate(sorted(Bag().union(*group.wanted)))}
    shares = _matrix(group.wanted, columns, {word: rarity.get(word, rarest) for word in columns})
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    shared = shares @ _matrix(own, columns).T  # (n, n) the share of need i's words that the items of need j have
    needs, items = _alike(group.wanted), group.alike(group.best)
    null = [float((needs * items[np.ix_(order, order)]).sum()) for order in permuted]
    by_words = _deviations(np.trace(shared), [float(shared[np.arange(n), order].sum()) for order in permuted])
    by_structure = _deviations((needs * items).sum(), null)
    numbers |= {"needs": n, "by_words": by_words, "by_structure": by_structure}
    ((_, alike),) = Counter(map(tuple, group.best)).most_common(1)
    if 2 * alike > n:  # whatever is moved, most needs have the same items: see `grade_faults`
        return None
    tried = [(*one, (shares * _matrix(group.offered(one[2]), columns)).sum(axis=1)) for one in group.candidates(orders)]
    found = []
    for name, what, rows, having in tried:
        # A shift that fits better than what is judged fits better than other shifts as well.
        others = np.mean([other for its, _, rest, other in tried if its == name and rest != rows], axis=0)
        strength = min(_standardised(having - base) for base in (np.diag(shared), others)) / SURE
        if by_words < CHANCE:  # where words tell judgements from others, structure adds nothing
            structure = _deviations((needs * group.alike(rows)).sum(), null)
            strength = max(strength, structure / max(FAR, 2 * by_structure))
        if strength >= 1:
            found.append((strength, name, what))
    (known,) = group.offered([group.setup.sampled(range(len(group.setup.catalog)), "known words", 5000)])
    known_n = np.array([len(bag & known) / len(bag) for bag in group.wanted])
    # The share of other needs' items that have more of a need's words than its own have; half of those with as many.
    beaten = (np.sign(np.round(shared - np.diag(shared)[:, None], 9)) + 1).mean(axis=1)[known_n >= CLEAR] / 2
    lost = float(np.mean(beaten > 0.2)) if len(beaten) >= 2 * ENOUGH and np.mean(beaten <= 0.02) >= 0.3 else 0.0
    covered = float(known_n.mean())
    numbers |= {"known_words": covered, "lost": lost}
    if found:
        _, name, what = max(found)
        return name, "error", f"{what}: join needs, items and judgements by id, not by line"
    if max(by_words, by_structure) < CHANCE and (n >= COMPARED or covered >= KNOWN):
        what = "best items fit their needs no better than those of other needs: are the ids of the same catalog?"
        return "unrelated", "error" if n >= 100 and covered >= KNOWN else "warning", what
    if lost >= LOST:
        what = "some best items fit no better than others' do, and most fit well: are some ids of another catalog?"
        return "partly unrelated", "warning", what
    return None


def _inverted(group: _Group, numbers: dict[str, float]) -> _Named | None:
    """Inverted grades: the lowest judged items of a need share more words with it than the best, or with each other.

    Five items of the highest and of the lowest grade of each need. By `SURE` standard errors in one of the two, where
    the other does not say the opposite by two: an error. If it does, a warning where the need's words say it.
    """
    words, unity = [], []
    for need, wanted in zip(group.needs, group.wanted, strict=True):
        key = group.setup.env.task.qrels[need.id]
        ends = [key.rows_J[key.grades_J == end][:5].tolist() for end in (key.grades_J.max(), key.grades_J.min())]
        if key.grades_J.max() > key.grades_J.min():
            best, worst = (group.offered([[row] for row in rows]) for rows in ends)
            words.append(np.diff([np.mean([len(wanted & bag) for bag in bags]) for bags in (worst, best)])[0])
            if min(len(best), len(worst)) >= 2:
                unity.append(_unity(best) - _unity(worst))
    by_words, by_unity = (_standardised(np.array(values)) for values in (words, unity))
    numbers |= {"best_less_worst_by_words": by_words, "best_less_worst_by_unity": by_unity}
    what = "the lowest grades fit their needs better than the highest: is a rank or a distance taken for a grade?"
    if by_words <= -SURE or (by_unity <= -SURE and by_words < 2):
        return "inverted grades", "warning" if by_unity >= 2 else "error", what
    return None


@lru_cache(200_000)
def _words(text: str) -> Bag:
    """The different words of a text's beginning, without those that are in any English one."""
    words = _ANALYZER.words(" ".join(text.split()[:WORDS]))
    return frozenset(word for word in words if len(word) >= 3 or not word.isascii())


def _rarity(bags: Sequence[Bag]) -> dict[str, float]:
    """Word -> the logarithm of how rare it is among the bags, never below 0."""
    holders = Counter(word for bag in bags for word in bag)
    return {word: max(math.log((len(bags) + 1) / (count + 0.5)), 0) for word, count in holders.items()}


def _matrix(bags: Sequence[Bag], columns: Mapping[str, int], values: Mapping[str, float] | None = None) -> Doubles:
    """(n, words) the value, or 1, of each word that a bag has; words without a column are left out."""
    matrix: Doubles = np.zeros((len(bags), max(len(columns), 1)))
    for row, bag in enumerate(bags):
        for word in bag & columns.keys():
            matrix[row, columns[word]] = values[word] if values else 1
    return matrix


def _alike(bags: Sequence[Bag]) -> Doubles:
    """(n, n) the cosines of the bags, by rarity, less their mean; 0 on the diagonal."""
    rarity = _rarity(bags)
    matrix = _matrix(bags, {word: column for column, word in enumerate(sorted(rarity))}, rarity)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True) + 1e-9
    cosines: Doubles = matrix @ matrix.T
    cosines -= cosines[~np.eye(len(bags), dtype=bool)].mean()
    np.fill_diagonal(cosines, 0)
    return cosines


def _unity(bags: Sequence[Bag]) -> float:
    """The mean Jaccard similarity of two of the bags."""
    return float(np.mean([len(one & other) / max(len(one | other), 1) for one, other in combinations(bags, 2)]))


def _deviations(value: float, null: Sequence[float]) -> float:
    """How many standard deviations a value is above the mean of others."""
    return float((value - np.mean(null)) / (np.std(null) + 1e-12))


def _standardised(values: Doubles) -> float:
    """The mean in standard errors, within -99 and 99; 0 for fewer than `ENOUGH`."""
    if len(values) < ENOUGH:
        return 0.0
    return float(np.clip(values.mean() / max(values.std(ddof=1) / len(values) ** 0.5, 1e-9), -99, 99))


def _natural(text: str) -> str:
    """A key that sorts numbers within texts by value."""
    return re.sub(r"\d+", lambda number: number[0].zfill(20), text)


def _places(shift: int) -> str:
    return f"{abs(shift)} {'line' if abs(shift) == 1 else 'lines'} {'above' if shift < 0 else 'below'}"
