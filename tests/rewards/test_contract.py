from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from retrievers.base import Catalog
from retrievers.behaviour.content import Content
from rewards import BUILTIN, Reward
from rewards.base import Answer, Batch, Found, Search
from rewards.business import CrowdingReward, WorthReward
from rewards.guards.catalog import CopiedReward, FactsReward, UnmatchedReward
from rewards.guards.drift import DriftReward
from rewards.guards.form import FormatReward, GroupLengthReward, LengthReward, OperatorsReward
from rewards.guards.words import PhrasesReward, RepetitionReward
from rewards.measures.reward import AnnealedReward, GainReward, MeasureReward, RecR1Reward, ShuffledReward
from rewards.rewriting import Held, LiftReward
from rewards.shaping import AcrossReward, LogRankReward, OfFamilyReward, RankTiersReward
from rewards.testing import Cases, RewardContract, batch_of
from tests.rewards import test_audit

RANKED = [[5, 7, 2], [2, 5, -1], [-1, -1, -1]]
WANTED = [{2: 3, 5: 1, 9: 0}] * 3
IDEAL = 3 + 1 / 1.5849625  # grades 3 and 1: 3 / log2(2) + 1 / log2(3)


class TestMeasureReward(RewardContract):
    def build(self) -> Reward:
        return MeasureReward(measure="nDCG@3")

    def known(self) -> Cases:
        return [(batch_of(["a", "b", None], RANKED, WANTED), [(1 + 3 / 2) / IDEAL, 1.0, 0.0])]


class TestMeasureRewardWithAGradeFloor(RewardContract):
    def build(self) -> Reward:
        return MeasureReward(measure="RR(rel=2)@3")

    def known(self) -> Cases:
        return [(batch_of(["a", "b", None], RANKED, WANTED), [1 / 3, 1.0, 0.0])]


class TestMeasureRewardAtOne(RewardContract):
    def build(self) -> Reward:
        return MeasureReward(measure="Success@1")

    def known(self) -> Cases:
        return [(batch_of(["a", "b", None], RANKED, WANTED), [1.0, 1.0, 0.0])]


class TestGainReward(RewardContract):
    def build(self) -> Reward:
        return GainReward(measure="R@2")

    def known(self) -> Cases:
        raw = [[9, 2, 5]] * 3  # one of two in the first two places
        return [(batch_of(["a", "b", None], RANKED, WANTED, raw), [0.0, 0.5, -0.5])]


class TestRecR1Reward(RewardContract):
    def build(self) -> Reward:
        return RecR1Reward(measure="nDCG@3")

    def known(self) -> Cases:
        ranked = [*RANKED, [7, 8, 9]]
        paid = [(1 + 3 / 2) / IDEAL + 0.1, 1.1, -2.0, 0.0]
        return [(batch_of(["a", "b", None, "c"], ranked, WANTED + WANTED[:1]), paid)]


class TestFormatReward(RewardContract):
    def build(self) -> Reward:
        return FormatReward()

    def known(self) -> Cases:
        return [(batch_of(["a", "", None], RANKED, WANTED), [1.0, 1.0, 0.0])]


class TestLengthReward(RewardContract):
    def build(self) -> Reward:
        return LengthReward(budget=2, slope=0.25, cap=1.0)

    def known(self) -> Cases:
        queries = ["red tent", "light red tent", "a b c d e f g h", None]
        return [(batch_of(queries, [[1], [2], [3], [-1]], [{1: 1}] * 4), [0.0, -0.25, -1.0, -1.0])]


ONE = [[1], [2], [3], [-1]]
ITS = [{1: 1}] * 4


class TestGroupLengthReward(RewardContract):
    def build(self) -> Reward:
        return GroupLengthReward()

    def known(self) -> Cases:
        return [(batch_of(["red", "light red tent", "the light red tent of", None], ONE, ITS), [0.5, 0.0, -0.5, -0.5])]


class TestRepetitionReward(RewardContract):
    def build(self) -> Reward:
        return RepetitionReward()

    def known(self) -> Cases:
        return [(batch_of(["red tent", "red red", "a a a b", None], ONE, ITS), [0.0, -0.5, -0.5, -1.0])]


