"""`content`: one changed text ranks as a whole new index ranks it."""

from __future__ import annotations

import numpy as np
import pytest

from retrievers.abilities import RanksWith
from retrievers.base import Catalog
from retrievers.behaviour.content import Content

WORDS = "red blue oak pine lamp sofa table small large soft".split()
ENCODER = {"type": "hashing", "dim": 64}


def catalog_of(texts):
    return Catalog([f"i{row}" for row in range(len(texts))], texts)


def built(texts):
    return Content(catalog_of(texts), encoder=ENCODER, store=None)


def random_texts(rng, items):
    return [" ".join(rng.choice(WORDS, rng.integers(0, 4))) for _ in range(items)]


def full_ranks(recommender, row, histories, items):
    """The place of an item among all that a search finds, 0 where it is not found."""
    without = [tuple(one for one in history if one != row) for history in histories]
    found = recommender.search(without, items).rows_QK == row
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_rank_with_equals_a_search_of_a_new_index(seed):
    """Few words, so that many items tie; with empty texts, and holders, others and people without a history."""
    rng = np.random.default_rng(seed)
    texts = random_texts(rng, 40)
    recommender = built(texts)
    histories = [tuple(rng.choice(40, rng.integers(0, 9), replace=False).tolist()) for _ in range(30)]
    for row in range(0, 40, 5):
        changes = [None, "", "oak lamp", texts[(row + 1) % 40], f"{texts[row]} soft", "unheard"]
        ranks_TH = recommender.rank_with(row, changes, histories)
        for change, ranks_H in zip(changes, ranks_TH, strict=True):
            new = [*texts]
            new[row] = texts[row] if change is None else change
            assert ranks_H.tolist() == full_ranks(built(new), row, histories, 40).tolist(), (row, change)


def test_with_texts_is_the_recommender_of_a_changed_catalog():
    texts = random_texts(np.random.default_rng(9), 30)
    new = {3: "oak sofa", 4: "", 7: texts[0], 29: "small red lamp"}
    changed, histories = [new.get(row, text) for row, text in enumerate(texts)], [(0, 1), (3, 4, 7), (29,)]
    recommender = built(texts)
    recommender.rank_with(3, ["red"], histories)  # what is kept of the old texts must not be used
    other, fresh = recommender.with_texts(new), built(changed)
    for found, expected in zip(other.search(histories, 30), fresh.search(histories, 30), strict=True):
        assert found.tolist() == expected.tolist()
    assert np.array_equal(other.rank_with(7, [None, "red"], histories), fresh.rank_with(7, [None, "red"], histories))
    assert recommender.search(histories, 5).rows_QK.tolist() == built(texts).search(histories, 5).rows_QK.tolist()


def test_scores_that_are_kept_are_forgotten_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr("retrievers.behaviour.content.KEPT", 100)
    rng = np.random.default_rng(1)
    recommender, histories = built(random_texts(rng, 20)), [(row, row + 1) for row in range(12)]
    first = recommender.rank_with(2, ["red"], histories[:4])
    recommender.rank_with(2, ["red"], histories[4:])
    assert len(recommender._kept) == 8
    assert np.array_equal(recommender.rank_with(2, ["red"], histories[:4]), first)


def test_it_is_a_retriever_that_ranks_with_a_changed_text():
    recommender = built(["red lamp", "red sofa"])
    assert isinstance(recommender, RanksWith)
    assert recommender.item_vectors()[[1]].shape == (1, 64)
