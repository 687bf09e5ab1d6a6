"""What real engines do wrong is found by name; what they may do is not blamed."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.doctor import CHECKS, Setup, checks, open_setup, run_checks, speed
from recr1.env import Environment
from recr1.recipe import load_recipe
from recr1.tasks.shop.task import ShopTask
from retrievers.bm25.bm25 import BM25
from rewards.measures.reward import MeasureReward
from tests.recr1.doctor import faults, faulty_calls, faulty_hits, faulty_reading
from tests.recr1.tasks.test_files_task import real
from tests.retrievers.lucene.lucene_contracts import needs_java

MODULES = {f"recr1.doctor.{name}" for name in ("retriever", "queries", "words", "repeats", "operators", "speed")}
OF_RETRIEVER = {name for name, check in CHECKS.items() if check.__module__ in MODULES}


@pytest.fixture(scope="module")
def shop():
    return ShopTask(items=400, train=80, validation=20, test=20)


@pytest.fixture(scope="module")
def bazaar():
    """Titles with accents, prices, sizes of two letters, and words that are stop words elsewhere."""
    rng = np.random.default_rng(3)
    kinds = ("cr\u00e8me", "na\u00efve", "\u00d6lig", "plain", "tv", "xl", "hd", "round", "small")
    items = [
        f"{' '.join(rng.choice(kinds, 3, replace=False))} Lamp{row} {rng.integers(1, 99)}.{rng.integers(1, 99)} thing"
        for row in range(300)
    ]
    items[:4] = [f"{item} {word}" for item, word in zip(items, ("war", "hat", "man", "die"), strict=False)]
    needs = {"train": [(f"n{row}", items[row]) for row in range(40)]}
    return faults.Village(items, needs, {f"n{row}": {row: 1} for row in range(40)})


def faulty(name):
    """The class of this name, and its module."""
    return next((getattr(m, name), m) for m in (faulty_calls, faulty_hits, faulty_reading) if name in vars(m))


def setup_of(task, retriever, k=10):
    return Setup(Environment(task, retriever(task.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=k))


FAULTS = [
    # found in the field, and let through once
    ("CutsAt", "depth", "warning", "no search finds more than 10 items, though more match and 100 are asked for"),
    ("CutsAtFive", "depth", "error", "no search finds more than 5 items, though more match and 100 are asked for"),
    ("DropsNonASCII", "word_kinds", "warning", "letters outside ASCII do not count in queries"),
    ("DropsNonASCII", "separators", "error", r"in 'a\\xa0b', 'a\\u2013b' the words a and b do not find what they"),
    ("Popular", "ranking", "error", "item 'tent-000007' is first for 200 of 200 titles of other items"),
    ("SwapsTwoItems", "index", "error", r"found in each other's place \('lamp-000003' and 'keyboard-000011', 2 in"),
    ("SwapsFirstTwo", "ranking", "error", "200 of 200 titles find their item in place 2"),
    ("EmptyForSome", "empty_answers", "error", "of 520 queries find nothing, but find items if they are written twice"),
    ("LosesOneInThree", "depth", "error", "searches for 1 items do not find as many as match"),
    (
        "LeastScore",
        "depth",
        "warning",
        "[23]. of 3. queries find fewer items than have one of their words in the title",
    ),
    ("ReadsWords", "long_queries", "error", "at the places 6, 7, 8, 9, 10, 11, 12 do not count"),
    ("LosesTheMiddle", "long_queries", "error", "at the places 4, 5, 6, 7, 8, 9, 10 do not count"),
    ("TiesByChance", "ranking", "warning", "items with equal scores are not in the order of their rows"),
    ("TiesByChance", "deterministic", "warning", "items with almost equal scores change places when searched again"),
    ("Session", "deterministic", "error", "queries find other items when searched again"),
    # more of what engines do
    ("Window", "depth", "warning", "a search for 100 items fails, and the recipe's k is 10 .* declare max_k"),
    ("EmptyBeyondWindow", "depth", "error", r"do not find as many as match \(1, and 0 if 100 are asked for\)"),
    ("SkipsAPage", "depth", "warning", "queries find fewer items than have one of their words in the title"),
    ("ShufflesDeep", "depth", "error", "a search for 1 items finds others, or in another order, than one for 100"),
    ("CollapsesWithinPage", "depth", "error", "searches for 5 items do not find as many as match"),
    ("CachesWithoutK", "depth", "warning", "one of their words in the title .* or a cache whose key lacks k"),
    ("LosesTheSeventh", "long_queries", "error", "at the places 7 do not count"),
    ("CutsBytes", "long_queries", "warning", r"the last of 60 words \(419 characters\) does not count"),
    ("DropsNumbers", "word_kinds", "error", r"numbers do not count in queries \(30 of 30: '106', "),
    ("CaseCounts", "word_kinds", "warning", r"capital letters change what is found .* small letters"),
    ("CaseOfItemsOnly", "one_word", "warning", "only 84% of 200 words of the catalog find something"),
    ("StemsQueriesOnly", "one_word", "warning", "the retriever changes queries before the search"),
    ("ReadsOperators", "separators", "error", "in 'a -b' the words a and b do not find what they find as 'a b'"),
    ("CutsAtAmpersand", "separators", "error", "in 'a & b', 'a #b' the words a and b do not find"),
    ("OneLine", "separators", "error", r"in 'a\\nb' the words a and b do not find"),
    ("WhitespaceWords", "separators", "error", "in 'a, b', .* the words a and b do not find"),
    ("AllWords", "empty_answers", "warning", "the engine joins words by AND, and 100% of the raw needs find nothing"),
    ("Sponsored", "ranking", "warning", "item 'tent-000007' is in the first ten for 200 of 200 titles of other items"),
    ("MissesItems", "index", "warning", "20 of 400 items are not found by their title and text"),
    ("ShiftedEnd", "index", "warning", "of 400 items are not found by their title and text"),
    ("RoundsScores", "ranking", "warning", "scores are rounded to 0 decimals, so 76% of neighbours"),
    ("TiesByHash", "ranking", "warning", "items with equal scores are not in the order of their rows"),
    ("AnswersOfOthers", "every_word", "error", "the third word of a query counts in only 0%"),
    ("MixesUpBatches", "deterministic", "error", "queries find other items in another order of the batch"),
    ("GivesUp", "deterministic", "error", "100 of 200 queries find other items in another order of the batch"),
]


@pytest.mark.parametrize(("name", "check", "verdict", "message"), FAULTS)
def test_a_fault_of_an_engine_is_found_by_name(shop, name, check, verdict, message):
    finding = CHECKS[check](setup_of(shop, faulty(name)[0]))
    assert finding.verdict == verdict
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(finding.message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PlainNumbers", r"numbers with punctuation do not count in queries \(30 of 30: '1"),
        ("DropsNumbers", "words of letters and digits do not count in queries"),
        ("DropsNonASCII", r"words with letters outside ASCII do not count in queries \(3 of 3: "),
        ("DropsShortWords", "words of two letters do not count in queries"),
        ("GermanStopwords", r"words that are stop words in German find nothing \('die', 'hat', 'man' and 1 more\)"),
    ],
)
def test_words_that_do_not_count_are_found_by_their_kind(bazaar, name, message):
    finding = CHECKS["word_kinds"](setup_of(bazaar, faulty(name)[0]))
    assert finding.verdict != "ok"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(finding.message)


@pytest.mark.parametrize("name", ["Ascending", "NaNScores", "Repeats"])
def test_hits_that_no_measure_can_be_computed_from_are_an_error(shop, name):
    finding = next(run_checks(setup_of(shop, faulty(name)[0])))
    assert finding.verdict == "error"
    assert f"raised ContractError: retriever {name} returned " in finding.message


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("Remembers", "history", "queries find other items after many other queries"),
        ("WearsOut", "history", "99 of 100 queries find other items after many other queries"),
        ("SlowerEachTime", "latency", "searches get slower with each call"),
        ("SlowAtFirst", "latency", "the first call takes 1.20 s, later ones 1 ms for each query"),
    ],
)
def test_what_changes_from_call_to_call_is_found(name, check, message, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(faulty_calls, "sleep", lambda seconds: clock.append(clock[-1] + seconds))
    monkeypatch.setattr(speed, "perf_counter", lambda: clock[-1])
    recipe = load_recipe("toy/echo", [f"retriever.type={faulty(name)[1].__name__}:{name}"])
    findings = {f.name: f for f in run_checks(open_setup(recipe, clock=lambda: clock[-1]))}
    assert findings[check].verdict != "ok"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(findings[check].message)


# --- no false alarm

HASHED = "type: dense, encoder: {type: hashing, ngrams: 3}, device: cpu, store: null"
HEALTHY = {
    "bm25": "type: bm25",
    "bm25, stemmed": "type: bm25, stopwords: english_plus, stemmer: porter",
    "rank_bm25": "type: rank_bm25",
    "dense": HASHED,
    "hnsw": "type: dense, encoder: {type: hashing}, index: hnsw, store: null",
    "ivf": "type: dense, encoder: {type: hashing}, index: ivf, store: null",
    "hybrid": f"type: hybrid, parts: [{{type: bm25}}, {{{HASHED}}}]",
    "hybrid, sum": f"type: hybrid, method: sum, depth: 200, parts: [{{type: bm25}}, {{{HASHED}}}]",
    "rerank": "type: rerank, retriever: {type: bm25}, scorer: {type: 'tests.recr1.doctor.healthy:SharedWords'}",
    "cached": "type: cached, retriever: {type: bm25, stopwords: english}",
}
JAVA = {
    "lucene": "type: lucene, store: null",
    "lucene, stemmed": "type: lucene, stemmer: english, stopwords: english, store: null",
    "lucene, rm3": "type: lucene, similarity: query_likelihood, rm3_items: 10, store: null",
    "lucene, parsed": "type: lucene, syntax: lucene, store: null",
}
PARSED = {"lucene, parsed": ("odd_queries", "titles")}
"""What Lucene's parser is rightly warned of: needs and titles that it cannot parse."""
SMALL = ["task.items=400", "task.train=80", "task.validation=20", "task.test=20"]


