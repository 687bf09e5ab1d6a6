"""Recommenders that learn by gradient descent: losses by hand, the same weights again, personas, codes."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch

from retrievers.behaviour.als import ALS
from retrievers.behaviour.base import matrix_of
from retrievers.behaviour.history_text import HistoryText
from retrievers.behaviour.multvae import MultVAE
from retrievers.behaviour.personas import Personas
from retrievers.behaviour.stopping import HeldOut, histories_in, ndcg
from retrievers.behaviour.testing import behaviour_catalog
from retrievers.behaviour.vqrec import VQRec
from retrievers.bm25.bm25 import BM25

KINDS, SIDE = 6, 10
RNG = np.random.default_rng(5)
TASTES = [RNG.choice(KINDS, 2, replace=False) for _ in range(240)]
USERS = [np.concatenate([SIDE * kind + RNG.permutation(SIDE)[:5] for kind in two]).tolist() for two in TASTES]
SHOP = behaviour_catalog(KINDS * SIDE, [RNG.permutation(user).tolist() for user in USERS])
"""Users who like two of six kinds of items, and took half of the items of each."""
CHAIN = behaviour_catalog(12, [[(first + step) % 12 for step in range(6)] for first in range(12)] * 5,
                          [f"thing{row}" for row in range(12)])  # fmt: skip
"""Who took an item takes the one after it."""
SMALL = {"hidden": 32, "latent": 16, "batch_size": 40, "learning_rate": 0.01, "store": None}
HASHING = {"type": "hashing", "dim": 32}


def vqrec(catalog, **options):
    given = {"encoder": HASHING, "parts": 8, "dim": 16, "batch_size": 20, "learning_rate": 0.02, "store": None}
    return VQRec(catalog, **{**given, **options})


@pytest.mark.parametrize(
    "likelihood, loss",
    [
        ("multinomial", -math.log(math.e / (math.e + 3)) - math.log(1 / (math.e + 3))),
        ("logistic", math.log(1 + math.exp(-1)) + 3 * math.log(2)),
        ("gaussian", 10 / 2 * (1 - 1) ** 2 + 10 / 2 * 1**2),
    ],
)
def test_the_loss_of_each_likelihood_is_that_of_its_formula(likelihood, loss):
    catalog = behaviour_catalog(4, [[0, 1], [2, 3]])
    model = MultVAE(catalog, likelihood=likelihood, variational=False, latent=2, dropout=0.0, epochs=1, store=None)
    zero = {name: torch.zeros(size) for name, size in {"w0": (4, 2), "b0": 2, "w1": (2, 4)}.items()}
    weights = {**zero, "b1": torch.tensor([1.0, 0, 0, 0])}
    assert float(model._loss(weights, [(0, 1)], 0.5, torch.Generator())) == pytest.approx(loss, rel=1e-6)


def test_the_kl_divergence_is_weighted_up_to_beta_and_is_that_of_two_normal_distributions():
    model = MultVAE(behaviour_catalog(4, [[0, 1], [2, 3]]), hidden=2, latent=1, beta=0.3, epochs=1, store=None)
    weights = {name: torch.zeros_like(one).float() for name, one in model._weights.items()}
    weights["b1"] = torch.tensor([2.0, math.log(3)])  # mean 2, variance 3
    for progress, weight in ((0.0, 0.0), (0.25, 0.15), (0.5, 0.3), (0.9, 0.3)):
        loss = float(model._loss(weights, [(0, 1)], progress, torch.Generator()))
        assert loss == pytest.approx(2 * math.log(4) + weight * (4 + 3 - 1 - math.log(3)) / 2, rel=1e-5)
        assert model._notes == pytest.approx([(4 + 3 - 1 - math.log(3)) / 2, weight], rel=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: MultVAE(SHOP, seed=seed, epochs=3, **SMALL),
        lambda seed: Personas(SHOP, seed=seed, epochs=3, dim=8, store=None),
        lambda seed: vqrec(SHOP, seed=seed, epochs=2),
    ],
)
def test_the_seed_decides_all_and_the_random_numbers_of_the_process_nothing(build):
    state = torch.random.get_rng_state()
    first = build(3).search([(0, 1, 2)], 20)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    np.random.rand(7)
    for array, again in zip(first, build(3).search([(0, 1, 2)], 20), strict=True):
        assert np.array_equal(array, again)
    assert not np.array_equal(first.scores_QK, build(4).search([(0, 1, 2)], 20).scores_QK)


def test_a_fit_is_kept_and_each_option_and_event_makes_another(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    options = {**SMALL, "store": str(tmp_path), "epochs": 2}
    first = MultVAE(SHOP, **options)
    assert len(caplog.records) == 2 and "multvae: epoch 2 of 2, loss" in caplog.text
    assert MultVAE(SHOP, **options).stats == first.stats and len(caplog.records) == 2
    MultVAE(SHOP, **options, beta=0.1)
    MultVAE(behaviour_catalog(KINDS * SIDE, USERS[:-1]), **options)
    assert len(caplog.records) == 6


def test_a_fit_stops_when_held_out_users_gain_nothing_and_keeps_its_best_epoch(caplog):
    caplog.set_level(logging.INFO)
    model = MultVAE(SHOP, **SMALL, epochs=200, patience=3)
    measured = [float(record.getMessage().split("users ")[1].split(",")[0]) for record in caplog.records]
    best = int(np.argmax(measured))
    assert len(measured) == best + 1 + 3 < 200
    assert model.stats["fit/epoch"] == best + 1 and model.stats["fit/nDCG@100"] == pytest.approx(
        max(measured), abs=1e-4
    )


def test_a_tenth_of_the_users_is_held_out_and_asked_for_the_last_fifth_of_their_items():
    histories = histories_in(SHOP, np.ones(60, np.bool_))
    held = HeldOut(histories, 0, 5)
    assert (len(held.learned), len(held.asked), len(held.wanted)) == (216, 24, 24)
    assert set(map(len, held.asked)) == {8}
    whole = [one + two for one, two in zip(held.asked, held.wanted, strict=True)]
    assert sorted([*held.learned, *whole]) == sorted(histories)
    assert HeldOut(histories, 1, 5).asked != held.asked
    assert HeldOut(histories, 0, None).learned == histories and not HeldOut(histories[:9], 0, 5).asked


def test_ndcg_is_one_for_the_wanted_items_first_and_less_below():
    assert ndcg(np.array([[1, 2, 3], [2, 1, -1]]), [(1, 2), (1, 2)]) == 1
    assert ndcg(np.array([[1, 2, 3]]), [(3,)]) == pytest.approx(1 / 2)
    assert ndcg(np.array([[1, 2], [-1, -1]]), [(9, 1), (1,)]) == pytest.approx(1 / (1 + 1 / np.log2(3)) / 2)


@pytest.mark.parametrize("build", [lambda: MultVAE(SHOP, **SMALL, epochs=2), lambda: ALS(SHOP, store=None)])
def test_what_early_stopping_asks_is_not_counted_as_read(build):
    model = build()
    model.search([(0, 1)], 3)
    assert model._read == 2 and model.stats["fit/nDCG@100"] > 0


def test_als_stops_when_held_out_users_gain_nothing_and_keeps_its_best_iteration():
    options = {"factors": 32, "l2": 0.1, "alpha": 100, "store": None}
    whole = ALS(SHOP, iterations=40, patience=2, **options)
    best = int(whole.stats["fit/epoch"])
    assert 1 <= best < 38
    cut = ALS(SHOP, iterations=best, patience=2, **options)
    assert np.array_equal(cut.item_vectors(), whole.item_vectors()) and cut.stats == whole.stats
    worse = [ALS(SHOP, iterations=turn, patience=1000, **options).stats["fit/nDCG@100"] for turn in (1, best + 2)]
    assert max(worse) <= whole.stats["fit/nDCG@100"]


def test_als_without_patience_learns_from_every_event():
    told = ALS(SHOP, iterations=3, patience=None, store=None).stats
    assert told["fit/epoch"] == 3 and "fit/nDCG@100" not in told  # a number that was not measured is not logged


def test_a_learning_rate_that_diverges_is_named():
    with pytest.raises(ValueError, match=r"learning_rate: the loss of multvae in epoch \d+ is (nan|inf): set it lower"):
        MultVAE(SHOP, **{**SMALL, "learning_rate": 1e12}, likelihood="gaussian", epochs=20, patience=20)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device: torch is not installed or sees no GPU"):
        MultVAE(SHOP, **SMALL, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("cls", [MultVAE, Personas])
def test_a_gpu_fits_what_a_cpu_fits(cls):
    cpu, gpu = (cls(SHOP, epochs=5, device=device, store=None).search([(0, 1)], 5) for device in ("cpu", "cuda"))
    assert np.allclose(cpu.scores_QK, gpu.scores_QK, rtol=0.05, atol=0.05)


def gap(recommender, persona_of=lambda row_personas: row_personas):
    """How much more alike in kind ten recommended items are within a persona than across, a mean over users."""
    same, other = [], []
    for user in range(0, 240, 6):
        history = tuple(USERS[user])
        rows = recommender.search([history], 10).rows_QK[0]
        personas = persona_of(recommender.attention(history)[:, rows].argmax(0))
        alike = (rows[:, None] // SIDE == rows // SIDE)[np.triu_indices(10, 1)]
        together = (personas[:, None] == personas)[np.triu_indices(10, 1)]
        same += alike[together].tolist()
        other += alike[~together].tolist()
    return np.mean(same) - np.mean(other)


@pytest.fixture(scope="module")
def personas():
    return Personas(SHOP, personas=4, dim=16, batch_size=40, learning_rate=0.02, epochs=40, patience=40, store=None)


def test_items_of_one_persona_are_more_alike_than_items_of_two_and_not_with_its_labels_permuted(personas):
    shuffle = np.random.default_rng(0).permutation
    assert gap(personas) >= 0.3
    assert abs(gap(personas, shuffle)) < 0.1


def test_an_item_is_explained_by_items_of_its_kind(personas):
    named, right = 0, 0
    for user in range(0, 240, 6):
        history = tuple(USERS[user])
        best = int(personas.search([history], 1).rows_QK[0, 0])
        why = personas.explain(history, best)
        assert set(why.rows) <= set(history) and 0.25 <= why.share <= 1
        assert why == personas.explain(history, best)
        named += len(why.rows)
        right += sum(row // SIDE == best // SIDE for row in why.rows)
    assert named and right / named >= 0.8  # half of a history is of each of two kinds


def test_attention_sums_to_one_and_its_entropy_is_logged(personas):
    shares_KN = personas.attention((0, 1, 25))
    assert shares_KN.shape == (4, 60) and np.allclose(shares_KN.sum(0), 1, atol=1e-6)
    assert 0 <= personas.stats["fit/attention entropy"] <= math.log(4)


@pytest.mark.parametrize("features", ["codes", "text", "ids"])
def test_the_next_item_follows_from_the_last_one_of_the_history(features):
    encoder = {} if features != "ids" else {"encoder": None}
    users = [[(3 * first + step) % 12 for step in range(12)] for first in range(9)]  # too few to hold one out
    chain = behaviour_catalog(12, users, [f"thing{row}" for row in range(12)])
    model = vqrec(chain, features=features, epochs=60, examples=20, decay=0.2, **encoder)
    histories = [(row, (row + 1) % 12) for row in range(12)]
    found = model.search(histories, 1).rows_QK[:, 0]
    assert (found == (np.arange(12) + 2) % 12).mean() >= 0.8
    assert np.allclose(np.linalg.norm(model.item_vectors(), axis=1), 1, atol=1e-4)


def test_only_the_last_items_are_read_and_the_latest_weighs_most():
    model = vqrec(CHAIN, epochs=2, last=2)
    long, short, turned = model._scores([(5, 7, 1, 2), (1, 2), (2, 1)])
    assert np.array_equal(long, short) and not np.array_equal(short, turned)


def test_items_with_the_same_codes_tie_by_row_and_are_counted(caplog):
    caplog.set_level(logging.INFO)
    texts = ["red lamp", "tent", "blue rope", "tent", "stove", "", "tent"]
    model = vqrec(behaviour_catalog(7, [[0, 1, 2], [0, 3, 4], [2, 4, 0]] * 4, texts), epochs=2)
    hits = model.search([(0, 2)], 7)
    places = [hits.rows_QK[0].tolist().index(row) for row in (1, 3, 6)]
    assert places == [places[0], places[0] + 1, places[0] + 2] and len(set(hits.scores_QK[0, places])) == 1
    assert 5 not in hits.rows_QK, "an item without a text was found"
    assert model.codes.shape == (7, 8) and model.stats["codes/shared"] == 0.5
    assert "6 items have 4 different codes: 50.0% share theirs" in caplog.text


def test_texts_that_no_event_has_are_refused():
    catalog = behaviour_catalog(3, [[0, 1], [1, 0]], ["", "", "rope"])
    with pytest.raises(ValueError, match="field: no item with a training event has a text in 'texts'"):
        vqrec(catalog)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"encoder": None}, "encoder: features codes needs one, such as {type: hashing}"),
        ({"encoder": None, "features": "text"}, "encoder: features text needs one"),
        ({"features": "ids"}, "encoder: features ids does not read it; leave it out"),
        ({"parts": 64}, "parts: vectors of 32 numbers cannot be cut into 64 parts; set it to 32 or less"),
    ],
)
def test_what_codes_cannot_be_made_of_is_named(options, said):
    with pytest.raises(ValueError, match=said):
        vqrec(CHAIN, **options)


def test_a_history_is_searched_as_the_titles_of_its_last_items():
    texts = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("lamp", "tent", "rope")]
    catalog = behaviour_catalog(6, [[0, 1]], texts)
    found = HistoryText(catalog, retriever={"type": "bm25"}, last=2).search([(5, 0, 4), ()], 6)
    plain = BM25(catalog).search(["red lamp\nblue tent"], 6)
    assert found.rows_QK[0].tolist() == [*(row for row in plain.rows_QK[0] if row not in (5, 0, 4, -1)), -1, -1, -1]
    assert (found.rows_QK[1] == -1).all()


class Everything(BM25):
    """Finds something for every text, as neural encoders do."""

    def search(self, queries, k):
        return super().search([query or "lamp" for query in queries], k)


def test_a_history_without_a_text_finds_nothing_whatever_the_retriever_makes_of_no_words():
    catalog = behaviour_catalog(3, [[0, 1]], ["", "red lamp", "blue lamp"])
    retriever = HistoryText(catalog, retriever={"type": f"{__name__}:Everything"})
    found = retriever.search([(0,), (0, 1), ()], 3).rows_QK
    assert found.tolist() == [[-1, -1, -1], [2, -1, -1], [-1, -1, -1]]
    assert retriever.stats["history/unknown"] == 2 / 3


def test_an_item_that_no_persona_knows_is_not_explained():
    model = Personas(behaviour_catalog(5, [[0, 1, 2], [1, 2, 0]] * 6), epochs=1, dim=8, store=None)
    assert model.explain((0, 4, 0), 2).rows == (0,)
    with pytest.raises(ValueError, match="row 4 has no training event, so that no persona knows it"):
        model.explain((0, 1), 4)
    with pytest.raises(ValueError, match="a history has row 9, and the catalog has 5 items"):
        model.explain((0, 9), 1)


def test_events_count_once_and_in_the_order_in_which_items_were_first_taken():
    catalog = behaviour_catalog(4, [[2, 0, 2, 1], [3, 3]])
    assert histories_in(catalog, np.array([True, True, True, False])) == [(2, 0, 1)]
    assert matrix_of(catalog).sum() == 4
