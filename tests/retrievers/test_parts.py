"""Parts inside of parts: built by name, refused with the place of the mistake, in the words of a recipe."""

from __future__ import annotations

import pytest

from retrievers import PARTS, Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.errors import OptionError

CATALOG = Catalog(["a"], ["red tent"])


class Echoes:
    """Takes its own arguments, and refuses some."""

    def __init__(self, catalog: Catalog, *, first: int = 1) -> None:
        if first < 0:
            raise ValueError(f"first: must be 0 or more, got {first}")
        if first == 13:
            b"\xff".decode()
        self.catalog, self.first = catalog, first

    def search(self, queries, k): ...


HERE = f"{__name__}:Echoes"


def test_a_built_in_name_is_built_with_its_options():
    built = PARTS.build("retriever", {"type": "bm25", "k1": 0.5}, CATALOG, path="parts.0")
    assert isinstance(built, BM25)
    assert built.search(["tent"], 1).rows_QK.tolist() == [[0]]


def test_a_class_outside_is_built_with_all_that_is_handed_over():
    built = PARTS.build("retriever", {"type": HERE, "first": 3}, CATALOG, path="parts.0")
    assert (type(built).__name__, built.catalog, built.first) == ("Echoes", CATALOG, 3)


def test_the_mapping_is_left_as_it_was():
    spec = {"type": HERE, "first": 3}
    PARTS.build("retriever", spec, CATALOG)
    assert spec == {"type": HERE, "first": 3}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"k1": 1}, r"^parts\.1\.type: missing \(built in: als, bm25, cached, "),
        ("bm25", r"^parts\.1: must be a mapping with a type, such as \{type: bm25\}, got 'bm25'"),
        ({"type": "bm52"}, r"^parts\.1\.type: no 'bm52' here; did you mean 'bm25'\?"),
        ({"type": "zzz"}, r"^parts\.1\.type: no 'zzz' here; built in: als, bm25, "),
        ({"type": "bm25", "k2": 1}, r"^parts\.1\.k2: bm25 has no option 'k2'; did you mean 'k1'\?"),
        ({"type": HERE, "first": -1}, r"^parts\.1\.first: must be 0 or more, got -1$"),
        (
            {"type": "hybrid", "parts": [{"type": "bm25"}, {"type": "dense", "encoder": {"type": "hashin"}}]},
            r"^parts\.1\.parts\.1\.encoder\.type: no 'hashin' here; did you mean 'hashing'\?",
        ),
    ],
)
def test_a_part_that_cannot_be_built_is_named_by_its_place(spec, message):
    with pytest.raises(OptionError, match=message):
        PARTS.build("retriever", spec, CATALOG, path="parts.1")


def test_an_error_that_is_no_remark_on_an_option_comes_through_as_it_is():
    with pytest.raises(UnicodeDecodeError):
        PARTS.build("retriever", {"type": HERE, "first": 13}, CATALOG)
