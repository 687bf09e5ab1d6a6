"""Parts inside of parts: built by name, refused with the place of the mistake."""

from __future__ import annotations

import pytest

from retrievers import BUILTIN, Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.parts import build_nested

CATALOG = Catalog(["a"], ["red tent"])


class Echoes:
    """Takes its own arguments, and refuses some."""

    def __init__(self, *args, first: int = 1) -> None:
        if first < 0:
            raise ValueError(f"option first is {first}: it must be 0 or more")
        if first == 13:
            b"\xff".decode()
        self.args, self.first = args, first


HERE = f"{__name__}:Echoes"


def test_a_built_in_name_is_built_with_its_options():
    built = build_nested({"type": "bm25", "k1": 0.5}, BUILTIN, CATALOG, path="parts.0")
    assert isinstance(built, BM25)
    assert built.search(["tent"], 1).rows_QK.tolist() == [[0]]


def test_a_class_outside_is_built_with_all_that_is_handed_over():
    built = build_nested({"type": HERE, "first": 3}, BUILTIN, CATALOG, "more", path="parts.0")
    assert (type(built).__name__, built.args, built.first) == ("Echoes", (CATALOG, "more"), 3)


def test_the_mapping_is_left_as_it_was():
    spec = {"type": HERE, "first": 3}
    build_nested(spec, BUILTIN, path="part")
    assert spec == {"type": HERE, "first": 3}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"k1": 1}, r"^parts\.1: expected a mapping with a type, such as \{type: bm25\}, got \{'k1': 1\}"),
        ("bm25", r"^parts\.1: expected a mapping with a type, .* got 'bm25'"),
        ({"type": "bm52"}, r"^parts\.1\.type: no 'bm52' here; did you mean 'bm25'\? Or name your own"),
        ({"type": "zzz"}, r"^parts\.1\.type: no 'zzz' here; built in: bm25, "),
        ({"type": "bm25", "k2": 1}, r"^parts\.1: bm25 cannot be built so: got an unexpected keyword argument 'k2'"),
        ({"type": HERE, "first": -1}, r"^parts\.1: option first is -1: it must be 0 or more"),
    ],
)
def test_a_part_that_cannot_be_built_is_named_by_its_place(spec, message):
    with pytest.raises(ValueError, match=message):
        build_nested(spec, BUILTIN, CATALOG, path="parts.1")


def test_an_error_that_is_no_remark_on_an_option_comes_through_as_it_is():
    with pytest.raises(UnicodeDecodeError):
        build_nested({"type": HERE, "first": 13}, BUILTIN, path="part")
