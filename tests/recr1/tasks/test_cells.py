from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from recr1.errors import DataError
from recr1.tasks.cells import MISSING, Fields, id_of, is_missing, text_of, whole_number

PATH = Path("a.csv")
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "value", [None, "", " \t", "nan", "NaN", " None ", "null", "NULL", "N/A", "NA", "<NA>", NAN, -INF]
)
def test_a_value_is_missing_by_one_definition(value):
    assert is_missing(value, MISSING)


@pytest.mark.parametrize("value", ["Null", "none", "Nan", "N/A size", "a nan", "0", 0, 0.0, False, "-"])
def test_words_that_no_tool_writes_for_a_missing_value_are_words(value):
    assert not is_missing(value, MISSING)


def test_without_words_every_text_that_is_not_blank_is_a_word():
    assert [is_missing(value, ()) for value in ("nan", "None", "", " ", None, NAN)] == [False] * 2 + [True] * 4


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("red mug", "red mug"),
        (" None", None),
        ("", ""),
        (" \u200b", " \u200b"),
        (7, 7),
        (True, True),
        (INF, None),
        (Decimal("1.50"), "1.50"),
        (["a", None, "b", 3, "", "null", NAN], "a, b, 3"),
        (["nan"], ""),
        ([], ""),
        ({}, None),
        ({"a": 1}, None),
        ([["a"]], None),
        ([("key", 1)], None),
        (b"\xff", None),
    ],
)
def test_a_cell_becomes_a_plain_value_and_a_missing_one_never_a_word(cell, value):
    assert Fields(PATH, MISSING, ()).value(1, "brand", cell) == value


def test_what_was_no_value_is_counted_with_its_first_place():
    fields = Fields(PATH, MISSING, ("title",))
    for line, cell in enumerate(
        ["Forge", ["nan", None], {"name": "Forge"}, "None", None, " ", [{"name": "Forge"}], NAN], 2
    ):
        fields.value(line, "brand", cell)
        fields.value(line, "details", {"a": line})
        fields.value(line, "metadata", {})
    assert fields.left_out() == {"details", "metadata"}
    assert fields.counts() == {
        "values read as missing, the first 'nan' of 'brand' on line 3": 3,
        "nested values left out of 'brand', the first on line 4": 2,
    }


@pytest.mark.parametrize(("cell", "said"), [({"en": "Mug"}, r"{'en': 'Mug'}"), (b"\xff", r"b'\xff'"), (False, "False")])
def test_a_value_that_is_no_text_is_refused_in_an_items_text_with_its_line(cell, said):
    fields = Fields(PATH, MISSING, ("title",))
    assert fields.value(1, "title", {}) is None
    with pytest.raises(
        DataError, match=re.escape(f"a.csv:2: field 'title' is {said}, and an item's text is made of it")
    ):
        fields.value(2, "title", cell)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("None", r"a\.csv:3: field 'q' is 'None', which means that it is missing: .* option missing: \[\]"),
        (NAN, r"a\.csv:3: field 'q' is empty: it must be text or an integer"),
        (1.5, r"a\.csv:3: field 'q' is 1\.5: it must be text or an integer"),
        (["a"], r"a\.csv:3: field 'q' is \['a'\]: it must be text or an integer"),
    ],
)
def test_a_required_value_that_is_none_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        text_of(PATH, 3, {"q": value}, "q", MISSING)
    assert text_of(PATH, 3, {"q": "None"}, "q", ()) == "None"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mug ", "begins or ends with a blank"),
        ("\u00a0mug", "begins or ends with a blank|has a character that cannot be seen"),
        ("a\tb", "has a character that cannot be seen"),
        ("a\0", "has a character that cannot be seen"),
        ("\ufeffa", "has a character that cannot be seen"),
        ("a\u200b", "has a character that cannot be seen"),
    ],
)
def test_an_id_that_looks_like_another_is_refused(name, what):
    with pytest.raises(DataError, match=rf"a\.csv:3: id .* ({what}): remove it, in all files"):
        id_of(PATH, 3, {"id": name}, "id", MISSING)
    assert id_of(PATH, 3, {"id": "red mug, caf\u00e9 \u4e2d"}, "id", MISSING) == "red mug, caf\u00e9 \u4e2d"


@pytest.mark.parametrize(
    ("value", "grade"), [(3, 3), ("3", 3), ("-1", -1), (3.0, 3), ("3.000", 3), (" 2 ", 2), (Decimal("2.0"), 2)]
)
def test_a_whole_number_is_one_however_it_is_written(value, grade):
    assert whole_number(value) == grade


@pytest.mark.parametrize(
    "value", ["0.5", 0.5, True, "True", "1e400", INF, NAN, None, "", 10**9, "9" * 30, "3.0.0", "\u0663", "0x1"]
)
def test_what_is_no_whole_number_is_no_grade(value):
    assert whole_number(value) is None
