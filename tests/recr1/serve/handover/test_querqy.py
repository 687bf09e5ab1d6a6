from __future__ import annotations

import pytest

from recr1.serve.handover.querqy import is_plain, replaced, rule, rules


def test_a_rule_worked_by_hand():
    assert rule("warm  shoe for Winter", "boot winter wool wool") == (
        '"warm shoe for Winter" =>\n  SYNONYM(0.25): boot\n  SYNONYM(0.5): wool\n  DELETE: warm shoe for\n'
    )
    assert replaced("warm  shoe for Winter", "boot winter wool wool") == "Winter boot wool wool"


def test_a_rule_that_only_takes_away_or_only_adds():
    assert rule("a red cup", "red cup") == '"a red cup" =>\n  DELETE: a\n'
    assert rule("cup", "mug cup") == '"cup" =>\n  SYNONYM(1): mug\n'


def test_words_are_those_between_spaces_as_in_querqy():
    assert rule("cups, red", "cups red") == '"cups, red" =>\n  SYNONYM(0.5): cups\n  DELETE: cups,\n'


@pytest.mark.parametrize("text", ["t-shirt", "c++", "1/2 inch", "M&M's", "50% off", "and or not", "größe 42"])
def test_words_that_querqy_reads_as_words(text):
    assert is_plain(text)


SIGNS = ['15" screen', "sofa*", "#1 dad", "back\\slash", "red -blue", "+fast", "a:b", "{a,b}", "x AND y", "NOT x", "$1"]


@pytest.mark.parametrize("text", [*SIGNS, "a =>", "(a)", "@home", "<<a>>", "a\nb", "", "  "])
def test_signs_that_querqy_reads_are_refused(text):
    assert not is_plain(text)
    found, left_out = rules([(text, "query"), ("need", "plain"), ("other", text)])
    assert (list(found), left_out) == (["need"], 2)


def test_a_query_with_the_same_words_has_no_rule_and_is_not_left_out():
    assert rules([("red cup", "Cup red")]) == ({}, 0)


def test_every_rule_has_both_boundaries_and_none_replaces():
    found, _ = rules([("a b", "c"), ("d", "e f"), ("g h", "g")])
    for need, text in found.items():
        assert text.startswith(f'"{need}" =>\n')
        assert {line.split("(")[0].split(":")[0].strip() for line in text.splitlines()[1:]} <= {"SYNONYM", "DELETE"}