class TestUnmatchedReward(RewardContract):
    def build(self) -> Reward:
        return UnmatchedReward()

    def known(self) -> Cases:
        catalog = Catalog(["a", "b", "c", "d"], ["red tent", "lamp", "", ""])
        return [(batch_of(["red lamp", "red zelt", "zelt", None], ONE, ITS, catalog=catalog), [0.0, -0.5, -1.0, -1.0])]


class TestCopiedReward(RewardContract):
    def build(self) -> Reward:
        return CopiedReward(title_words=2)

    def known(self) -> Cases:
        catalog = Catalog(["item-a", "b", "c", "d"], ["", "red tent", "blue lamp", ""])
        queries = ["red tent", "item-a", "a blue lamp", None]
        return [(batch_of(queries, [[2], [3], [2], [-1]], ITS, catalog=catalog), [0.0, -1.0, -1.0, -1.0])]


class TestPhrasesReward(RewardContract):
    def build(self) -> Reward:
        return PhrasesReward(phrases=["lamp what", "red tent"])

    def known(self) -> Cases:
        return [(batch_of(["red tent", "a red tent", "tent red", None], ONE, ITS), [-1.0, -1.0, 0.0, -1.0])]


class TestDriftReward(RewardContract):
    def build(self) -> Reward:
        return DriftReward(at_least=0.5)

    def known(self) -> Cases:
        # The need is "what shopper 0 wants": its own words are at cosine 1, and no words are near nothing.
        return [
            (batch_of(["wants 0 shopper what", "", "what shopper 0 wants", None], ONE, ITS), [0.0, -1.0, 0.0, -1.0])
        ]


class TestOperatorsReward(RewardContract):
    def build(self) -> Reward:
        return OperatorsReward(budget=0, slope=0.25)

    def known(self) -> Cases:
        return [(batch_of(["red tent", "+red +tent", "(" * 9, None], ONE, ITS), [0.0, -0.5, -1.0, -1.0])]


class TestLogRankReward(RewardContract):
    def build(self) -> Reward:
        return LogRankReward(cutoff=3)

    def known(self) -> Cases:
        return [(batch_of(["a", "b", None], [[5, 2, 7], [8, 7, 6], [-1, -1, -1]], WANTED), [1.0, 0.0, 0.0])]


class TestRankTiersReward(RewardContract):
    def build(self) -> Reward:
        return RankTiersReward(places=[1, 3], pays=[1.0, 0.25])

    def known(self) -> Cases:
        return [(batch_of(["a", "b", None], [[5, 2, 7], [8, 7, 2], [-1, -1, -1]], WANTED), [1.0, 0.25, 0.0])]


class TestAnnealedReward(RewardContract):
    def build(self) -> Reward:
        return AnnealedReward(measure="Success@1", start=3, steps=2)

    def known(self) -> Cases:
        batch = batch_of(["a", "b", None], [[5, 2, 7], [8, 7, 2], [-1, -1, -1]], WANTED)
        return [(batch, [1.0, 0.0, 0.0]), (replace(batch, training_step=0), [1.0, 1.0, 0.0])]


class TestAcrossReward(RewardContract):
    def build(self) -> Reward:
        return AcrossReward(reward={"type": "measure", "measure": "RR@3"}, retrievers=[{"type": "bm25"}], how="worst")

    def known(self) -> Cases:
        others = {"bm25": [[7, 8, 2], [2, 7, 8], [-1, -1, -1]]}
        return [(batch_of(["a", "b", None], RANKED, WANTED, elsewhere=others), [1 / 3, 1.0, 0.0])]


class TestAcrossRewardOfAGain(RewardContract):
    def build(self) -> Reward:
        return AcrossReward(reward={"type": "gain", "measure": "R@2"}, retrievers=[{"type": "bm25"}])

    def known(self) -> Cases:
        raw = [[9, 2, 5]] * 3
        batch = batch_of(["a", "b", None], RANKED, WANTED, raw)
        # The other retriever finds both items for each query and none of them for the raw need.
        hits = batch_of(["a", "b", "c"], [[2, 5, 1]] * 3, WANTED, [[9, 8, 1]] * 3)
        others = {"bm25": Found(hits.hits, hits.raw_hits)}
        return [(replace(batch, elsewhere=others), [0.5, 0.75, 0.25])]


