"""The fingerprint of a retriever changes with what changes a ranking, and with nothing else."""

from __future__ import annotations

import importlib
import sys

import pytest

from retrievers import Catalog
from retrievers.abilities import retriever_fingerprint

CATALOG = Catalog(["a", "b"], ["x", "y"])


def test_it_changes_with_what_changes_a_ranking(monkeypatch):
    prints = {
        retriever_fingerprint({"type": "bm25", "k1": 0.9}, CATALOG),
        retriever_fingerprint({"type": "bm25", "k1": 1.2}, CATALOG),
        retriever_fingerprint({"type": "rank_bm25", "k1": 0.9}, CATALOG),
        retriever_fingerprint({"type": "bm25", "k1": 0.9}, Catalog(["a", "b"], ["x", "z"])),
    }
    monkeypatch.setattr("retrievers.abilities.version", lambda name: "0")
    prints.add(retriever_fingerprint({"type": "bm25", "k1": 0.9}, CATALOG))
    assert len(prints) == 5


def test_it_does_not_depend_on_the_order_of_options():
    one = retriever_fingerprint({"type": "bm25", "k1": 0.9, "b": 0.4}, CATALOG)
    assert one == retriever_fingerprint({"b": 0.4, "k1": 0.9, "type": "bm25"}, CATALOG)
    assert len(one) == 16 and int(one, 16) >= 0


@pytest.mark.parametrize(
    "spec",
    [{"type": "my_engine:Engine"}, {"type": "hybrid", "parts": [{"type": "bm25"}, {"type": "my_engine:Engine"}]}],
)
def test_it_changes_with_the_file_of_a_class_of_ones_own(tmp_path, monkeypatch, spec):
    file = tmp_path / "my_engine.py"
    file.write_text("class Engine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_engine", raising=False)
    importlib.import_module("my_engine")
    before = retriever_fingerprint(spec, CATALOG)
    assert before == retriever_fingerprint(spec, CATALOG)
    file.write_text("class Engine: ranks = 'otherwise'\n")
    assert before != retriever_fingerprint(spec, CATALOG)


def test_a_retriever_that_knows_its_fingerprint_is_asked():
    class Knows:
        fingerprint = "0123456789abcdef"

        def search(self, queries, k):
            raise AssertionError("nothing is searched")

    assert retriever_fingerprint({"type": "x"}, CATALOG, Knows()) == "0123456789abcdef"
