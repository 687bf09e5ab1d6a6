"""The contract is worth what it catches: each of these rewards is wrong in one way, and one test says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rewards.base import Invalid
from rewards.guards.form import FormatReward
from rewards.testing import RewardContract, batch_of, invalidated, random_batch


def contract_of(reward, **attributes) -> RewardContract:
    """The contract for rewards that `reward()` builds."""
    return type("Contract", (RewardContract,), {"build": lambda self: reward(), **attributes})()


class Wrong:
    """A correct reward for a subclass to spoil: 1 for a query, 0 for none."""

    name = "wrong"

    def __call__(self, batch):
        return np.array([not isinstance(r.action, Invalid) for r in batch.rollouts], np.float32)


class Doubles(Wrong):
    def __call__(self, batch):
        return super().__call__(batch).astype(np.float64)


class List(Wrong):
    def __call__(self, batch):
        return super().__call__(batch).tolist()


class Column(Wrong):
    def __call__(self, batch):
        return super().__call__(batch)[:, None]


class NotFinite(Wrong):
    def __call__(self, batch):
        return np.where(super().__call__(batch) == 0, np.nan, 1).astype(np.float32)


class NotFiniteWhereNothingIsFound(Wrong):
    def __call__(self, batch):
        found_B = (batch.hits.rows_QK >= 0).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (found_B / found_B).astype(np.float32)


class Writes(Wrong):
    def __call__(self, batch):
        batch.hits.rows_QK[:] = 0
        return super().__call__(batch)


class Notes(Wrong):
    def __call__(self, batch):
        batch.elsewhere["seen"] = None
        return super().__call__(batch)


class LikesTheFirst(Wrong):
    def __call__(self, batch):
        rewards_B = super().__call__(batch)
        rewards_B[:1] += 5
        return rewards_B


class Drifts(Wrong):
    def __init__(self):
        self.calls = itertools.count()

    def __call__(self, batch):
        return super().__call__(batch) + np.float32(next(self.calls))


class Unpickled(Wrong):
    def __init__(self):
        self.weight = lambda: 1


class Unnamed(Wrong):
    name = " "


class Renamed(Wrong):
    def __call__(self, batch):
        self.name = "renamed"
        return super().__call__(batch)


class LikesInvalid(Wrong):
    def __call__(self, batch):
        return 1 - super().__call__(batch)


class ReadsRawHitsUndeclared(Wrong):
    def __call__(self, batch):
        return super().__call__(batch) + np.float32(batch.raw_hits is not None)


class DeclaresRawHitsInVain(Wrong):
    needs_raw_hits = True


class GuessesACatalog(Wrong):
    def __call__(self, batch):
        return super().__call__(batch) + np.float32(len(batch.catalog or ()))


class ReadsTheQuery(Wrong):
    def __call__(self, batch):
        lengths = [len(getattr(r.action, "query", "")) or np.nan for r in batch.rollouts]
        return np.where([isinstance(r.action, Invalid) for r in batch.rollouts], 0, lengths).astype(np.float32)


class CutoffInVain(Wrong):
    cutoff = 5


class CutoffOfNothing(Wrong):
    cutoff = 0


@pytest.mark.parametrize(
    ("reward", "test"),
    [
        (Doubles, "one_finite_float32_per_rollout"),
        (List, "one_finite_float32_per_rollout"),
        (Column, "one_finite_float32_per_rollout"),
        (NotFinite, "one_finite_float32_per_rollout"),
        (NotFiniteWhereNothingIsFound, "one_finite_float32_per_rollout"),
        (Writes, "the_batch_is_left_as_it_is"),
        (Notes, "the_batch_is_left_as_it_is"),
        (LikesTheFirst, "rewards_follow_their_rollouts"),
        (Drifts, "the_same_batch_gets_the_same_rewards"),
        (Unnamed, "the_name_is_a_stable_text"),
        (Renamed, "the_name_is_a_stable_text"),
        (LikesInvalid, "an_invalid_rollout_is_never_paid_more"),
        (ReadsRawHitsUndeclared, "raw_hits_are_read_only_where_declared"),
        (DeclaresRawHitsInVain, "raw_hits_are_read_only_where_declared"),
        (GuessesACatalog, "a_missing_catalog_changes_no_number"),
        (ReadsTheQuery, "a_list_of_items_is_paid_like_hits"),
        (CutoffInVain, "hits_too_shallow_for_the_cutoff_are_refused"),
        (CutoffOfNothing, "hits_too_shallow_for_the_cutoff_are_refused"),
    ],
)
def test_a_wrong_reward_is_caught(reward, test):
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract_of(reward), f"test_{test}")()
    getattr(contract_of(Wrong), f"test_{test}")()


def test_a_reward_that_does_not_pickle_is_caught():
    with pytest.raises(AttributeError, match="local object"):
        contract_of(Unpickled).test_it_travels_to_other_processes()


def test_a_wrong_number_is_caught():
    case = batch_of(["tent", None], [[1], [-1]], [{1: 1}] * 2)
    contract_of(Wrong, known=lambda self: [(case, [1, 0])]).test_known_numbers()
    with pytest.raises(AssertionError):
        contract_of(Wrong, known=lambda self: [(case, [1, 1])]).test_known_numbers()


def test_a_reward_without_a_true_number_is_caught():
    with pytest.raises(
        AssertionError, match=r"known\(\) is empty: a reward needs at least one batch with true numbers"
    ):
        contract_of(Wrong, known=lambda self: []).test_known_numbers()
    with pytest.raises(NotImplementedError, match="known must return at least one batch"):
        contract_of(Wrong).test_known_numbers()


def test_a_bonus_for_invalid_rollouts_must_be_declared_and_then_must_exist():
    contract_of(LikesInvalid, invalid_is_worst=False).test_an_invalid_rollout_is_never_paid_more()
    with pytest.raises(AssertionError, match="invalid_is_worst = False"):
        contract_of(FormatReward, invalid_is_worst=False).test_an_invalid_rollout_is_never_paid_more()


def test_a_random_batch_holds_what_a_contract_must_try():
    batch = random_batch(seed=0, size=200)
    filled_B = (batch.hits.rows_QK >= 0).sum(axis=1)
    valid_B = np.array([not isinstance(r.action, Invalid) for r in batch.rollouts])
    assert 0 < valid_B.sum() < 200 and not filled_B[~valid_B].any()
    assert {0, 5, 10} <= set(filled_B[valid_B].tolist())
    assert all(q.positives for q in batch.qrels) and any(-1 in q.grades_J and 3 in q.grades_J for q in batch.qrels)
    needs = [r.need.id for r in batch.rollouts]
    assert len(set(needs)) == 50 and needs[:4] == needs[:1] * 4
    assert (batch.raw_hits.rows_QK[0] == batch.raw_hits.rows_QK[3]).all()


def test_invalidating_a_batch_leaves_no_query_and_no_hits():
    batch = invalidated(random_batch(seed=0))
    assert all(isinstance(r.action, Invalid) for r in batch.rollouts) and (batch.hits.rows_QK == -1).all()
    assert np.isneginf(batch.hits.scores_QK).all()
