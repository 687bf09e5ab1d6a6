"""The interface of a reward as tests: inherit `RewardContract`, say how to build the reward and what it pays.

    class TestBrevity(RewardContract):
        def build(self) -> Reward:
            return Brevity(words=3)

        def known(self) -> Cases:
            return [(batch_of(["red tent", None], [[4, 1], [-1, -1]], [{4: 2}, {4: 2}]), [1.0, 0.0])]

pytest collects the class. Only numpy is needed, so that rewards outside this repository can use it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from retrievers.base import Catalog, Hits, Query, Rows
from rewards.abilities import cutoff_of, needs_raw_hits, retrievers_of
from rewards.base import Answer, Batch, Found, Invalid, Message, Need, Qrels, Recommend, Reward, Rollout, Search

Cases: TypeAlias = Sequence[tuple[Batch, Sequence[float]]]
"""Batches, each with its true rewards."""


class RewardContract:
    """What every reward must do. Override `build` and `known`."""

    invalid_is_worst = True
    """No Invalid rollout is paid more than a valid one of the same need. Override with False for a reward that pays
    for not answering."""

    def build(self) -> Reward:
        """A fresh reward, with the same options each time."""
        raise NotImplementedError(f"{type(self).__name__}.build must return a new reward")

    def known(self) -> Cases:
        """Batches small enough to compute their rewards by hand, with those rewards."""
        raise NotImplementedError(f"{type(self).__name__}.known must return at least one batch with its true rewards")

    def test_known_numbers(self) -> None:
        """It pays what was computed by hand."""
        cases = self.known()
        assert cases, "known() is empty: a reward needs at least one batch with true numbers"
        for batch, expected_B in cases:
            np.testing.assert_allclose(self.build()(batch), expected_B, rtol=0, atol=1e-6)

    def test_one_finite_float32_per_rollout(self) -> None:
        """(B,) float32 and finite, for any number of rollouts, also if all are Invalid or no query finds anything."""
        sizes = [self._batch(seed=size, size=size) for size in (0, 1, 2, 33)]
        for batch in (*sizes, invalidated(self._batch(seed=1)), _without_hits(self._batch(seed=2))):
            rewards_B = self.build()(batch)
            assert isinstance(rewards_B, np.ndarray), f"must return an array, got {type(rewards_B).__name__}"
            assert rewards_B.dtype == np.float32, f"must return float32, got {rewards_B.dtype}"
            assert rewards_B.shape == (len(batch),), f"must return shape ({len(batch)},), got {rewards_B.shape}"
            assert np.isfinite(rewards_B).all(), f"rewards must be finite: {rewards_B}"

    def test_the_batch_is_left_as_it_is(self) -> None:
        """Other rewards read the same batch."""
        batch = self._batch(seed=3)
        before = deepcopy(batch)
        self.build()(batch)  # its arrays are read-only: writing into one raises here
        assert batch.rollouts == before.rollouts, "the reward changed the rollouts"
        assert batch.elsewhere.keys() == before.elsewhere.keys(), "the reward changed elsewhere"
        assert [dict(q) for q in batch.qrels] == [dict(q) for q in before.qrels], "the reward changed the qrels"

    def test_rewards_follow_their_rollouts(self) -> None:
        """The order of the rollouts in a batch does not matter: processes and shuffles change it."""
        batch = self._batch(seed=4)
        backwards_B = np.arange(len(batch))[::-1]
        for order_B in (backwards_B, np.random.default_rng(4).permutation(backwards_B)):
            np.testing.assert_array_equal(self.build()(batch.of(order_B)), self.build()(batch)[order_B])

    def test_the_same_batch_gets_the_same_rewards(self) -> None:
        """From one reward twice, and from another with the same options."""
        reward, batch = self.build(), self._batch(seed=5)
        first_B = reward(batch)
        np.testing.assert_array_equal(reward(batch), first_B)
        np.testing.assert_array_equal(self.build()(self._batch(seed=5)), first_B)

    def test_the_name_is_a_stable_text(self) -> None:
        """Logs, tables and recipes use it."""
        reward = self.build()
        name = reward.name
        assert isinstance(name, str) and name.strip(), f"name must be a string, got {name!r}"
        reward(self._batch(seed=6))
        assert reward.name == name == self.build().name, "the name must not change"

    def test_it_travels_to_other_processes(self) -> None:
        """It pickles, with its options."""
        reward, batch = self.build(), self._batch(seed=7)
        copy: Reward = pickle.loads(pickle.dumps(reward))
        assert copy.name == reward.name
        np.testing.assert_array_equal(copy(batch), reward(batch))

    def test_an_invalid_rollout_is_never_paid_more(self) -> None:
        """Otherwise a policy learns to give up where the need is hard."""
        batch = self._batch(seed=8, size=200)
        more_B = self.build()(invalidated(batch)) > self.build()(batch)
        assert self.invalid_is_worst != more_B.any(), (
            f"{more_B.sum()} of {len(batch)} rollouts are paid more when they are Invalid, and "
            f"invalid_is_worst = {self.invalid_is_worst}"
        )

    def test_a_list_of_items_is_paid_like_hits(self) -> None:
        """A completion may name items itself: then there is no query, and its hits are its list."""
        batch = self._batch(seed=13, size=80)
        lists = [
            replace(rollout, action=Recommend(tuple(rows_K[rows_K >= 0].tolist())))
            for rollout, rows_K in zip(batch.rollouts, batch.hits.rows_QK, strict=True)
        ]
        paid_B = self.build()(replace(batch, rollouts=lists))
        assert np.isfinite(paid_B).all(), f"rewards must be finite: {paid_B}"
        if self.invalid_is_worst:
            assert (self.build()(invalidated(batch)) <= paid_B).all(), "a list is paid less than an Invalid rollout"

    def test_an_answer_in_text_is_paid_like_a_search_without_hits(self) -> None:
        """A completion may be an answer in text: nothing is searched, and it is not worse than an Invalid one."""
        batch = _without_hits(self._batch(seed=14, size=80))
        answers = [replace(rollout, action=Answer("four words of text")) for rollout in batch.rollouts]
        paid_B = self.build()(replace(batch, rollouts=answers))
        assert np.isfinite(paid_B).all(), f"rewards must be finite: {paid_B}"
        if self.invalid_is_worst:
            assert (self.build()(invalidated(batch)) <= paid_B).all(), "an answer is paid less than an Invalid rollout"

    def test_raw_hits_are_read_only_where_declared(self) -> None:
        """The environment searches the raw needs only for rewards with `needs_raw_hits = True`."""
        batch = self._batch(seed=9)
        without = replace(batch, raw_hits=None)
        if needs_raw_hits(self.build()):
            _assert_refused(self.build(), without, "needs_raw_hits is declared, and a batch without them was accepted")
        else:
            np.testing.assert_array_equal(self.build()(without), self.build()(batch))

    def test_other_retrievers_are_read_only_where_declared(self) -> None:
        """The environment searches others only for rewards that name them in `elsewhere`."""
        declared = retrievers_of(self.build())
        batch = self._batch(seed=12)
        if declared:
            without = replace(batch, elsewhere={})
            _assert_refused(self.build(), without, "elsewhere is declared, and a batch without it was accepted")
        else:
            more = replace(batch, elsewhere={"other": Found(batch.hits, batch.raw_hits)})
            np.testing.assert_array_equal(self.build()(more), self.build()(batch))

    def test_a_missing_catalog_changes_no_number(self) -> None:
        """A reward that reads the catalog refuses a batch without one, with a `ValueError`."""
        batch = self._batch(seed=11)
        try:
            without_B = self.build()(replace(batch, catalog=None))
        except ValueError:
            return
        np.testing.assert_array_equal(without_B, self.build()(batch))

    def test_hits_too_shallow_for_the_cutoff_are_refused(self) -> None:
        """A number from too few items would have a wrong name."""
        cutoff = cutoff_of(self.build())
        if cutoff is not None:
            assert isinstance(cutoff, int) and cutoff >= 1, f"cutoff must be an integer >= 1, got {cutoff!r}"
            shallow = random_batch(seed=10, size=4, k=cutoff - 1, elsewhere=retrievers_of(self.build()))
            _assert_refused(self.build(), shallow, f"cutoff is {cutoff}, and hits of depth {cutoff - 1} were accepted")

    def _batch(self, seed: int, size: int = 24) -> Batch:
        reward = self.build()
        return random_batch(seed, size, max(10, cutoff_of(reward) or 0), elsewhere=retrievers_of(reward))


def batch_of(
    queries: Sequence[Query | None],
    rows_BK: ArrayLike,
    qrels: Sequence[Mapping[int, int]],
    raw_rows_BK: ArrayLike | None = None,
    catalog: Catalog | None = None,
    elsewhere: Mapping[str, ArrayLike] | None = None,
) -> Batch:
    """A batch written by hand, its arrays read-only; None as a query is an Invalid rollout.

    Rollouts with equal qrels belong to one need. The raw hits are there if `raw_rows_BK` is, and so is the catalog.
    `elsewhere` are the rows that other retrievers found.
    """
    keys = [frozenset(grades.items()) for grades in qrels]
    needs = {key: Need(f"need-{i}", f"what shopper {i} wants") for i, key in enumerate(keys)}
    rollouts = []
    for query, need in zip(queries, (needs[key] for key in keys), strict=True):
        action = Invalid("no query") if query is None else Search(query)
        completion = "" if query is None else str(query)
        chat = (Message(role="user", content=need.text), Message(role="assistant", content=completion))
        rollouts.append(Rollout(need, chat, action))
    raw_hits = None if raw_rows_BK is None else _hits(raw_rows_BK)
    others = {name: Found(_hits(rows), None) for name, rows in (elsewhere or {}).items()}
    answers = [Qrels(grades) for grades in qrels]
    return Batch(tuple(rollouts), _hits(rows_BK), answers, raw_hits, catalog=catalog, elsewhere=others)


def random_batch(seed: int, size: int = 24, k: int = 10, group: int = 4, elsewhere: Iterable[str] = ()) -> Batch:
    """A batch of `size` rollouts in groups of one need: graded qrels, short and empty rankings, Invalid actions.

    Queries have words of the catalog and others, some repeated. Items have a title, a price, a category (some have
    none) and a stock.
    """
    rng = np.random.default_rng(seed)
    catalog = max(60, 2 * k)
    needs = [{int(r): int(rng.integers(-1, 4)) for r in rng.choice(catalog, 30, replace=False)} for _ in range(size)]
    qrels = [{**needs[i // group], i // group: 2} for i in range(size)]  # one positive at least
    queries = [_words(i, int(rng.integers(1, 25))) if rng.random() < 0.8 else None for i in range(size)]
    raw_rows_BK, rows_BK = (_rankings(rng, size, catalog, k) for _ in range(2))
    rows_BK[[query is None for query in queries]] = -1
    batch = batch_of(queries, rows_BK, qrels, raw_rows_BK[np.arange(size) // group], _catalog(catalog))
    # Other retrievers rank the same items from last to first; their raw hits are those of the first.
    turned_BK = rows_BK[:, ::-1]
    turned_BK = np.take_along_axis(turned_BK, np.argsort(turned_BK < 0, axis=1, kind="stable"), axis=1)
    return replace(batch, elsewhere={name: Found(_hits(turned_BK), batch.raw_hits) for name in elsewhere})


def _words(first: int, count: int) -> str:
    words = ("tent", "red", "lamp", "what", "zelt", "wants", "light", "shopper")
    return " ".join(words[(first + place * place) % len(words)] for place in range(count))


def _catalog(items: int) -> Catalog:
    titles = [f"{('red', 'light')[row % 2]} {('tent', 'lamp', 'mug')[row % 3]} {row}" for row in range(items)]
    prices, stock = [1.5 * row for row in range(items)], [row % 3 for row in range(items)]
    categories = [None if row % 7 == 0 else f"kind {row % 5}" for row in range(items)]
    fields: dict[str, Sequence[object]] = {"title": titles, "price": prices, "category": categories, "stock": stock}
    return Catalog([f"item-{row:05d}" for row in range(items)], titles, fields)


def invalidated(batch: Batch) -> Batch:
    """The same needs, as if the policy had written nothing that can be read."""
    rollouts = tuple(replace(rollout, action=Invalid("no query")) for rollout in batch.rollouts)
    return replace(_without_hits(batch), rollouts=rollouts)


def _without_hits(batch: Batch) -> Batch:
    """The batch as if no retriever had found anything for its queries."""
    nothing = _hits(np.full_like(batch.hits.rows_QK, -1))
    elsewhere = {name: found._replace(hits=nothing) for name, found in batch.elsewhere.items()}
    return replace(batch, hits=nothing, elsewhere=elsewhere)


def _hits(rows_BK: ArrayLike) -> Hits:
    rows_QK = np.array(rows_BK, np.int32)
    scores_QK = np.where(rows_QK < 0, -np.inf, -np.arange(rows_QK.shape[1])).astype(np.float32)
    rows_QK.setflags(write=False)
    scores_QK.setflags(write=False)
    return Hits(rows_QK, scores_QK)


def _rankings(rng: np.random.Generator, size: int, catalog: int, k: int) -> Rows:
    rows_BK = np.empty((size, k), np.int32)
    for rows_K in rows_BK:
        rows_K[:] = rng.choice(catalog, k, replace=False)
        rows_K[int(rng.choice([0, k // 2, k])) :] = -1
    return rows_BK


def _assert_refused(reward: Reward, batch: Batch, otherwise: str) -> None:
    try:
        reward(batch)
    except ValueError:
        return
    raise AssertionError(otherwise)
