"""Fusion: worked by hand, and with parts whose hits are written down."""

from __future__ import annotations

import numpy as np
import pytest

from retrievers import Catalog, Hits
from retrievers.abilities import syntax_of
from retrievers.combine.hybrid import Hybrid
from retrievers.topk import topk

CATALOG = Catalog([f"i{row}" for row in range(6)], ["word"] * 6)
NOTHING = float("-inf")


class Table:
    """Finds what its option says, whatever is asked: a score for each item, null for one that is not found."""

    def __init__(self, catalog, *, scores, understands=(), written=None):
        self.scores = np.array([NOTHING if score is None else score for score in scores], np.float32)
        self.capabilities, self.syntax = frozenset(understands), written or {}
        self.calls: list[tuple[int, int]] = []

    def search(self, queries, k):
        self.calls.append((len(queries), k))
        return topk(np.tile(self.scores, (len(queries), 1)), k)


class Shallow(Table):
    """Refuses deep searches."""

    max_k = 3


def part(*scores, **more):
    return {"type": f"{__name__}:Table", "scores": [*scores, *[None] * (6 - len(scores))], **more}


def found(hits: Hits) -> dict[int, float]:
    return {int(row): float(score) for row, score in zip(hits.rows_QK[0], hits.scores_QK[0], strict=True) if row >= 0}


def fused(*parts, **options):
    return found(Hybrid(CATALOG, parts=list(parts), **options).search(["q"], 6))


def test_reciprocal_ranks_add_up():
    # First: rows 0, 1, 2 in places 1, 2, 3. Second: row 2 in place 1, row 3 in place 2.
    hits = fused(part(9, 8, 7), part(None, None, 5, 4))
    assert list(hits) == [2, 0, 1, 3]
    assert hits == pytest.approx({2: 1 / 63 + 1 / 61, 0: 1 / 61, 1: 1 / 62, 3: 1 / 62})


def test_rrf_k_and_weights_shape_the_ranks():
    hits = fused(part(9, 8), part(None, 8, 9), rrf_k=0, weights=[1, 3])
    # 0: 1/1; 1: 1/2 + 3/2; 2: 3/1
    assert hits == pytest.approx({2: 3.0, 1: 2.0, 0: 1.0})


def test_scores_are_counted_in_their_range():
    hits = fused(part(10, 6, 2), part(None, 0.5, None, -0.5), method="sum", weights=[2, 1])
    # First: 1, 0.5, 0, times 2. Second: rows 1 and 3 at 1 and 0. The last of each part counts nothing, and is found.
    assert hits == pytest.approx({0: 2.0, 1: 2.0, 2: 0.0, 3: 0.0})
    assert list(hits) == [0, 1, 2, 3]


def test_scores_are_counted_in_their_deviation():
    hits = fused(part(4, 2, 0), part(None, None, 5, 3), method="sum", normalise="zscore")
    # Deviations: sqrt(8/3) and 1. Counted from the lowest: 4, 2, 0 and 2, 0.
    sd = (8 / 3) ** 0.5
    assert hits == pytest.approx({0: 4 / sd, 2: 2.0, 1: 2 / sd, 3: 0.0})


@pytest.mark.parametrize("normalise", ["minmax", "zscore"])
def test_equal_scores_count_as_much_as_the_weight(normalise):
    hits = fused(part(7, 7, 7), part(None, None, 1), method="sum", normalise=normalise, weights=[1, 0.5])
    assert hits == pytest.approx({2: 1.5, 0: 1.0, 1: 1.0})
    assert list(hits) == [2, 0, 1]


