"""Packed columns say what the lists say that they are made of."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from retrievers.base import Catalog
from retrievers.columns import Growing, Joined, Texts
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
    assert list(column[1:-1:2]) == values[1:-1:2]
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
