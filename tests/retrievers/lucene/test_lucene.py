from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import log

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.abilities import CAPABILITIES, capabilities_of, syntax_of
from retrievers.bm25.bm25 import BM25
from retrievers.lucene.index import Analysis, java_text
from retrievers.lucene.jvm import java
from retrievers.lucene.lucene import Lucene
from tests.retrievers.lucene.lucene_contracts import STORE, ask, bm25, needs_java, rounded, scores

pytestmark = needs_java

TEXTS = ["red shoe red", "blue shoe", "green hat with a wide brim", "green sock", "red sock"]
TITLES = ["Red Runner", "Blue Runner", "Sun Hat", "Grass", "Fire"]
SHOP = Catalog([f"item {row}" for row in range(5)], TEXTS, {"title": TITLES})
"""Lengths 3, 2, 6, 2, 2: the mean is 3."""


def lucene(catalog=SHOP, **options):
    return Lucene(catalog, store=STORE.name, **options)


def generated(items, words, seed=0):
    rng = np.random.default_rng(seed)
    texts = [" ".join(f"w{word}" for word in rng.zipf(1.3, rng.integers(0, words)) % 500) for _ in range(items)]
    return Catalog([f"g{row}" for row in range(items)], texts)


# What is searched.


@pytest.mark.parametrize("syntax", ["bag", "lucene"])
def test_every_word_of_a_query_counts(syntax):
    words = "wide green shoe sock blue".split()
    retriever = lucene(syntax=syntax)
    whole = scores(retriever, " ".join(words))
    for word in words:
        rest = " ".join(other for other in words if other != word)
        assert scores(retriever, rest) != whole, f"without {word!r} the scores are the same"
        assert ask(retriever, word)[0], f"{word!r} alone finds nothing"


def test_scores_are_those_of_the_formula_by_hand():
    idf = log(1 + 3.5 / 2.5)  # two of five items hold "red"
    norm_3, norm_2 = 1.2 * (0.25 + 0.75 * 3 / 3), 1.2 * (0.25 + 0.75 * 2 / 3)
    expected = {0: idf * 2 / (2 + norm_3), 4: idf * 1 / (1 + norm_2)}
    assert scores(lucene(), "red") == pytest.approx(expected, rel=1e-6)


def test_it_ranks_as_bm25_does_where_lengths_are_exact():
    catalog = generated(2000, 40)
    catalog = Catalog(catalog.ids, [text or "w1" for text in catalog.texts])
    queries = [" ".join(text.split()[:6]) for text in catalog.texts[:100]]
    ours, theirs = lucene(catalog).search(queries, 50), BM25(catalog).search(queries, 50)
    np.testing.assert_allclose(ours.scores_QK, theirs.scores_QK, rtol=1e-6)
    assert (ours.rows_QK == theirs.rows_QK).mean() > 0.99  # the last bit of a score can differ


def test_lengths_are_kept_in_one_byte():
    catalog = generated(60, 400)
    split = [text.split() for text in catalog.texts]
    held = [text for text in split if text]
    mean = sum(map(len, held)) / len(held)
    row = max(range(60), key=lambda row: len(split[row]))
    term = split[row][0]
    df, tf = sum(term in text for text in held), split[row].count(term)
    idf = log(1 + (len(held) - df + 0.5) / (df + 0.5))
    kept = rounded(len(split[row]))
    assert kept < len(split[row])
    expected = idf * tf / (tf + 1.2 * (0.25 + 0.75 * kept / mean))
    assert scores(lucene(catalog), term, 60)[row] == pytest.approx(expected, rel=1e-6)
    assert bm25(split, [term])[row] != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "operator", ["AND", "OR", "NOT", "+", "-", '"', "(", ")", ":", "^", "*", "title:", "contents:"]
)
def test_in_a_bag_operators_are_no_more_than_words(operator):
    bag = lucene()
    alone = {word: scores(bag, word) for word in ("red", "sock")}
    expected = {row: alone["red"].get(row, 0) + alone["sock"].get(row, 0) for row in (0, 3, 4)}
    assert scores(bag, f"red {operator} sock") == pytest.approx(expected, rel=1e-6)
    assert bag.unparsed == 0
    assert capabilities_of(bag) == frozenset()


def test_a_repeated_word_counts_as_often_as_it_occurs():
    once, thrice = scores(lucene(), "sock"), scores(lucene(), "sock sock sock")
    assert thrice == pytest.approx({row: 3 * score for row, score in once.items()}, rel=1e-6)


def test_the_score_over_fields_is_the_weighted_sum():
    both = scores(lucene(fields={"texts": 1, "title": 2.5}), "red runner")
    text, title = scores(lucene(), "red runner"), scores(lucene(fields={"title": 1}), "red runner")
    expected = {row: text.get(row, 0) + 2.5 * title.get(row, 0) for row in {*text, *title}}
    assert both == pytest.approx(expected, rel=1e-6)


