from __future__ import annotations

import pytest

from recr1.baselines.without_model import Echo, Scripted, Verbatim
from recr1.errors import UserError
from rewards.base import Invalid, Need, Search


def chats(*texts):
    return [Verbatim().render(Need(str(place), text)) for place, text in enumerate(texts)]


def test_echo_answers_with_the_need():
    assert Echo().generate(chats("a mug", " two\nlines "), 0) == [["a mug"], [" two\nlines "]]


def test_scripted_names_the_need_that_it_cannot_answer():
    policy = Scripted(answers={"mug": "cup"})
    with pytest.raises(UserError, match="'scripted' has no answer to the need 'pan': add one, or set `default`"):
        policy.generate(chats("mug", "pan"), 0)
    assert Scripted(answers={}, default="thing").generate(chats("pan"), 0) == [["thing"]]


def test_the_verbatim_format_changes_nothing():
    form = Verbatim()
    assert form.render(Need("1", " A\tmug ")) == [{"role": "user", "content": " A\tmug "}]
    assert form.parse(" A\tmug ") == Search(" A\tmug ")
    assert form.parse(" \n") == Invalid("empty query")
