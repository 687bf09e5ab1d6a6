"""What an engine understands: declared, or nothing."""

from __future__ import annotations

from typing import ClassVar

import pytest

from retrievers import PARTS, Catalog
from retrievers.abilities import (
    CAPABILITIES,
    Delegate,
    capabilities_of,
    matches_everything,
    max_k_of,
    stats_of,
    syntax_of,
)


class Engine:
    def search(self, queries, k): ...


class Operators(Engine):
    capabilities = frozenset({"phrases", "boolean"})
    syntax: ClassVar = {"phrases": "words in 'single quotes'", "fields": "never shown: it is not declared"}


class ByOption(Engine):
    def __init__(self, *, fields):
        self.fields = fields

    @property
    def capabilities(self):
        return frozenset({"fields"} if self.fields else ())


class Boastful(Engine):
    capabilities = frozenset({"telepathy"})


class Around(Delegate, Engine):
    def __init__(self, inner):
        self._inner = inner


def test_a_retriever_without_abilities_has_no_limit_and_no_numbers():
    engine = Engine()
    assert (max_k_of(engine), matches_everything(engine), stats_of(engine)) == (None, False, {})


def test_a_delegate_has_the_abilities_of_the_retriever_inside():
    inner = Operators()
    inner.max_k, inner.matches_everything = 5, True
    around = Around(inner)
    assert (max_k_of(around), matches_everything(around)) == (5, True)
    assert syntax_of(around) == syntax_of(inner)
    assert (max_k_of(Around(Engine())), matches_everything(Around(Engine()))) == (None, False)


def test_a_retriever_that_declares_nothing_understands_words_alone():
    assert capabilities_of(Engine()) == frozenset()
    assert syntax_of(Engine()) == {}


def test_capabilities_may_depend_on_options():
    assert capabilities_of(ByOption(fields=True)) == {"fields"}
    assert capabilities_of(ByOption(fields=False)) == frozenset()


def test_the_syntax_is_the_usual_one_unless_the_retriever_words_it():
    assert list(syntax_of(Operators()).items()) == [
        ("boolean", CAPABILITIES["boolean"]),
        ("phrases", "words in 'single quotes'"),
    ]


def test_an_unknown_capability_is_refused_with_those_that_there_are():
    message = "Boastful declares the capability 'telepathy'; there are: boolean, phrases, fields, filters"
    with pytest.raises(ValueError, match=message):
        capabilities_of(Boastful())


@pytest.mark.parametrize("name", ["bm25", "rank_bm25"])
def test_a_bag_of_words_declares_nothing(name):
    cls = PARTS.find("retriever", name)
    assert capabilities_of(cls(Catalog(["a"], ["tent"]))) == frozenset()
