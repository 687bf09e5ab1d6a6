"""The generated shop: fair needs, disjoint splits, and a policy's warm start that cannot know the catalog."""

import subprocess
import sys
from itertools import islice
from random import Random

import numpy as np
import pytest

from recr1.errors import UserError
from recr1.tasks.shop.catalog import Item, draw_wording, grade, open_shop
from recr1.tasks.shop.language import LONGEST, Manner, shopper_pairs, write_need
from recr1.tasks.shop.lexicon import dialect_words, load_lexicon
from recr1.tasks.shop.task import ShopTask, split_of, wanted
from retrievers.analyzer import vocabulary
from retrievers.bm25.bm25 import BM25
from rewards.measures import parse_measure


@pytest.fixture(scope="module")
def task():
    return ShopTask(items=5000, train=600, validation=100, test=200)


def ndcg(task, split, queries):
    rows = BM25(task.catalog).search(queries, 10).rows_QK
    return float(np.mean(parse_measure("nDCG@10")(rows, [task.qrels[need.id] for need in task.needs(split)])))


def wants(seed, split, count, **manner):
    lexicon = load_lexicon()
    shop = open_shop(lexicon, 5000, seed)
    group = "seen" if split == "train" else "held"
    how = Manner(lexicon.frames[group], lexicon.chitchat[group], group, own_words=shop.own_words, **manner)
    stream = wanted(lexicon, shop, split, how, seed)
    return shop, [next(stream) for _ in range(count)]


def test_a_word_belongs_to_one_concept_only():
    words = [word for concept in load_lexicon().concepts.values() for word in concept.words]
    assert len(words) == len(set(words))


def test_there_are_forty_product_types_with_three_attributes_each():
    lexicon = load_lexicon()
    assert len(lexicon.types) == 40
    assert {len(families) for families in lexicon.families.values()} == {3}


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (("color/red",), 3),
        (("color/red", "fabric/wool"), 3),
        (("color/red", "fabric/velvet"), 2),  # two of three wishes, the product counted as one
        (("color/blue",), 1),  # one of two
        (("color/blue", "fabric/velvet"), 0),  # one of three
        (("color/red", "fabric/velvet", "style/modern"), 1),  # two of four
        (("color/red", "fabric/wool", "style/modern"), 2),  # three of four
    ],
)
def test_grades_count_the_met_wishes(wishes, expected):
    item = Item("sofa", {"color": "red", "fabric": "wool", "style": "rustic"})
    assert grade(item, "sofa", wishes) == expected


def test_another_product_is_never_relevant():
    assert grade(Item("chair", {"color": "red"}), "sofa", ("color/red",)) == 0


def test_the_same_seed_gives_the_same_shop_and_another_seed_other_words():
    first, again, other = (open_shop(load_lexicon(), 200, seed) for seed in (3, 3, 4))
    assert first.catalog.fingerprint == again.catalog.fingerprint
    assert first.own_words != other.own_words
    assert set(draw_wording(load_lexicon(), 3)) == set(load_lexicon().concepts)


def test_every_need_has_an_item_that_meets_all_wishes(task):
    for split in ("train", "validation", "test"):
        assert all(max(task.qrels[need.id].values()) == 3 for need in task.needs(split))


def test_splits_share_no_text_and_no_combination_of_wishes(task):
    texts = [need.text for split in ("train", "validation", "test") for need in task.needs(split)]
    assert len(texts) == len(set(texts))
    for split in ("train", "test"):
        _, drawn = wants(0, split, 100)
        assert {split_of(want.product, want.wishes) for want in drawn} == {split}


def test_held_out_needs_use_frames_and_phrases_that_training_never_shows():
    lexicon = load_lexicon()
    assert not set(lexicon.frames["seen"]) & set(lexicon.frames["held"])
    assert not set(lexicon.chitchat["seen"]) & set(lexicon.chitchat["held"])
    for concept in lexicon.concepts.values():
        assert not set(concept.phrases_of("seen")) & set(concept.phrases_of("held"))
    rng = Random(0)
    seen = Manner(("{thing} {wishes}",), ("",), "seen", indirect=1.0, typos=0.0)
    held = Manner(("{thing} {wishes}",), ("",), "held", indirect=1.0, typos=0.0)
    write = {m.phrases: {write_need(lexicon, "sofa", ["color/red"], m, rng) for _ in range(200)} for m in (seen, held)}
    assert not write["seen"] & write["held"]


