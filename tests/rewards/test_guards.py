from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from retrievers.analyzer import vocabulary
from retrievers.base import Catalog
from rewards.base import Need, Rollout, Search
from rewards.guards.catalog import CopiedReward, UnmatchedReward
from rewards.guards.drift import DriftReward
from rewards.guards.form import GroupLengthReward, OperatorsReward
from rewards.guards.words import (
    PhrasesReward,
    RepetitionReward,
    operators_in,
    repeated_runs,
    says,
    text_of,
    words_of,
)
from rewards.testing import batch_of

CATALOG = Catalog(
    ["B0012345", "sku-77"],
    ["Running Shoe, red", "Blue tent"],
    {"title": ["Trail Runner Pro 300", "Tent"], "brand": ["Fjordal", None], "price": [9.5, 3.0]},
)


def pay(reward, *queries, rows=None, catalog=CATALOG, need=None):
    """What queries of one need earn; all of them find `rows`."""
    found = [rows or [0, 1]] * len(queries)
    batch = batch_of(queries, found, [{0: 1}] * len(queries), catalog=catalog)
    if need is not None:
        rollouts = [Rollout(Need("n", need), r.chat, r.action) for r in batch.rollouts]
        batch = replace(batch, rollouts=rollouts)
    return reward(batch).tolist()


def test_words_are_cut_as_the_engines_cut_them():
    assert words_of("Red-RED, t-shirt 5'") == ["red", "red", "t", "shirt", "5"]


def test_a_history_is_no_text():
    rollout = batch_of([(1, 2)], [[1]], [{1: 1}]).rollouts[0]
    assert rollout.action == Search((1, 2)) and text_of(rollout) is None


def test_a_history_is_never_fined_by_guards_of_words():
    for reward in (RepetitionReward(), UnmatchedReward(), CopiedReward(), OperatorsReward(), DriftReward()):
        assert pay(reward, (1, 1, 1)) == [0]


def test_a_phrase_is_said_where_its_words_stand_together():
    assert says(["a", "b", "c"], ["b", "c"]) and not says(["a", "b", "c"], ["a", "c"]) and not says(["a"], [])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("red t-shirt size 5", 0),
        ("and or not", 0),
        ("(tent OR shelter) AND light NOT family", 4),
        ('"sleeping bag" "tent', 2),
        ("+red -blue !green", 3),
        ("title:tent^2", 2),
        ("warm: yes", 0),
        ("price:[10 TO 50]", 2),
        ("tent* shoe~", 2),
        ("a && b || c", 2),
        ("BRAND NOTHING", 0),
    ],
)
def test_operators_are_counted(text, count):
    assert operators_in(text) == count


def test_repetition_costs_its_share_of_words():
    assert pay(RepetitionReward(), "red red red", "red, RED lamp tent", "") == pytest.approx([-2 / 3, -1 / 4, 0])


def test_repeated_pairs_are_those_of_neighbours():
    assert repeated_runs("a b a b", 2) == (1, 3)
    assert pay(RepetitionReward(run=2), "a b a b", "a b a c", "a") == pytest.approx([-1 / 3, 0, 0])


def test_a_word_is_known_in_a_text_or_in_a_field_of_text_alone():
    assert {"running", "fjordal", "pro", "300", "blue"} <= vocabulary(CATALOG)
    assert "9" not in vocabulary(CATALOG)
    assert pay(UnmatchedReward(), "fjordal shoe zelt", "tent", "?!") == pytest.approx([-1 / 3, 0, 0])


def test_a_stemmer_knows_other_forms_of_a_word():
    assert pay(UnmatchedReward(), "runs shoes") == [-1]
    assert pay(UnmatchedReward(stemmer="english"), "runs shoes") == [0]


def test_the_words_of_a_catalog_are_read_once():
    assert vocabulary(CATALOG) is vocabulary(CATALOG)
    assert vocabulary(CATALOG, "english") is not vocabulary(CATALOG)


def test_an_id_is_found_between_blanks_and_in_its_own_case():
    assert pay(CopiedReward(), "shoe B0012345.", "sku-77", "b0012345", "B00123456") == [-1, -1, 0, 0]


def test_a_short_id_is_no_copy():
    assert pay(CopiedReward(id_characters=7), "sku-77") == [0]


def test_a_whole_title_of_an_item_that_was_found_is_a_copy():
    assert pay(CopiedReward(), "buy trail runner, PRO 300 now", "trail runner 300", "tent") == [-1, 0, 0]
    assert pay(CopiedReward(), "trail runner pro 300", rows=[1, -1]) == [0]


def test_titles_are_those_of_the_field_that_is_named():
    assert pay(CopiedReward(field="brand", title_words=1), "fjordal shoe", "none") == [-1, 0]
    assert pay(CopiedReward(field="texts", title_words=2), "blue tent") == [-1]
    with pytest.raises(ValueError, match="no field 'name'"):
        pay(CopiedReward(field="name"), "tent")