def blamed(recipe, overrides, retriever, tasks, monkeypatch):
    """The findings about a healthy engine that are not "ok"; each task is opened once."""
    build = checks.build

    def build_once(kind, part, *rest, **options):
        if kind != "task":
            return build(kind, part, *rest, **options)
        key = repr(part)
        if key not in tasks:
            tasks[key] = build(kind, part)
        return tasks[key]

    monkeypatch.setattr(checks, "build", build_once)
    setup = open_setup(load_recipe(recipe, [*overrides, f"retriever={{{retriever}}}"]), clock=lambda: 0.0)
    found = [check(setup) for name, check in CHECKS.items() if name in OF_RETRIEVER - {"latency"}]
    return [(f.name, f.message) for f in found if f.verdict != "ok"]


@pytest.fixture(scope="module")
def tasks():
    return {}


@pytest.mark.parametrize("engine", HEALTHY)
def test_a_healthy_engine_is_not_blamed(engine, tasks, monkeypatch):
    assert blamed("toy/echo", [], HEALTHY[engine], tasks, monkeypatch) == []


LANGUAGES = {
    "german": "Der Stuhl aus Holz f\u00fcr die K\u00fcche mit vier Beinen;Das Zelt f\u00fcr zwei Personen 1,9 kg",
    "french": "La chaise en bois pour la cuisine avec quatre pieds;Une lampe de bureau avec un abat-jour en verre",
    "chinese": "\u7ea2\u8272\u7684\u6728\u6905\u9002\u5408\u53a8;\u53cc\u4eba\u8f7b\u4fbf\u9632\u6c34\u5e10\u7bf7",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_analyzer_of_the_catalogs_language_is_not_blamed(language):
    texts, options = LANGUAGES[language].split(";"), {"stopwords": language, "stemmer": language}
    words = "".join(texts) if language == "chinese" else " ".join(texts).split()
    items = [f"{texts[row % 2]} {words[row % len(words)]} {row + 100}" for row in range(120)]
    task = faults.Village(items, {"train": [(f"n{row}", items[row]) for row in range(20)]}, {"n0": {0: 1}})
    setup = setup_of(task, lambda catalog: BM25(catalog, **(options if language != "chinese" else {})))
    assert [f.message for name in OF_RETRIEVER - {"latency"} if (f := CHECKS[name](setup)).verdict != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", HEALTHY)
def test_a_healthy_engine_is_not_blamed_on_the_shop(engine, tasks, monkeypatch):
    assert blamed("quickstart", SMALL, HEALTHY[engine], tasks, monkeypatch) == []


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("engine", JAVA)
def test_a_healthy_lucene_is_not_blamed(engine, tasks, monkeypatch):
    assert blamed("toy/echo", [], JAVA[engine], tasks, monkeypatch) == []


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("data", ["chorus_icecat", "msrd_movies"])
@pytest.mark.parametrize("engine", [*HEALTHY, *JAVA])
def test_a_healthy_engine_is_not_blamed_on_real_data(engine, data, tasks, monkeypatch):
    if engine == "rank_bm25":
        pytest.skip("rank_bm25 reads every item for every query: minutes")
    overrides = [f"task.path={real(data)}", "task.without_positive=exclude"]
    told = blamed("your_data", overrides, (HEALTHY | JAVA)[engine], tasks, monkeypatch)
    assert [told_of for told_of in told if told_of[0] not in PARSED.get(engine, ())] == []


def test_the_number_of_queries_is_bounded(shop):
    """For a paid engine: what the page of the doctor says, with a margin for other catalogs."""

    class Counts(faults.Sound):
        calls = queries = 0

        def search(self, queries, k):
            self.calls, self.queries = self.calls + 1, self.queries + len(queries)
            return super().search(queries, k)

    for sample, most in ((200, 8000), (10, 3000)):
        env = Environment(shop, engine := Counts(shop.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)
        setup = Setup(env, sample=sample)
        for name, check in CHECKS.items():
            if name in OF_RETRIEVER:
                check(setup)
        assert engine.queries < most
        assert engine.calls < 250
