"""Packed columns say what the lists say that they are made of."""

from __future__ import annotations

import pickle
import random
import re
from pathlib import Path

import pytest

from retrievers.base import Catalog
from retrievers.columns import BLOCK, Growing, Joined, Texts, count_missing
from retrievers.store import Entry, save_array

VALUES = ["red", None, "", "\u00e9t\u00e9 \U0001f31f", "a\0b", "\ud800", "\u00ff", None, "x" * 5000, "last"]


def grown(values, step):
    column = Growing()
    for first in range(0, len(values), step):
        column.extend(values[first : first + step])
    return column.values()


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("values", [VALUES, [*VALUES, 3], [1.5, *VALUES], [None], ["", ""]])
def test_a_column_gives_back_what_it_was_made_of(step, values):
    column = grown(values, step)
    assert len(column) == len(values)
    assert list(column) == values
    assert [column[row] for row in range(-len(values), len(values))] == values * 2
    for part in (slice(1, -1, 2), slice(1, 4), slice(4, 1), slice(-2, None), slice(None, None, -1)):
        assert list(column[part]) == values[part]
    with pytest.raises(IndexError):
        column[len(values)]
    assert list(pickle.loads(pickle.dumps(column))) == values


def test_a_packed_column_takes_a_byte_a_letter_and_eight_a_value():
    column = grown(["red shoe"] * 1000, 10)
    assert (column.letters.nbytes, column.ends.nbytes) == (8000, 8008)


def test_columns_are_decoded_block_by_block():
    values = [f"item {row}" if row % 7 else None for row in range(10_000)]
    assert list(grown(values, 999)) == values


def test_reading_a_mapped_column_keeps_none_of_its_pages(tmp_path):
    if not Path("/proc/self/smaps").exists():
        pytest.skip("Linux says which pages are held")
    column = grown(["x" * 1000] * 40_000, 999)
    save_array(tmp_path, "letters", column.letters)
    mapped = Texts(Entry(tmp_path).array("letters"), column.ends)
    assert list(mapped) == list(column)
    (held,) = re.findall(r"letters\.npy\n.*?\nRss: +(\d+) kB", Path("/proc/self/smaps").read_text(), re.DOTALL)
    assert int(held) < 10_000  # of 40 MB


def test_joined_texts_leave_out_what_is_missing():
    joined = Joined([["a", None, ""], [1, 2, None]], lambda value: value is None or value == "")
    assert list(joined) == ["a 1", "2", ""]
    assert (len(joined), joined[1], joined[-1], joined[:2]) == (3, "2", "", ["a 1", "2"])


def is_blank(value):
    return value is None or not str(value).strip("- ")


@pytest.mark.parametrize("numbers", [[], [1, None, 2.5, "3"]])
def test_packed_columns_are_joined_as_lists_are(numbers):
    rng = random.Random(0)
    some = [*VALUES, " ", "--", "-5", " red", "\u00a0", "1"]
    lists = [[rng.choice([*some, *more]) for _ in range(2 * BLOCK + 3)] for more in ([], numbers, [])]
    packed = [grown(values, 100) for values in lists]
    assert [isinstance(column, Texts) for column in packed] == [True, not numbers, True]
    said = [" ".join(str(value) for value in row if not is_blank(value)) for row in zip(*lists, strict=True)]
    for columns in (lists, packed):
        joined = Joined(columns, is_blank)
        assert list(joined) == said
        assert joined[5 : BLOCK + 9] == said[5 : BLOCK + 9]
        assert [joined[row] for row in range(BLOCK)] == said[:BLOCK]
        assert [count_missing(column, is_blank) for column in columns] == [sum(map(is_blank, one)) for one in lists]
    ids = [str(row) for row in range(len(said))]
    plain = Catalog(ids, said, {"first": lists[0], "second": lists[1]})
    assert (
        Catalog(ids, Joined(packed, is_blank), {"first": packed[0], "second": packed[1]}).fingerprint
        == plain.fingerprint
    )


def test_a_catalog_keeps_packed_columns_and_has_the_same_fingerprint():
    values = [value for value in VALUES if value is not None]
    ids = [str(row) for row in range(len(values))]
    plain = Catalog(ids, values, {"title": VALUES[: len(ids)]})
    packed = Catalog(ids, grown(values, 2), {"title": grown(VALUES[: len(ids)], 3)})
    assert isinstance(plain.texts, tuple)
    assert not isinstance(packed.texts, tuple)
    assert packed.fingerprint == plain.fingerprint
    assert pickle.loads(pickle.dumps(packed)).fingerprint == plain.fingerprint
    assert [packed.title(row) for row in range(len(ids))] == [plain.title(row) for row in range(len(ids))]