@pytest.mark.parametrize("reward", [UnmatchedReward(), CopiedReward()])
def test_a_batch_without_a_catalog_is_refused(reward):
    with pytest.raises(ValueError, match="this batch has none: set catalog"):
        pay(reward, "tent", catalog=None)


def test_a_phrase_is_words_that_stand_together():
    reward = PhrasesReward(phrases=["Best price", "cheap"])
    assert reward.name == "phrases(best price,cheap)"
    assert pay(reward, "lamp best PRICE", "price best", "cheaper lamp", "cheap!") == [-1, 0, 0, -1]


def test_operators_over_the_budget_cost_up_to_the_cap():
    reward = OperatorsReward(budget=1, slope=0.25, cap=0.5)
    assert reward.name == "operators(1,slope=0.25,cap=0.5)"
    assert pay(reward, "a AND b", "a AND b AND c", "(((((", "a") == [0, -0.25, -0.5, 0]


class Planes:
    """Vectors by the first letter: a and b are at right angles, c is between them, d is the other way from a."""

    dim = 2
    identity = {}  # noqa: RUF012
    built = 0

    def __init__(self):
        type(self).built += 1

    def encode_items(self, texts):
        known = {"a": (2, 0), "b": (0, 1), "c": (3, 4), "d": (-1, 0)}
        return np.array([known.get(text[:1], (0, 0)) for text in texts], np.float32)

    encode_queries = encode_items


def test_drift_falls_in_a_line_below_the_cosine():
    reward = DriftReward(encoder={"type": f"{__name__}:Planes"}, at_least=0.8)
    # cosine with "a": a 1, c 0.6, b 0, d -1
    assert pay(reward, "a", "c", "b", "d", "", need="a") == pytest.approx([0, -0.25, -1, -1, -1])


def test_words_of_the_need_are_no_drift_and_others_are():
    near, far = pay(DriftReward(), "warm red tent", "xylophone", need="a warm red tent for two")
    assert near == 0 and far < -0.3


def test_the_encoder_is_built_when_it_is_used_and_left_behind_in_a_pickle():
    Planes.built = 0
    reward = DriftReward(encoder={"type": f"{__name__}:Planes"})
    assert Planes.built == 0
    pay(reward, "a", need="a")
    pay(reward, "b", need="a")
    assert Planes.built == 1 and len(pickle.dumps(reward)) < 300
    assert reward.name == f"drift(0.2,{__name__}:Planes)"


def test_an_encoder_with_options_shows_them_in_the_name():
    assert DriftReward(encoder={"type": "hashing", "ngrams": 3}).name == "drift(0.2,hashing,ngrams=3)"
    assert DriftReward().name == "drift(0.2)"


def group(*queries, found=None, reward=None):
    rows = [[0] if hit else [5] for hit in (found or [True] * len(queries))]
    return (reward or GroupLengthReward())(batch_of(queries, rows, [{0: 1}] * len(queries))).tolist()


def test_a_group_is_paid_from_its_shortest_to_its_longest():
    assert group("a", "a b", "a b c d e", None) == [0.5, 0.25, -0.5, -0.5]


def test_a_group_of_one_length_is_paid_nothing():
    assert group("a b", "c d") == [0, 0] and group("a b") == [0]


def test_being_short_is_no_merit_for_a_query_that_found_nothing_relevant():
    assert group("a", "a b c", "a b c d e", found=[False, True, False]) == [0, 0, -0.5]


def test_free_words_make_no_difference():
    assert group("a", "a b c", "a b c d e", reward=GroupLengthReward(free=3)) == [0.5, 0.5, -0.5]


def test_groups_are_those_of_a_need():
    batch = batch_of(["a", "a b", "a b c", "a b c d e"], [[0]] * 4, [{0: 1}, {0: 1}, {0: 2}, {0: 2}])
    assert GroupLengthReward()(batch).tolist() == [0.5, -0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepetitionReward(run=0), "run: must be an integer >= 1, got 0"),
        (lambda: UnmatchedReward(stemmer="klingon"), "stemmer: must be a language, got 'klingon'"),
        (lambda: CopiedReward(title_words=0), "title_words: must be an integer >= 1, got 0"),
        (lambda: CopiedReward(id_characters=0), "id_characters: must be an integer >= 1, got 0"),
        (lambda: PhrasesReward(phrases=[]), r"phrases: must be a list of strings with at least 1 item, got \[\]"),
        (lambda: PhrasesReward(phrases=["?!"]), "phrases: '\\?!' has no word"),
        (lambda: OperatorsReward(budget=-1), "budget: must be an integer >= 0, got -1"),
        (lambda: OperatorsReward(slope=0), "slope: must be a number > 0, got 0"),
        (lambda: OperatorsReward(cap=float("nan")), "cap: must be a number > 0, got nan"),
        (lambda: DriftReward(at_least=0), "at_least: must be a number > 0 and <= 1, got 0"),
        (lambda: DriftReward(at_least=float("nan")), "at_least: must be a number > 0 and <= 1, got nan"),
        (lambda: GroupLengthReward(free=0), "free: must be an integer >= 1, got 0"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
