from __future__ import annotations

from importlib import import_module

import pytest

from rewards import BUILTIN, Reward
from rewards.format import FormatReward
from rewards.gain import GainReward
from rewards.length import LengthReward
from rewards.measure import MeasureReward
from rewards.testing import Cases, RewardContract, batch_of

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


@pytest.mark.parametrize("kind", BUILTIN)
def test_every_registered_reward_has_a_contract(kind: str) -> None:
    module, _, name = BUILTIN[kind].partition(":")
    registered = getattr(import_module(module), name)
    made = {type(contract().build()) for contract in RewardContract.__subclasses__() if contract.__module__ == __name__}
    assert registered in made, f"add a RewardContract subclass for {name} to {__file__}"
