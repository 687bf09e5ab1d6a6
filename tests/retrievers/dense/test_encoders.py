"""Hashed words and characters: vectors worked out from the definition, on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from retrievers.dense.encoders import Hashing


def signs(feature, dim=16, seed=0):
    """By the definition, bit by bit."""
    digest = hashlib.shake_128(f"{seed}\x1f{feature}".encode()).digest(dim // 8)
    return np.array([1 if byte >> bit & 1 else -1 for byte in digest for bit in range(7, -1, -1)])


def test_a_text_is_the_sum_of_its_words_at_length_one():
    total = 2 * signs("red") + signs("shoe")
    vector = Hashing(dim=16).encode_items(["Red, red shoe!"])[0]
    assert vector == pytest.approx(total / np.linalg.norm(total))


def test_characters_are_runs_of_a_word_between_its_marked_ends():
    total = sum(signs(run) for run in ["\x02re", "red", "ed\x03", "\x02a\x03"])
    vector = Hashing(dim=16, ngrams=3).encode_items(["red a"])[0]
    assert vector == pytest.approx(total / np.linalg.norm(total))


def test_characters_find_an_inflected_word_and_words_do_not():
    shoe, shoes, lamp = Hashing(dim=512, ngrams=3).encode_items(["shoe", "shoes", "lamp"])
    assert shoe @ shoes > 0.5
    assert abs(shoe @ lamp) < 0.2
    shoe, shoes = Hashing(dim=512).encode_items(["shoe", "shoes"])
    assert abs(shoe @ shoes) < 0.2


@pytest.mark.parametrize("text", ["", " \n", "!?", "\ud800"])
def test_a_text_without_a_word_has_the_vector_zero(text):
    assert not Hashing(dim=16).encode_queries([text]).any()


def test_no_text_has_no_vector():
    assert Hashing(dim=24).encode_items([]).shape == (0, 24)


def test_the_order_and_the_company_of_words_and_texts_do_not_matter():
    texts = [f"word{n} common w{n % 3}" for n in range(600)]
    together = Hashing().encode_items(texts)
    backwards = [" ".join(reversed(text.split())) for text in texts]
    alone = np.concatenate([Hashing().encode_items([text]) for text in backwards])
    assert np.array_equal(together, alone)


def test_the_seed_makes_another_space():
    one, other = (Hashing(dim=256, seed=seed).encode_items(["shoe"])[0] for seed in (0, 1))
    assert abs(one @ other) < 0.3


def test_the_identity_holds_every_option():
    kinds = [Hashing(), Hashing(dim=8), Hashing(ngrams=3), Hashing(seed=1)]
    assert len({str(dict(encoder.identity)) for encoder in kinds}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim: must be an integer >= 8 divisible by 8, got 0"),
        ({"dim": 100}, "dim: must be an integer >= 8 divisible by 8, got 100"),
        ({"ngrams": 1}, "ngrams: must be an integer >= 2, or null, got 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Hashing(**options)