def test_an_empty_field_finds_nothing():
    catalog = Catalog(SHOP.ids, SHOP.texts, {"brand": [None] * 5})
    assert ask(lucene(catalog, fields={"brand": 1}), "red") == [[]]
    assert ask(lucene(Catalog(["1", "2"], ["", " "])), "red") == [[]]


def test_analyzer_options():
    assert ask(lucene(stemmer="english"), "shoes", "brims") == [[1, 0], [2]]
    assert ask(lucene(), "shoes") == [[]]
    assert ask(lucene(stopwords=["RED", "with"]), "red", "with", "Shoe") == [
        [],
        [],
        [0, 1],
    ]  # and a stop word has no length
    assert ask(lucene(stopwords="english"), "with a") == [[]]
    assert ask(lucene(lowercase=False), "Red", "red") == [[], [0, 4]]


def test_query_likelihood_by_hand():
    catalog = Catalog(["1", "2"], ["red red shoe", "blue shoe"])
    share = (2 + 1) / (5 + 1)
    expected = {0: log(1 + 2 / (10 * share)) + log(10 / (3 + 10))}
    assert scores(lucene(catalog, similarity="query_likelihood", mu=10), "red") == pytest.approx(expected, rel=1e-6)


def test_a_match_of_score_zero_is_a_match():
    catalog = Catalog(["1", "2"], ["red x x x x x x x x x", "red red red red red red"])
    assert scores(lucene(catalog, similarity="query_likelihood", mu=10), "red")[0] == 0


# The parser.


def test_boolean_operators_phrases_fields_and_boosts():
    parsed = lucene(syntax="lucene")
    assert ask(parsed, "red AND sock", "red AND NOT sock", "+green -hat", "(red OR blue) AND shoe") == [
        [4],
        [0],
        [3],
        [1, 0],
    ]
    assert ask(parsed, '"shoe red"', '"red shoe"', '"red sock shoe"', "title:runner", "title:shoe") == [
        [0],
        [0],
        [],
        [0, 1],
        [],
    ]
    assert ask(parsed, "blue hat^9", "blue^9 hat", "bri*", "gren~1") == [[2, 1], [1, 2], [2], [3, 2]]
    assert scores(parsed, "red^3") == pytest.approx({r: 3 * s for r, s in scores(parsed, "red").items()}, rel=1e-6)
    assert parsed.unparsed == 0
    assert capabilities_of(parsed) == {"boolean", "phrases", "fields"}
    assert capabilities_of(lucene(Catalog(["1"], ["x"]), syntax="lucene")) == {"boolean", "phrases"}


def test_prompts_are_told_the_fields_that_there_are():
    columns = {"title": ["a"], "brand": ["b"], "odd name": ["c"], "size": ["d"]}
    named = {
        None: "(the fields are brand, size, title), as in brand:tent",
        ("size",): "(the fields are size, brand, title), as in size:tent",
        ("title", "brand"): "(the fields are title, brand), as in title:tent",
    }
    for fields, words in named.items():
        weights = dict.fromkeys(fields, 1.0) if fields else None
        retriever = lucene(Catalog(["1"], ["x"], columns), syntax="lucene", fields=weights)
        usual = "a field's name and a colon before a word that must stand in that field"
        assert syntax_of(retriever)["fields"] == f"{usual} {words}"
        assert syntax_of(retriever)["boolean"] == CAPABILITIES["boolean"]
        assert ask(retriever, "size:d", "brand:d") == [[0], []]


def test_in_a_bag_there_is_nothing_to_be_told():
    assert syntax_of(lucene(Catalog(["1"], ["x"], {"title": ["a"]}))) == {}


def test_words_without_a_field_are_searched_in_the_weighted_fields():
    parsed = lucene(syntax="lucene", fields={"title": 2})
    assert ask(parsed, "runner", "shoe", "contents:shoe") == [[0, 1], [], []]
    assert scores(parsed, "runner") == pytest.approx(scores(lucene(fields={"title": 2}), "runner"), rel=1e-6)


@pytest.mark.parametrize(
    "query",
    [
        '"red', "(red", "red AND", "AND", "red^x", "[a TO", "*red", "\\", "red^-2", "title:", "(" * 100_000,
        "red^" + "9" * 60, "brim^3" + "0" * 38, "/[/",
    ],
)  # fmt: skip
def test_a_query_that_does_not_parse_finds_nothing_and_is_counted(query):
    parsed = lucene(syntax="lucene")
    assert ask(parsed, "red AND sock", query, "blue") == [[4], [], [1]]
    assert parsed.unparsed == 1


def test_a_blank_query_is_not_counted():
    parsed = lucene(syntax="lucene")
    assert ask(parsed, "", " \n") == [[], []]
    assert parsed.unparsed == 0


def test_hostile_expressions_are_answered():
    parsed = lucene(syntax="lucene")
    odd = ["/(.*a){30}/", "a*b*c*d*e*f*g*h*", "r" * 5000 + "~2", "((" * 1000 + "red" + "))" * 1000, "*:*", "-red"]
    found = ask(parsed, *odd)
    assert found[3:] == [[0, 4], [0, 1, 2, 3, 4], []]


# RM3.


