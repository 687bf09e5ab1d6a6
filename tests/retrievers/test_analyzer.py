from __future__ import annotations

import hashlib
import pickle
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recr1.tasks.splits import group_key
from retrievers import Catalog
from retrievers.analyzer import VERSION, Analyzer, folded, has_word, is_blank, searched_fields
from retrievers.bm25.bm25 import BM25


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Red SHOES, red!", ["red", "shoes", "red"]),
        ("women's 5.5in wi-fi snake_case", ["women", "s", "5", "5in", "wi", "fi", "snake_case"]),
        ("", []),
        (" \n\t..--!", []),
        ("Stra\u00dfe \u00c9COLE", ["strasse", "\u00e9cole"]),
        (
            "\u65e5\u672c\u8a9e \u3072\u3089 \u30ab\u30bf\u30ab\u30ca",
            ["\u65e5", "\u672c", "\u8a9e", "\u3072", "\u3089", "\u30ab\u30bf\u30ab\u30ca"],
        ),
        ("iPhone\u65b0\u54c1", ["iphone", "\u65b0", "\u54c1"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22"],
        ),
        (
            "\ud55c\uad6d\uc5b4 \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
            ["\ud55c\uad6d\uc5b4", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439"],
        ),
        ("shoe\u2122\U0001f45f\u00ae", ["shoe"]),
        ("a\x00b\ud800c", ["a", "b", "c"]),
    ],
)
def test_words_are_runs_of_letters_digits_and_marks(text, terms):
    assert Analyzer().terms(text) == terms


def test_an_accent_is_the_same_however_it_is_written():
    assert Analyzer().terms("cafe\u0301") == Analyzer().terms("caf\u00e9") == ["caf\u00e9"]


SPELLINGS = [
    ("istanbul", "\u0130STANBUL", "I\u0307STANBUL", "i\u0307stanbul", "ISTANBUL"),
    ("strasse", "Stra\u00dfe", "STRA\u1e9eE", "STRASSE"),
    ("\u03bf\u03b4\u03cc\u03c3", "\u039f\u03b4\u03cc\u03c2", "\u039f\u0394\u039f\u0301\u03a3"),
    ("abc12", "\uff21\uff22\uff23\uff11\uff12", "\uff41bc1\uff12"),
    ("\u30ac", "\uff76\uff9e", "\u30ab\u3099"),
    ("caf\u00e9", "CAF\u00c9", "cafe\u0301", "CAFE\u0301"),
    ("waterproof", "water\u00adproof", "\ufeffwater\u2060PROOF", "wat\u200der\u200cproof"),
]


@pytest.mark.parametrize("spellings", SPELLINGS, ids=ascii)
def test_every_spelling_of_a_word_is_one_term_in_needs_and_items(spellings):
    assert [Analyzer().terms(one) for one in spellings] == [[spellings[0]]] * len(spellings)
    assert len({group_key(one) for one in spellings}) == 1
    catalog = Catalog([*map(str, range(len(spellings)))], spellings)
    hits = BM25(catalog).search(spellings, len(spellings))
    assert (hits.rows_QK == range(len(spellings))).all()
    assert np.unique(hits.scores_QK).size == 1