class TestOfFamilyReward(RewardContract):
    def build(self) -> Reward:
        return OfFamilyReward(family="search", reward={"type": "measure", "measure": "RR@3"})

    def known(self) -> Cases:
        batch = batch_of(["a", "b", None, "a"], [*RANKED, RANKED[0]], [*WANTED, {2: 1}])
        families = ("search", "search", "search", "rating")
        needs = [replace(one.need, family=name) for one, name in zip(batch.rollouts, families, strict=True)]
        rollouts = [replace(one, need=need) for one, need in zip(batch.rollouts, needs, strict=True)]
        return [(replace(batch, rollouts=rollouts), [1.0, 1.0, 0.0, 0.0]), (batch, [0.0] * 4)]


class TestGroupsOfAFamily(RewardContract):
    """Groups stay whole: the other family has shorter queries, which must not count."""

    def build(self) -> Reward:
        return OfFamilyReward(family="search", reward={"type": "group_length"})

    def known(self) -> Cases:
        batch = batch_of(["a b c", "a", "b"], [[1], [1], [2]], [{1: 1}, {1: 1}, {2: 1}])
        families = ("search", "search", "rating")
        needs = [replace(one.need, family=name) for one, name in zip(batch.rollouts, families, strict=True)]
        rollouts = [replace(one, need=need) for one, need in zip(batch.rollouts, needs, strict=True)]
        return [(replace(batch, rollouts=rollouts), [-0.5, 0.5, 0.0])]


SHOP = Catalog(
    [f"i{row}" for row in range(10)],
    ["x"] * 10,
    {"margin": [None, 4, 2, -50, 6, 4, 4, 4, 4, 4], "stock": [1, 1, 5, 1, 0, 2, "", True, 1, 1], "sales": range(10)},
)


class TestWorthReward(RewardContract):
    def build(self) -> Reward:
        return WorthReward(fields={"price": 0.5}, stock="stock", cutoff=3)

    def known(self) -> Cases:
        prices = {"price": SHOP.fields["margin"], "stock": SHOP.fields["stock"]}
        shop = Catalog(SHOP.ids, SHOP.texts, prices)
        # the mean price is 4: item 1 is worth 1.5, item 2 is worth 1.25, item 0 is worth 1, item 4 is out of stock and
        # item 3 is a loss; 2 has grade 2 and so gains 2.5
        wanted = [{0: 1, 1: 1, 2: 2, 3: 3, 4: 3, 5: 0}] * 4
        ranked = [[4, 2, 5], [2, 1, 0], [3, 6, 7], [-1, -1, -1]]
        best = 2.5 + 1.5 / 1.5849625 + 1 / 2
        return [
            (batch_of(["a", "b", "c", None], ranked, wanted, catalog=shop), [2.5 / 1.5849625 / best, 1.0, 0.0, 0.0])
        ]


class TestCrowdingReward(RewardContract):
    def build(self) -> Reward:
        return CrowdingReward(cutoff=2)

    def known(self) -> Cases:
        wanted = [{1: 1}, {1: 1}, {2: 1}, {3: 1}, {3: 1}]
        ranked = [[1, 2, 8], [1, 3, 8], [1, 4, 8], [5, 2, 8], [-1, -1, -1]]
        # of two other needs: item 1 is found for one, item 2 for one, 3 to 5 for none; 8 stands below the cutoff
        return [(batch_of(["a", "b", "c", "d", None], ranked, wanted), [-0.5, -0.25, -0.25, -0.25, -1.0])]


