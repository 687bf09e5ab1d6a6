from __future__ import annotations

import numpy as np
import pytest

from recr1.config.build import build
from recr1.formats import Tag
from recr1.tasks import SPLITS
from recr1.tasks.toy import ToyTask

TOY = ToyTask()


def test_toy_has_30_items_and_24_needs():
    assert len(TOY.catalog) == 30
    assert [len(TOY.needs(split)) for split in SPLITS] == [12, 6, 6]
    assert TOY.counts == {}


def test_a_judgement_of_the_toy():
    (need,) = [need for need in TOY.needs("validation") if need.text == "music at the pool"]
    assert TOY.qrels[need.id] == {TOY.catalog.row("speaker"): 3, TOY.catalog.row("headphones"): 0}


def test_toy_takes_a_format():
    assert isinstance(build("task", {"type": "toy", "format": {"type": "tag"}}).format, Tag)


@pytest.mark.parametrize("split", SPLITS)
def test_searching_the_raw_needs_of_the_toy_is_neither_hopeless_nor_perfect(split):
    needs = TOY.needs(split)
    hits = build("retriever", {"type": "bm25"}, TOY.catalog).search([need.text for need in needs], 1)
    first_is_right = np.mean(
        [TOY.qrels[n.id].get(int(row), 0) > 0 for n, row in zip(needs, hits.rows_QK[:, 0], strict=True)]
    )
    assert 0.1 < first_is_right < 0.9