def test_the_terms_of_a_version_stay_what_they_are():
    """If this fails because terms have changed, raise VERSION: stored indexes and hits have the old ones."""
    text = (
        " ".join(word for spellings in SPELLINGS for word in spellings)
        + " \u65e5\u672c \ud55c\uad6d \u00bd m\u00b2 5\u00b5m"
    )
    terms = [*Analyzer().terms(text), *Analyzer(lowercase=False).terms(text)]
    assert (VERSION, hashlib.sha256(" ".join(terms).encode()).hexdigest()[:16]) == (3, "e63a1650a1a31f51")


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_terms_do_not_depend_on_how_a_text_is_composed(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert Analyzer().terms(composed) == Analyzer().terms(decomposed)
    assert has_word(text) == bool(Analyzer().terms(text))
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(
    "text", ["", " ", "\u00a0\u3000", "\u200b\ufeff", "\u00ad", "\u3164", "\u2800", "\x00\n"], ids=ascii
)
def test_a_text_is_blank_if_nothing_of_it_is_seen(text):
    assert is_blank(text) and not has_word(text)


@pytest.mark.parametrize(
    ("text", "word"), [("!", False), ("\U0001f381", False), ("_", True), ("\uff3f", True), ("\u65e5", True)]
)
def test_a_text_that_is_seen_has_a_word_or_none(text, word):
    assert not is_blank(text) and has_word(text) == word


def test_case_is_kept_on_demand():
    assert Analyzer(lowercase=False).terms("Red red \uff32ed stra\u00dfe") == ["Red", "red", "Red", "stra\u00dfe"]


def test_stop_words_are_left_out_by_the_name_of_their_list():
    assert Analyzer(stopwords="english").terms("The shoe of the year") == ["shoe", "year"]
    assert Analyzer(stopwords="german").terms("der Schuh, DASS da\u00df") == ["schuh"]


def test_stop_words_can_be_listed_in_any_case():
    assert Analyzer(stopwords=["RED"]).terms("red Shoe") == ["shoe"]


def test_listed_stop_words_are_taken_as_they_are_where_case_is_kept():
    assert Analyzer(stopwords=["Red"], lowercase=False).terms("Red red") == ["red"]


def test_an_empty_list_of_stop_words_leaves_all_words_in():
    assert Analyzer(stopwords=[]).terms("the") == ["the"]


def test_words_are_stemmed_after_stop_words_went():
    assert Analyzer(stopwords=["running"], stemmer="english").terms("running runs shoes") == ["run", "shoe"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stopwords": "klingon"},
            r"stopwords: must be a list or its name, got 'klingon'; there are: .*english, english_plus",
        ),
        ({"stemmer": "klingon"}, r"stemmer: must be a language, got 'klingon'; there are: .*english"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_exist(options, message):
    with pytest.raises(ValueError, match=message):
        Analyzer(**options)


def test_a_query_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match=r"searches text, not a tuple: \(3, 1\)"):
        Analyzer().query_terms((3, 1))


def test_query_terms_are_counted():
    assert Analyzer().query_terms("red shoe RED") == {"red": 2, "shoe": 1}


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(codec=None, categories=None)))
@pytest.mark.parametrize("stemmer", [None, "english", "turkish", "arabic"])
def test_any_string_has_terms(stemmer, text):
    for term in Analyzer(stemmer=stemmer, stopwords="english").terms(text):
        assert term
        term.encode()


@pytest.mark.parametrize("word", ["\u0e01" + "\u0300" * 40, "\u0e01" + "\u0315\u0300" * 20])
def test_a_word_is_the_same_whatever_stands_around_it(word):
    assert Analyzer().terms(f"{word} e\u0301") == [*Analyzer().terms(word), "\u00e9"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [("a\u0315\u0300", 1), ("\u0315\u0300", 0), ("a", 1), ("\u65e5", 1_000_000), ("\ud800", 0), ("a ", 500_000)],
)
def test_a_megabyte_is_cut_without_a_step_that_takes_quadratic_time(text, terms):
    """Nothing is timed: such a step, as composing a long run of accents is, would take an hour."""
    assert len(Analyzer(stemmer="english").terms(text * (1_000_000 // len(text)))) == terms


def test_a_pickled_analyzer_stems_the_same():
    analyzer = Analyzer(stopwords="english", stemmer="english")
    analyzer.terms("warm up")
    assert pickle.loads(pickle.dumps(analyzer)).terms("the running shoes") == ["run", "shoe"]


def test_threads_stem_the_same():
    analyzer = Analyzer(stemmer="english")
    texts = [f"running{n} {'shoes ' * 50}" for n in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(analyzer.terms, texts)) == [analyzer.terms(text) for text in texts]


CATALOG = Catalog(["1", "2"], ["red shoe", "hat"], {"title": ["red", "hat"], "price": [3, None]})


def test_without_fields_the_texts_are_searched():
    assert searched_fields(CATALOG, None) == [(("red shoe", "hat"), 1.0)]


def test_fields_are_searched_as_text_with_their_weights():
    assert searched_fields(CATALOG, {"title": 2, "price": 0.5}) == [(("red", "hat"), 2.0), (("3", ""), 0.5)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "fields: must be a mapping from strings to numbers > 0 with at least 1 item"),
        ({"colour": 1}, "the catalog has no field 'colour'; it has: texts, price, title"),
        ({"title": 0}, r"fields.title: must be a number > 0, got 0"),
        ({"title": -1.5}, r"fields.title: .*, got -1.5"),
        ({"title": float("nan")}, r"fields.title: .*, got nan"),
        ({"title": float("inf")}, r"fields.title: .*, got inf"),
    ],
)
def test_fields_that_cannot_be_searched_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BM25(CATALOG, fields=fields)
