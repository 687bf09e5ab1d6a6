"""The policy that adds clauses about fields to every need."""

from __future__ import annotations

import pytest

from recr1.baselines.access import prepare
from recr1.baselines.field_clauses import Clause, FieldClauses, written
from recr1.env import Environment
from recr1.errors import UserError
from retrievers import Catalog
from retrievers.lucene.lucene import Lucene
from rewards.base import Need, Qrels
from tests.recr1.baselines.world import Overlap, World
from tests.retrievers.lucene.lucene_contracts import needs_java


class Titled(World):
    """Each thing, and first a case for it whose text says the words of the thing more often."""

    def __init__(self, things=("red phone", "blue phone", "red lamp", "blue lamp")):
        super().__init__()
        texts = [f"{thing} case {thing} {thing}" for thing in things] + [f"{thing} of metal" for thing in things]
        titles = ["case", *(f"case {place}" for place in range(1, len(things))), *things]
        self.catalog = Catalog(list(map(str, range(len(texts)))), texts, {"title": titles})
        self.text_fields = ("title",)
        self.qrels = {thing: Qrels({len(things) + place: 1}) for place, thing in enumerate(things)}
        needs = [Need(thing, thing) for thing in things]
        self.splits = {"train": needs[:3], "test": needs[3:]}


def test_a_clause_is_written_in_the_words_of_a_need():
    words = ["laptop", "bag"]
    assert Clause("title", "any word", 0.3).of(words) == "title:(laptop bag)^0.3"
    assert Clause("title", "every word", 3.0).of(words) == "title:(+laptop +bag)^3"
    assert Clause("text", "phrase", 1.0).of(words) == 'text:"laptop bag"^1'
    assert written("wi-fi (5 GHz)", [Clause("title", "any word", 1.0)]) == "wi-fi (5 GHz) title:(wi fi 5 ghz)^1"
    assert written("?!", [Clause("title", "phrase", 1.0)]) == "?!"


@needs_java
def test_what_helps_training_needs_is_written_for_those_never_seen():
    task = Titled()
    env = Environment(task, Lucene(task.catalog, syntax="lucene", store=None), [], k=5)
    before, policy = env.search(["blue lamp"]).rows_QK[0, 0], FieldClauses(measure="nDCG@1")
    prepare(policy, env)
    ((query,),) = policy.generate([policy.format.render(task.needs("test")[0])], 0)
    assert len(policy.chosen) == 1, "the second clause adds nothing"
    assert query == f"blue lamp {policy.chosen[0].of(['blue', 'lamp'])}"
    assert [before, env.search([query]).rows_QK[0, 0]] == [3, 7]


@needs_java
def test_without_a_gain_the_need_stays_as_it_is():
    task = Titled()
    env = Environment(task, Lucene(task.catalog, syntax="lucene", store=None), [], k=5)
    policy = FieldClauses(measure="R@5", at_least=0.5)
    prepare(policy, env)
    assert policy.generate([policy.format.render(task.needs("test")[0])], 0) == [["blue lamp"]]


@needs_java
def test_an_engine_of_words_and_an_unknown_field_are_refused():
    task = Titled()
    with pytest.raises(UserError, match="queries of this engine cannot name fields: take an engine whose queries can"):
        prepare(FieldClauses(), Environment(task, Overlap(task.catalog), [], k=10))
    env = Environment(task, Lucene(task.catalog, syntax="lucene", store=None), [], k=10)
    with pytest.raises(UserError, match="fields: the catalog has no field 'titel'; did you mean 'title'"):
        prepare(FieldClauses(fields=["titel"]), env)