def test_three_parts_tie_to_the_last_bit_whatever_their_order():
    # Rows 0 and 1 have the places 1, 2, 3 in three parts, in different order; 1/3 + 1/7 + 1/5 is not associative.
    parts = [part(9, 8, 7), part(8, 7, 9), part(7, 9, 8)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        hits = Hybrid(CATALOG, parts=[parts[place] for place in order], rrf_k=0.7).search(["q"], 3)
        assert hits.rows_QK.tolist() == [[0, 1, 2]]
        assert len(set(hits.scores_QK[0].tolist())) == 1


def test_what_no_part_finds_is_not_found():
    hits = Hybrid(CATALOG, parts=[part(), part()]).search(["q", "r"], 4)
    assert hits.rows_QK.tolist() == [[-1] * 4] * 2
    assert (hits.scores_QK == NOTHING).all()


def test_a_part_that_finds_nothing_leaves_the_other_as_it_was():
    assert list(fused(part(), part(1, 3, 2))) == [1, 2, 0]
    assert fused(part(), part(1, 3, 2), method="sum") == pytest.approx({1: 1.0, 2: 0.5, 0: 0.0})


def test_each_part_is_asked_once_and_as_deep_for_any_k():
    hybrid = Hybrid(CATALOG, parts=[part(3, 2, 1), part(1, 2, 3)], depth=4)
    for k in (1, 4):
        hybrid.search(["q", "r"], k)
    assert [one.calls for one in hybrid._parts] == [[(2, 4)] * 2] * 2


def test_only_the_first_of_each_part_are_fused():
    assert list(found(Hybrid(CATALOG, parts=[part(3, 2, 1), part(1, 2, 3)], depth=1).search(["q"], 1))) == [0]


def test_a_search_beyond_the_fused_depth_is_refused():
    hybrid = Hybrid(CATALOG, parts=[part(1), part(1)], depth=4)
    assert hybrid.max_k == 4
    with pytest.raises(ValueError, match="k is 5, and depth=4 items of each part are fused: set depth to 5 or more"):
        hybrid.search(["q"], 5)


def test_a_fusion_of_all_items_may_be_asked_for_more():
    hybrid = Hybrid(CATALOG, parts=[part(1), part(1)], depth=6)
    assert hybrid.max_k is None
    assert hybrid.search(["q"], 9).rows_QK.shape == (1, 9)


def test_a_fusion_can_be_fused():
    inner = {"type": "hybrid", "parts": [part(9, 8, 7), part(None, 8, 9)]}
    # Inner: row 2 (1/63 + 1/61), 1 (2/62), 0 (1/61). Outer: 1/1 + 1/2, 1/2 + 1/3, 1/3 + 1/1.
    assert fused(inner, part(9, 7, 8), rrf_k=0) == pytest.approx({2: 3 / 2, 0: 4 / 3, 1: 5 / 6})


def test_it_understands_what_all_of_its_parts_understand():
    both = [part(1, understands=["boolean", "phrases"]), part(1, understands=["phrases", "fields"])]
    assert Hybrid(CATALOG, parts=both).capabilities == {"phrases"}
    assert Hybrid(CATALOG, parts=[*both, {"type": "bm25"}]).capabilities == frozenset()


def test_it_does_not_understand_what_its_parts_write_otherwise():
    parts = [part(1, understands=["phrases"]), part(1, understands=["phrases"], written={"phrases": "in braces"})]
    assert Hybrid(CATALOG, parts=parts).capabilities == frozenset()
    assert syntax_of(Hybrid(CATALOG, parts=parts[1:] * 2)) == {"phrases": "in braces"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": []}, "parts: must be a list of mappings with at least 2 items, got "),
        ({"parts": [part(1)]}, "parts: must be a list of mappings with at least 2 items, got "),
        ({"weights": [1]}, "weights: must be one number per part, got 1 for 2 parts"),
        ({"weights": [1, 0]}, "weights.1: must be a number > 0, got 0"),
        ({"weights": [1, float("nan")]}, "weights.1: must be a number > 0, got nan"),
        ({"rrf_k": -1}, "rrf_k: must be a number >= 0, got -1"),
        ({"depth": 0}, "depth: must be an integer >= 1, got 0"),
        ({"method": "max"}, "method: must be one of 'rrf', 'sum', got 'max'"),
        ({"normalise": "softmax"}, "normalise: must be one of 'minmax', 'zscore', got 'softmax'"),
        ({"parts": [part(1), {"type": "bm52"}]}, r"parts\.1\.type: no 'bm52' here; did you mean 'bm25'\?"),
        ({"parts": [part(1), {"type": "bm25", "k1": -1}]}, r"parts\.1\.k1: must be a number >= 0"),
        (
            {"parts": [part(1), {"type": f"{__name__}:Shallow", "scores": [1] * 6}]},
            r"depth: parts\.1 finds at most 3 items; set depth to 3 or less",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Hybrid(CATALOG, **{"parts": [part(1), part(2)], **options})
