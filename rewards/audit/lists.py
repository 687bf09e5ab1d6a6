"""Numbers of lists of rows: places that are chosen, how alike two lists are, and what explains who is shown."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rewards.base import Doubles

Listed: TypeAlias = Sequence[Hashable]
"""The rows of a list, best first."""


def there(rows_K: NDArray[np.integer[Any]]) -> list[int]:
    """The rows of a ranking, without its empty places."""
    rows: list[int] = rows_K[rows_K >= 0].tolist()
    return rows


def expected_shares(sizes: Sequence[int]) -> Doubles:
    """(S,) how often each place is chosen by chance, where prompts show this many candidates; S is the largest size."""
    sizes_B = np.asarray(sizes)
    return np.array([(np.where(sizes_B > slot, 1 / sizes_B, 0.0)).mean() for slot in range(int(sizes_B.max()))])


def total_variation(shares_S: Doubles, expected_S: Doubles) -> float:
    """Half the sum of the differences: 0 where places are chosen as by chance, 1 - 1/n where always one of n is."""
    return float(np.abs(shares_S - expected_S).sum() / 2)


def kendall(first: Listed, second: Listed) -> float:
    """Kendall's tau of the items that both lists have, from -1 to 1 (Kendall 1938).

    With fewer than two common items it is 1 where the first items are the same, else 0.
    """
    place_of = {row: place for place, row in enumerate(second)}
    places = [place_of[row] for row in first if row in place_of]
    if len(places) < 2:
        return float(bool(first) and bool(second) and first[0] == second[0])
    signs = np.sign(np.subtract.outer(places, places))[np.tril_indices(len(places), -1)]
    return float(signs.mean())


def jaccard(first: Listed, second: Listed) -> float:
    """Items that both lists have / items of either; 1 of two empty lists."""
    either = {*first, *second}
    return len({*first} & {*second}) / len(either) if either else 1.0


def serp(first: Listed, second: Listed) -> float:
    """SERP* (Zhang et al., FaiRLLM, RecSys 2023): common items, each counted by its place in the first list.

    Sum over the common items of (K - rank + 1) / (K (K + 1) / 2) with K the length of the first list: 1 where the
    second one has all of its items. The authors' code halves the sum, so that levels differ, not orders.
    """
    size, common = len(first), {*second}
    if not size:
        return float(not common)
    return sum(size - place for place, row in enumerate(first) if row in common) / (size * (size + 1) / 2)


def prag(first: Listed, second: Listed) -> float:
    """PRAG* (FaiRLLM): the share of pairs of the first list that the second one has in the same order.

    An item that the second list lacks comes after all that it has. Of one item: 1 where the lists are equal, else 0.
    """
    if len(first) < 2:
        return float(list(first) == list(second))
    place_of = {row: place for place, row in enumerate(second)}
    after = len(second)
    pairs = list(combinations(first, 2))
    return sum(one in place_of and place_of[one] < place_of.get(two, after) for one, two in pairs) / len(pairs)


SIMILARITIES: Mapping[str, Callable[[Listed, Listed], float]] = {"jaccard": jaccard, "serp": serp, "prag": prag}
"""How alike a list is to the neutral one: 1 for the same, 0 for nothing in common."""


def partial_spearman(first_N: Doubles, second_N: Doubles, *given_N: Doubles) -> float:
    """Spearman's correlation of two columns that is left when their ranks are fitted on those of others; 0 without any.

    The part of exposure that one quantity explains beyond others (Kendall and Stuart, partial rank correlation).
    """
    one, two = partial_ranks(first_N, second_N, *given_N)
    return float(one @ two)


def partial_ranks(first_N: Doubles, second_N: Doubles, *given_N: Doubles) -> tuple[Doubles, Doubles]:
    """What a linear fit on the ranks of others leaves of the ranks of two columns, at length 1; zeros for nothing.

    Their dot product is `partial_spearman`.
    """
    ranks_N2 = np.stack([ranks(first_N), ranks(second_N)], axis=1)
    design_ND = np.stack([np.ones(len(first_N)), *map(ranks, given_N)], axis=1)
    left_N2 = ranks_N2 - design_ND @ np.linalg.lstsq(design_ND, ranks_N2, rcond=None)[0]
    norms_2 = np.linalg.norm(left_N2, axis=0)
    one, two = (left_N2 / np.where(norms_2 > 1e-6 * len(first_N), norms_2, np.inf)).T
    return one, two


def ranks(column_N: Doubles) -> Doubles:
    """(N,) ranks from 0, equal values with their mean rank."""
    _, place_N, counts = np.unique(column_N, return_inverse=True, return_counts=True)
    means: Doubles = (np.cumsum(counts) - (counts + 1) / 2)[place_N]
    return means
