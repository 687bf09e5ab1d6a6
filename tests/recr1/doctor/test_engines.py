"""The doctor on engines as they come: Lucene, vectors, what is behind a network, a cache; each with its own faults."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.doctor import CHECKS, PartFailed, Setup, open_setup, run_checks
from recr1.env import Environment
from recr1.recipe import load_recipe
from recr1.tasks.shop.task import ShopTask
from retrievers.base import Hits
from retrievers.bm25.bm25 import BM25
from retrievers.dense.dense import Dense
from retrievers.errors import EngineError, MissingAnswers, PermanentError
from retrievers.lucene.lucene import Lucene
from retrievers.topk import no_hits
from rewards.measures.reward import MeasureReward
from tests.recr1.doctor import faults
from tests.retrievers.lucene.lucene_contracts import needs_java


@pytest.fixture(scope="module")
def shop():
    return ShopTask(items=400, train=80, validation=20, test=20)


def setup_of(task, retriever, **options):
    env = Environment(task, retriever, [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)
    return Setup(env, **{"sample": 60, "batch": 16, **options})


def found(task, retriever, name):
    return CHECKS[name](setup_of(task, retriever))


# --- Lucene: what it declares is tried on Lucene itself


class OfLucene(faults.Sound):
    """Lucene with its syntax; the faulty ones change what goes in."""

    def __init__(self, catalog, **options):
        self.catalog, self.engine = catalog, Lucene(catalog, syntax="lucene", store=None, **options)
        self.capabilities, self.syntax = self.engine.capabilities, self.engine.syntax


class Bag(OfLucene):
    """Declares what Lucene's parser understands, and does not use it."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.engine = Lucene(catalog, store=None)


class LowersCase(OfLucene):
    """Operators in small letters are words to Lucene."""

    def before(self, query):
        return query.lower()


class DropsNot(OfLucene):
    def before(self, query):
        return query.replace("AND NOT", "OR")


class StripsQuotes(OfLucene):
    def before(self, query):
        return query.replace('"', "")


class LosesFields(OfLucene):
    """A field's name and colon never reach the parser."""

    def before(self, query):
        return re.sub(r"\w+:", "", query)


class NamesAField(OfLucene):
    """One of the fields that it tells the policy of is not in the index."""

    def before(self, query):
        return query.replace("brand:", "maker:")


@needs_java
@pytest.mark.parametrize("options", [{}, {"fields": {"title": 2, "description": 1}}])
def test_lucenes_operators_are_tried_and_hold(shop, options):
    finding = found(shop, Lucene(shop.catalog, syntax="lucene", store=None, **options), "operators")
    held = finding.numbers["held"]
    assert finding.verdict == "ok"
    assert all(right == asked for right, asked in held.values())
    assert {"boolean AND", "boolean OR", "boolean NOT", "phrases", "fields (title)"} <= set(held)
    assert ("fields (brand)" in held) == (not options)  # with several fields searched, prompts name those alone


@needs_java
@pytest.mark.parametrize(
    ("retriever", "broken"),
    [
        (Bag, ["boolean AND", "boolean NOT", "phrases", "fields (title)"]),
        (LowersCase, ["boolean AND", "boolean NOT"]),
        (DropsNot, ["boolean NOT"]),
        (StripsQuotes, ["phrases"]),
        (LosesFields, ["fields (title)"]),
        (NamesAField, ["fields (brand)"]),
    ],
)
def test_a_broken_way_to_lucenes_parser_is_found(shop, retriever, broken):
    finding = found(shop, retriever(shop.catalog), "operators")
    assert finding.verdict == "error"
    told = re.findall(r"([\w ]+(?: \(\w+\))?) is declared, but works in only", finding.message)
    assert set(broken) <= {name.strip() for name in told}
    assert "boolean OR" not in [name.strip() for name in told]


@needs_java
def test_raw_needs_that_do_not_parse_are_worth_a_warning():
    items = [f"red lamp made{row} old" for row in range(40)]
    needs = [(f"n{row}", f"lamp made{row}" + " (old" * (row < 4)) for row in range(40)]
    task = faults.Village(items, {"train": needs}, {f"n{row}": {row: 1} for row in range(40)})
    finding = found(task, Lucene(task.catalog, syntax="lucene", store=None), "odd_queries")
    assert finding.verdict == "warning"
    assert finding.message.startswith("4 of 40 raw needs do not parse in the retriever's syntax and find nothing: ")
    words = found(task, Lucene(task.catalog, store=None), "odd_queries")
    assert (words.verdict, words.numbers["unparsed_needs"]) == ("ok", 0)


@needs_java
def test_titles_that_do_not_parse_are_said_to_be_the_cause():
    items = [f'{row}" lamp number{row}' for row in range(40)]
    task = faults.Village(items, {"train": [("n", "lamp number3")]}, {"n": {3: 1}})
    finding = found(task, Lucene(task.catalog, syntax="lucene", store=None), "titles")
    assert finding.verdict == "error"
    assert "40 of the titles do not parse in the retriever's syntax and find nothing" in finding.message


@needs_java
def test_a_sound_lucene_has_no_error(shop):
    findings = list(run_checks(setup_of(shop, Lucene(shop.catalog, syntax="lucene", store=None))))
    assert [(f.name, f.message) for f in findings if f.verdict == "error"] == []


# --- vectors


