from __future__ import annotations

import random
import subprocess
import sys

import pytest

from recr1.tasks.splits import DEFAULT_SHARES, group_key, hash_split, sample, share_problem, unit_hash, without_leaks
from rewards.base import Need

NEEDS = [Need(f"n{number}", f"need number {number}") for number in range(2000)]


def ids(needs):
    return [need.id for need in needs]


def split_of(splits):
    return {need.id: split for split, needs in splits.items() for need in needs}


def test_every_need_is_in_one_split():
    splits = hash_split(NEEDS, DEFAULT_SHARES, seed=0)
    assert sorted(need.id for needs in splits.values() for need in needs) == sorted(ids(NEEDS))


def test_shares_are_met_on_average():
    splits = hash_split(NEEDS, {"train": 0.5, "validation": 0.2, "test": 0.3}, seed=0)
    # Four standard deviations of a binomial share of 2,000.
    assert abs(len(splits["train"]) - 1000) < 4 * (2000 * 0.5 * 0.5) ** 0.5
    assert abs(len(splits["validation"]) - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5


def test_a_need_stays_in_its_split_whatever_the_order_and_the_other_needs():
    shuffled = random.Random(1).sample(NEEDS, 700)
    whole = split_of(hash_split(NEEDS, DEFAULT_SHARES, seed=3))
    assert split_of(hash_split(shuffled, DEFAULT_SHARES, seed=3)).items() <= whole.items()


def test_the_order_of_the_shares_does_not_matter():
    turned = dict(reversed(DEFAULT_SHARES.items()))
    assert hash_split(NEEDS, turned, seed=0) == hash_split(NEEDS, DEFAULT_SHARES, seed=0)


def test_needs_keep_the_order_of_the_file():
    for needs in hash_split(NEEDS, DEFAULT_SHARES, seed=0).values():
        assert ids(needs) == sorted(ids(needs), key=lambda id_: int(id_[1:]))


def test_another_seed_gives_another_split():
    first, second = (split_of(hash_split(NEEDS, DEFAULT_SHARES, seed)) for seed in (0, 1))
    assert 0.5 < sum(first[need] == second[need] for need in first) / len(first) < 0.8  # 0.66 by chance


def test_needs_of_equal_text_are_never_apart():
    spellings = ["Red  shoes", "red shoes!", "RED-SHOES", " \uff32ed shoes\n"]
    for seed in range(50):
        twins = [Need(f"n{i}", text) for i, text in enumerate(spellings)]
        assert sorted(map(len, hash_split(twins, DEFAULT_SHARES, seed).values())) == [0, 0, 4]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Red  Shoes!", "red shoes"),
        ('5" nails', "5 nails"),
        (":-)", ":-)"),
        ("STRASSE", "strasse"),
        ("Stra\u00dfe", "strasse"),
    ],
)
def test_group_key(text, key):
    assert group_key(text) == key


def test_hash_is_the_same_in_every_process():
    code = "from recr1.tasks.splits import unit_hash; print(repr(unit_hash(7, 'red shoes')))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {repr(unit_hash(7, "red shoes"))} == {"0.12296055805578465"}


def test_whole_share_takes_everything():
    assert len(hash_split(NEEDS, {"test": 1.0}, seed=0)["test"]) == len(NEEDS)


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ({"train": 0.8, "dev": 0.2}, "no split 'dev'; the splits are train, validation, test"),
        ({"train": 0.8, "test": 0.1}, "the shares must sum to 1, got 0.9 from"),
        ({"train": 1.5, "test": -0.5}, "every share must be > 0 and <= 1"),
        ({"train": 1.0, "test": 0.0}, "leave out a split that you do not want"),
        ({"train": float("nan"), "test": 0.5}, "every share must be > 0"),
        ({}, "the shares must sum to 1, got 0"),
    ],
)
def test_wrong_shares_are_explained(shares, problem):
    assert problem in share_problem(shares)


def test_shares_that_sum_to_one_are_right():
    assert share_problem({"train": 0.7, "validation": 0.1, "test": 0.2}) is None


def test_a_text_of_a_later_split_leaves_the_earlier_ones():
    splits = {
        "train": [Need("1", "red shoes"), Need("2", "blue mug"), Need("3", "green tea"), Need("4", "green tea")],
        "validation": [Need("5", "Blue mug"), Need("6", "black tea")],
        "test": [Need("7", "black  tea"), Need("8", "RED SHOES"), Need("9", "red shoes")],
    }
    kept = without_leaks(splits)
    assert {split: ids(needs) for split, needs in kept.items()} == {
        "train": ["3", "4"],
        "validation": ["5"],
        "test": ["7", "8", "9"],
    }


def test_a_larger_sample_keeps_the_smaller_one_and_the_order():
    small, large = sample(NEEDS, 10, seed=0), sample(NEEDS, 40, seed=0)
    assert (len(small), len(large)) == (10, 40)
    assert set(ids(small)) < set(ids(large))
    assert large == [need for need in NEEDS if need in large]
    assert sample(NEEDS, 5000, seed=0) == NEEDS