def test_needs_are_short_enough_to_read(task):
    assert max(len(need.text.split()) for need in task.needs("train")) <= LONGEST


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_raw_need_is_a_fair_floor_and_the_best_query_a_high_ceiling(seed):
    task = ShopTask(seed=seed, train=50, validation=50, test=300)
    assert 0.15 <= ndcg(task, "test", [need.text for need in task.needs("test")]) <= 0.40
    shop, drawn = wants(seed, "test", 3000, shared=0.45, indirect=0.3, typos=0.15)
    by_text = {want.text: want for want in drawn}
    chosen = [by_text[need.text] for need in task.needs("test")]
    own = [" ".join(shop.own_words[name] for name in (*want.wishes, f"type/{want.product}")) for want in chosen]
    assert ndcg(task, "test", own) > 0.9


def test_the_policy_reads_the_need_and_nothing_else(task):
    need = task.needs("test")[0]
    assert task.format.render(need) == [{"role": "user", "content": need.text}]


def test_the_warm_start_of_the_tiny_policy_loads_no_catalog_no_task_and_no_retriever():
    code = (
        "import sys, recr1.assets.make_tiny_shopper\n"
        "bad = {'recr1.tasks.shop.catalog', 'recr1.tasks.shop.task', 'retrievers.bm25.bm25'} & sys.modules.keys()\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_shop_every_word_of_a_concept_is_used_alike():
    lexicon, rng = load_lexicon(), Random(1)
    manner = Manner(("{thing}|{wishes}",), ("",), "all", indirect=0.0, typos=0.0)
    said = [write_need(lexicon, "sofa", ["color/red"], manner, rng).split("|")[1].split(".")[0] for _ in range(4000)]
    shares = [said.count(word) / len(said) for word in lexicon.concepts["color/red"].words]
    assert min(shares) > 0.22
    assert max(shares) < 0.28


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 10}, "items: must be an integer >= 100, got 10"),
        ({"typos": 1.5}, "typos: must be a number between 0 and 1, got 1.5"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ShopTask(**options)


def test_an_unknown_split_is_refused(task):
    with pytest.raises(UserError, match="no split 'dev'; it has: train, validation, test"):
        task.needs("dev")


def test_dialects_have_a_word_of_their_own_for_everything():
    lexicon = load_lexicon()
    a, b = (dialect_words(name) for name in ("a", "b"))
    assert set(a) == set(b) == set(lexicon.concepts)
    private = [*a.values(), *b.values()]
    said = {word for c in lexicon.concepts.values() for text in (*c.words, *c.phrases) for word in text.split()}
    assert len(set(private)) == len(private)
    assert not said & set(private)


def test_shops_of_two_dialects_sell_the_same_to_the_same_shoppers_and_share_no_word_for_it():
    a, b = (ShopTask(items=300, train=50, validation=10, test=10, dialect=name, shared=0.0) for name in ("a", "b"))
    assert a.catalog.ids == b.catalog.ids
    assert a.qrels == b.qrels
    for split in ("train", "validation", "test"):
        assert a.needs(split) == b.needs(split)
    for shop, other in ((a, "b"), (b, "a")):
        assert not set(dialect_words(other).values()) & vocabulary(shop.catalog)
        assert dialect_words("a" if other == "b" else "b")["color/red"] in vocabulary(shop.catalog)


def test_the_best_query_in_a_shop_with_private_words_is_in_these_words():
    task = ShopTask(items=2000, train=50, validation=10, test=100, dialect="a", shared=0.0)
    assert ndcg(task, "test", [need.text for need in task.needs("test")]) < 0.05
    shop = open_shop(load_lexicon(), 2000, 0, dialect="a")
    group = Manner(
        load_lexicon().frames["held"], load_lexicon().chitchat["held"], "held", shared=0.0, own_words=shop.own_words
    )
    stream = wanted(load_lexicon(), shop, "test", group, 0)
    by_text = {want.text: want for want in (next(stream) for _ in range(400))}
    chosen = [by_text[need.text] for need in task.needs("test")]
    words = dialect_words("a")
    private = [" ".join(words[name] for name in (*want.wishes, f"type/{want.product}")) for want in chosen]
    assert ndcg(task, "test", private) > 0.9


def test_a_canary_stands_in_the_text_of_every_item():
    task = ShopTask(items=300, train=50, validation=10, test=10, canary="never-shown-7")
    assert all("never-shown-7" in text for text in task.catalog.texts)
    assert task.canary == "never-shown-7"


def test_pairs_of_a_warm_start_have_private_words_of_both_dialects_alike():
    drawn = islice(shopper_pairs(load_lexicon(), seed=0, private=0.2), 4000)
    words = [word for _, query in drawn for word in query.split()]
    shares = [sum(word in set(dialect_words(name).values()) for word in words) / len(words) for name in ("a", "b")]
    assert shares == pytest.approx([0.1, 0.1], abs=0.01)


def test_pairs_without_private_words_are_those_of_the_policy_that_ships():
    need, query = list(islice(shopper_pairs(load_lexicon(), seed=2), 2))[1]
    assert need == "as a gift for dad: something to hold a big latte, that a toddler cannot break and big"
    assert query == "resin jumbo mug"
