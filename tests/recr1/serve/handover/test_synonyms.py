from __future__ import annotations

import pytest

from recr1.serve.handover.synonyms import Rule, by_phrase, expanded_query, learn, solr_lines, table
from retrievers.lucene import jvm
from retrievers.lucene.jvm import java
from tests.retrievers.lucene.lucene_contracts import needs_java

PAIRS = [
    ("Warm shoe, for winter", "boot winter"),
    ("shoe for the beach", "sandal boot"),
    ("a shoe", "boot"),
    ("lamp for my bed", "lamp bedside table"),
    ("bed", "bedside table"),
    ("a lamp", "lamp"),
    ("pen", "pen"),
    ("ink", "ink"),
]


def found(support=2, pairs=PAIRS):
    return {(" ".join(rule.left), " ".join(rule.right)): rule for rule in learn(pairs, support)}


def test_rules_worked_by_hand():
    rules = found()
    assert set(rules) == {("shoe", "boot"), ("bed", "bedside table")}
    assert (rules["shoe", "boot"].support, rules["shoe", "boot"].confidence) == (3, 1.0)
    assert (rules["bed", "bedside table"].support, rules["bed", "bedside table"].confidence) == (2, 1.0)


def test_support_counts_needs():
    assert set(found(3)) == {("shoe", "boot")}
    assert found(4) == {}
    assert learn([], 1) == []


def test_a_word_that_is_added_to_everything_is_no_rule():
    pairs = [(f"need {word}", f"best {word}") for word in ("cup", "pot", "pan", "jug")]
    assert found(1, pairs) == {}


def test_a_phrase_that_mostly_stays_alone_is_no_rule():
    pairs = [("red cup", "mug"), ("red cup", "mug"), *[(f"red {n}", f"red {n}") for n in "abcdefgh"]]
    assert set(found(2, pairs)) == {("cup", "mug")}


def test_a_need_that_is_not_rewritten_counts_against_a_rule():
    assert set(found(1, [("cup", "mug"), ("cup x", "cup x"), ("pan", "pan"), ("jug", "jug")])) == {("cup", "mug")}
    assert found(1, [("cup", "mug"), ("cup x", "cup x"), ("cup y", "cup y"), ("jug", "jug")]) == {}


def test_the_longest_phrase_at_a_place_counts_and_the_next_begins_behind_it():
    rules = {("running", "shoe"): [("trainer",)], ("shoe",): [("boot",)], ("red",): [("crimson",), ("deep", "red")]}
    assert expanded_query("Running shoe, red shoe", rules) == "Running shoe, red shoe trainer crimson deep boot"
    assert expanded_query("pen", rules) == "pen"


def test_lines_of_solr_keep_the_phrase():
    rules = [
        Rule(("cup",), ("mug",), 3, 1.0),
        Rule(("cup",), ("big", "mug"), 2, 0.7, 4, -0.0),
        Rule(("x",), ("y",), 1, 1),
    ]
    assert solr_lines(rules) == ["cup => cup, mug, big mug", "x => x, y"]
    assert table(rules).splitlines() == [
        "phrase,added,support,confidence,judged,gain",
        "cup,mug,3,1.000,0,",
        "cup,big mug,2,0.700,4,-0.0000",
        "x,y,1,1.000,0,",
    ]


def analyzed(folder, text):
    """(term, position, length in positions) of each token of Lucene's own filter, with the rules of synonyms.txt."""
    from jnius import cast

    package = "org.apache.lucene.analysis"
    builder = java(f"{package}.custom.CustomAnalyzer").builder(java("java.nio.file.Paths").get(str(folder)))
    builder.withTokenizer("standard").addTokenFilter("lowercase")
    builder.addTokenFilter("synonymGraph", "synonyms", "synonyms.txt", "format", "solr", "expand", "true")
    stream = builder.build().tokenStream("text", text)
    names = [f"{package}.tokenattributes.{one}Attribute" for one in ("CharTerm", "PositionIncrement", "PositionLength")]
    term, step, length = (cast(one, stream.addAttribute(java("java.lang.Class").forName(one))) for one in names)
    stream.reset()
    tokens, at = [], -1
    while stream.incrementToken():
        at += step.getPositionIncrement()
        tokens.append((term.toString(), at, length.getPositionLength()))
    stream.close()
    return tokens


@needs_java
@pytest.mark.parametrize(
    "need",
    [
        "Running shoe, red shoe",
        "a lamp for the bed",
        "running",
        "shoe for winter",
        "red running shoe red",
        "it won't scratch, size 3.5",
    ],
)
def test_lucene_reads_the_file_and_adds_the_same_words(need, tmp_path):
    jvm.start()
    pairs = [
        (("running", "shoe"), ("trainer",)),
        (("shoe",), ("boot",)),
        (("red",), ("crimson",)),
        (("red",), ("deep", "red")),
    ]
    pairs += [(("lamp", "for", "the"), ("light",)), (("bed",), ("bedside", "table"))]
    pairs += [(("won't", "scratch"), ("safe",)), (("3.5",), ("small",))]
    rules = [Rule(*pair, 2, 1.0) for pair in pairs]
    (tmp_path / "synonyms.txt").write_text("".join(f"{line}\n" for line in solr_lines(rules)))
    with jvm.alone:
        tokens = analyzed(tmp_path, need)
    ours = expanded_query(need, by_phrase(rules))
    assert {term for term, *_ in tokens} == {word.strip(",").lower() for word in ours.split()}


@needs_java
def test_lucene_puts_what_is_added_beside_the_phrase(tmp_path):
    jvm.start()
    rules = [Rule(("bed",), ("bedside", "table"), 2, 1.0)]
    (tmp_path / "synonyms.txt").write_text("".join(f"{line}\n" for line in solr_lines(rules)))
    with jvm.alone:
        tokens = analyzed(tmp_path, "a bed")
    assert sorted(tokens) == [("a", 0, 1), ("bed", 1, 2), ("bedside", 1, 1), ("table", 2, 1)]