@pytest.fixture(scope="module")
def outdoor():
    tents = [f"tent canvas shelter model{row}" for row in range(6)]
    others = ["canvas shelter for boats", *(f"lamp bulb number{row} light" for row in range(80))]
    texts = [*tents, *others]
    return Catalog([str(row) for row in range(len(texts))], texts)


def test_rm3_finds_items_without_a_word_of_the_query(outdoor):
    assert 6 not in ask(lucene(outdoor), "tent", k=20)[0]
    assert 6 in ask(lucene(outdoor, rm3_items=5), "tent", k=20)[0]
    assert ask(lucene(outdoor, rm3_items=5), "unheard", "") == [[], []]


def test_with_the_whole_weight_on_its_own_terms_rm3_changes_no_ranking(outdoor):
    queries = ["tent model3", "boats", "light number7 canvas"]
    own = lucene(outdoor, rm3_items=5, rm3_weight=1)
    plain = lucene(outdoor)
    for found, expected in zip(ask(own, *queries), ask(plain, *queries), strict=True):
        assert found[: len(expected)] == expected  # those of the added terms follow, with a score of 0


# Beside pyserini, on the same index.


def rm3(searcher):
    searcher.set_bm25(0.9, 0.4)
    searcher.set_rm3("", 7, 5, 0.4, False, True)


@pytest.mark.parametrize(
    ("options", "prepare"),
    [
        ({"k1": 0.9, "b": 0.4}, lambda searcher: searcher.set_bm25(0.9, 0.4)),
        ({"similarity": "query_likelihood", "mu": 50}, lambda searcher: searcher.set_qld(50.0)),
        ({"k1": 0.9, "b": 0.4, "rm3_items": 5, "rm3_terms": 7, "rm3_weight": 0.4}, rm3),
    ],
    ids=["bm25", "query likelihood", "rm3"],
)
def test_it_finds_what_pyserini_finds_in_its_index(tmp_path, options, prepare):
    catalog = generated(300, 60)
    ours = Lucene(catalog, store=str(tmp_path), **options)
    (folder,) = tmp_path.glob("lucene-*/")
    searcher = java("io.anserini.search.SimpleSearcher")(str(folder), Analysis(True, (), None).analyzer())
    prepare(searcher)
    for query in ("w7 w31 w200", "w3 w3 w90", catalog.texts[17], "unheard"):
        theirs = {hit.docid: hit.score for hit in searcher.search(query, 20)}
        found = {catalog.ids[row]: score for row, score in scores(ours, query, 20).items()}
        assert found == pytest.approx(theirs, abs=2e-4), query  # it rounds to four places


# Odd input.


def test_more_than_1024_different_words():
    catalog = generated(200, 60)
    query = " ".join(f"w{word}" for word in range(3000))
    assert len(ask(lucene(catalog), query, k=200)[0]) == sum(bool(text) for text in catalog.texts)
    assert ask(lucene(catalog, syntax="lucene"), query, k=200) == ask(lucene(catalog), query, k=200)


def test_half_a_surrogate_pair_separates_words_in_items_and_queries():
    odd = Catalog(["1", "2", "3"], ["red\ud800shoe", "\udfff", "shoe \U0001f45f"])
    assert ask(lucene(odd), "red", "sh\ud83doe", "\ud800", "shoe\udc00", "\U0001f45f") == [[0], [], [], [0, 2], [2]]
    assert java_text("a\ud83d\udc5fb\ud83d") == "a\U0001f45fb\ufffd"


def test_a_query_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match=r"searches text, not a tuple: \(1, 2\)"):
        lucene().search(["red", (1, 2)], 3)


def test_k_beyond_the_catalog_and_repeated_queries():
    assert ask(lucene(), "red", "green", "red", k=4_000) == [[0, 4], [3, 2], [0, 4]]


@pytest.mark.parametrize("threads", [1, 3, 64])
def test_the_number_of_threads_does_not_show(threads):
    catalog = generated(400, 30)
    queries = list(catalog.texts[:41])
    one, many = lucene(catalog, threads=1).search(queries, 30), lucene(catalog, threads=threads).search(queries, 30)
    assert np.array_equal(one.rows_QK, many.rows_QK)
    assert np.array_equal(one.scores_QK, many.scores_QK)


def test_retrievers_of_several_kinds_search_at_the_same_time():
    catalog = generated(400, 30)
    options = [{}, {"k1": 0.5}, {"syntax": "lucene"}, {"syntax": "lucene", "b": 0.1}, {"rm3_items": 5}]
    retrievers = [lucene(catalog, **one) for one in options]
    queries = [text for text in catalog.texts if text][:40]
    expected = [retriever.search(queries, 10) for retriever in retrievers]

    def search(number):
        return number, retrievers[number].search(queries, 10)

    with ThreadPoolExecutor(10) as threads:
        for number, hits in threads.map(search, list(range(5)) * 12):
            assert np.array_equal(hits.rows_QK, expected[number].rows_QK), options[number]
    assert [retriever.unparsed for retriever in retrievers] == [0] * 5