class TestShuffledReward(RewardContract):
    def build(self) -> Reward:
        return ShuffledReward(measure="RR@2")

    def known(self) -> Cases:
        wanted = [{1: 1}, {1: 1}, {2: 1}, {2: 1}, {2: 1}]
        # all of the first need's rollouts find it at once, none of the second's at all: each is paid as the other
        ranked = [[1, 2], [1, 3], [7, 8], [8, 7], [-1, -1]]
        alone = batch_of(["a", "b"], [[1, 2], [2, 1]], [{1: 1}] * 2)  # nobody to exchange with
        return [(batch_of(["a", "b", "c", "d", None], ranked, wanted), [0, 0, 1, 1, 1]), (alone, [0, 0])]


class TestMeasureRewardOfTheTail(RewardContract):
    def build(self) -> Reward:
        return MeasureReward(measure="Tail(field=price)@3")

    def known(self) -> Cases:
        shop = Catalog(SHOP.ids, SHOP.texts, {"price": tuple(range(10))})
        return [
            (batch_of(["a", "b", None], [[9, 8, 1], [1, 2, -1], [-1] * 3], WANTED, catalog=shop), [1 / 3, 1.0, 0.0])
        ]


class TestGainRewardOfKinds(RewardContract):
    def build(self) -> Reward:
        return GainReward(measure="alpha_nDCG@2")

    def known(self) -> Cases:
        shop = Catalog(SHOP.ids, SHOP.texts, {"category": ["a"] * 5 + ["b"] * 5})
        ranked, raw = [[2, 5], [2, 3], [-1, -1]], [[3, 5]] * 3
        wanted = [{2: 3, 3: 1, 5: 1, 9: 0}] * 3
        loss = 0.5 * 0.6309298 / 1.6309298  # the second place pays half for a kind that was there
        return [(batch_of(["a", "b", None], ranked, wanted, raw, shop), [0.0, -loss, -1.0])]


def rewriting(batch: Batch) -> Batch:
    """The batch with items as needs: each query is a new text of item 3, judged by who took it, and by who did not."""
    shop = Catalog(list("abcd"), ["red lamp", "red sofa", "blue sofa sofa", "lamp oak pine"])
    ranker = Content(shop, encoder={"type": "hashing", "dim": 4096}, store=None)
    rollouts = [
        replace(one, action=Answer(str(one.action.query))) if isinstance(one.action, Search) else one
        for one in batch.rollouts
    ]
    keys = {one.need.id: Held(3, [(0, 3)], [(1,)]) for one in rollouts}
    return replace(batch, rollouts=rollouts, qrels=[keys[one.need.id] for one in rollouts], ranker=ranker)


class TestLiftReward(RewardContract):
    """The holder took the red lamp: the item is second, behind the red sofa; for the other one it is third."""

    def build(self) -> Reward:
        return LiftReward()

    def known(self) -> Cases:
        second = 1 / np.log2(3)
        batch = batch_of(["red lamp", "red sofa lamp", "lamp oak pine", None], [[-1]] * 4, [{3: 1}] * 4)
        return [(rewriting(batch), [1 - second, 1 - second - 0.5, 0.0, -second])]

    def _batch(self, seed: int, size: int = 24) -> Batch:
        return rewriting(super()._batch(seed, size))


class TestFactsReward(RewardContract):
    def build(self) -> Reward:
        return FactsReward(field="category")

    def known(self) -> Cases:
        shop = Catalog(["a", "b", "c"], ["x"] * 3, {"category": ["Acme Tools", "shopper", None]})
        texts = ["tent of 4", "tent 5 wants", "the ACME-Tools tent", "acme tent", "shopper tent", None]
        batch = batch_of(texts, [[-1]] * 6, [{1: 1}] * 6, catalog=shop)  # the need: "what shopper 5 wants"
        return [(batch, [-1, 0, -1, 0, 0, -1])]


OURS = (__name__, test_audit.__name__)


@pytest.mark.parametrize("kind", BUILTIN)
def test_every_registered_reward_has_a_contract(kind: str) -> None:
    module, _, name = BUILTIN[kind].partition(":")
    registered = getattr(import_module(module), name)
    made = {type(contract().build()) for contract in RewardContract.__subclasses__() if contract.__module__ in OURS}
    assert registered in made, f"add a RewardContract subclass for {name} to {__file__}"