def test_vectors_are_not_blamed_for_nearest_items(shop):
    dense = Dense(shop.catalog, encoder={"type": "hashing"}, store=None, device="cpu")
    findings = {f.name: f for f in run_checks(setup_of(shop, dense))}
    assert [name for name, f in findings.items() if f.verdict == "error"] == []
    assert "declares matches_everything" in findings["no_match"].message


def test_to_declare_what_is_not_so_is_an_error(shop):
    class Boastful(faults.Sound):
        matches_everything = True

    finding = found(shop, Boastful(shop.catalog), "no_match")
    assert finding.verdict == "error"
    assert "declares matches_everything, but 'zxqvjk' finds nothing" in finding.message


# --- engines behind a network


class Engine(faults.Sound):
    """Gives no answer to some queries."""

    silent_for: ClassVar = staticmethod(lambda query: True)
    cause: type[Exception] | None = None

    def search(self, queries, k):
        lost = [place for place, query in enumerate(queries) if self.silent_for(query)]
        if not lost:
            return super().search(queries, k)
        error = EngineError("engine", "http://shop", 6, "status 503: busy")
        error.__cause__ = self.cause("status 400") if self.cause else None
        hits = no_hits(len(queries), k) if len(lost) == len(queries) else super().search(queries, k)
        raise MissingAnswers(Hits(*(np.array(part) for part in hits)), dict.fromkeys(lost, error))


def test_a_silent_engine_is_the_one_finding_without_a_place_in_our_code(shop):
    (finding,) = run_checks(setup_of(shop, Engine(shop.catalog)))
    assert (finding.name, finding.verdict) == ("index", "error")
    assert "others failed: engine at http://shop, after 6 attempts: status 503: busy (60 of the" in finding.message
    assert finding.message.endswith("; fix this first: nothing else can be checked")
    assert ".py:" not in finding.message


def test_an_engine_that_falls_silent_is_the_last_finding(shop):
    class Gone(Engine):
        silent_for = staticmethod(lambda query: len(query.split()) == 1)

    findings = list(run_checks(setup_of(shop, Gone(shop.catalog))))
    assert [(f.name, f.verdict) for f in findings] == [("index", "ok"), ("titles", "ok"), ("ranking", "error")]


def test_an_engine_that_refuses_one_kind_of_query_is_asked_on(shop):
    class Picky(Engine):
        silent_for = staticmethod(lambda query: '"' in query)
        cause = PermanentError

    findings = {f.name: f.verdict for f in run_checks(setup_of(shop, Picky(shop.catalog)))}
    assert list(findings) == list(CHECKS)
    assert [name for name, verdict in findings.items() if verdict == "error"] == ["separators", "odd_queries"]


def test_a_reward_that_is_absent_is_no_number(shop):
    engine = Engine(shop.catalog)
    needs = shop.needs("train")[:4]
    engine.silent_for = lambda query: query == needs[2].text
    finding = next(f for f in run_checks(setup_of(shop, engine)) if f.verdict == "error")
    assert "engine at http://shop, after 6 attempts" in finding.message
    with pytest.raises(PartFailed, match=r"rewarding .* failed: engine at http://shop"):
        setup_of(shop, engine).reward(needs, [need.text for need in needs])


# --- a cache, and slow engines


@pytest.mark.parametrize("depth", [1, 2])
def test_a_cache_does_not_hide_what_the_engine_does(depth, capsys):
    part = "{type: tests.recr1.doctor.faults:Chance}"
    for _ in range(depth):
        part = f"{{type: cached, retriever: {part}}}"
    findings = {f.name: f for f in run_checks(open_setup(load_recipe("toy/echo", [f"retriever={part}"])))}
    assert findings["deterministic"].verdict == "error"
    assert "find other items when searched again" in findings["deterministic"].message


def test_it_is_said_that_a_cache_was_left_out():
    sound = load_recipe("toy/echo", ["retriever={type: cached, retriever: {type: bm25}}"])
    finding = next(run_checks(open_setup(sound)))
    assert finding.message.endswith("the index matches the catalog; the retriever is checked without its cache")
    assert isinstance(open_setup(sound).env.retriever, BM25)


def test_a_smaller_sample_is_said():
    ticks = iter(range(0, 1000, 7))
    slow = open_setup(load_recipe("toy/echo"), clock=lambda: next(ticks))
    assert "; the sample is reduced to 10, because searches are slow" in next(run_checks(slow)).message
    assert "because" not in next(run_checks(open_setup(load_recipe("toy/echo")))).message


def test_what_makes_raw_needs_earn_less_than_chance_is_named():
    items = [f"lamp made{row}" for row in range(30)]
    needs = {"train": [(f"n{row}", f"please made{row}") for row in range(30)]}
    task = faults.Village(items, needs, {f"n{row}": {row: 1} for row in range(30)})

    def scolds(batch):
        return [-3.0 * (rollout.action.query == rollout.need.text) for rollout in batch.rollouts]

    rewards = [(MeasureReward(measure="nDCG@10"), 1.0), (faults.Pays(scolds), 0.5)]
    env = Environment(task, BM25(task.catalog), rewards, k=10)
    message = CHECKS["rewards"](Setup(env)).message
    assert "(less than random words: 'pays' gives raw needs -1.500)" in message


def test_the_command_ends_with_status_3_where_the_engine_is_away(capsys):
    away = "retriever={type: http, url: 'http://127.0.0.1:9', body: {q: '{query}'}, attempts: 1}"
    assert run(["doctor", "toy/echo", away]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("error index searching ")
    assert "failed: http at http://127.0.0.1:9, " in out
    assert "1 error in 1 check," in out
