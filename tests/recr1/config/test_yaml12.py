"""YAML 1.2: what plain values mean, and that everything written is read as it was."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recr1.config import yaml12

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is not a fault
@given(values)
@example({"\x85": "\u2028 \r"})
def test_any_plain_value_is_read_as_it_was_written(value):
    document = yaml12.read(yaml12.write(value))
    assert (document.value, document.problems) == (value, [])


@pytest.mark.parametrize(
    "text", ["1e-5", "1e5", "no", "on", "010", "0o17", "1:30", "~", "null", "2024-01-01", "=", "<<"]
)
def test_a_text_that_looks_like_something_else_stays_a_text(text):
    assert yaml12.read(yaml12.write({"a": text})).value == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("True", True),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("", None),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text, value):
    found = yaml12.read(f"a: {text}").value["a"]
    assert (found, type(found)) == (value, type(value))


def test_an_integer_is_a_key_by_its_digits():
    document = yaml12.read("{3: 1.0, +2: 0.1, 0x1: 0, -1: 0}")
    assert (document.value, document.problems) == ({"3": 1.0, "2": 0.1, "1": 0, "-1": 0}, [])
    assert yaml12.read("{3: 1, '3': 2}").problems == [(1, "3: the key appears twice, first in line 1")]
