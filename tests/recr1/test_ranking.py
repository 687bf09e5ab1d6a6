from __future__ import annotations

import time

import pytest

from recr1.errors import UserError
from recr1.formats import WritesQueries, parsed
from recr1.ranking import FAULTS, NO_LIST, Ranking
from rewards.base import Candidate, Invalid, Need, Recommend

ROWS = (40, 7, 25)
NEED = Need("n", "green tea", (), tuple(Candidate(row, f"item  {row}\nnew line") for row in ROWS))
INVENTED, REPEATED, PARTIAL = FAULTS.values()


@pytest.mark.parametrize("text", ["3 > 1 > 2", "3,1,2", " [3] > [1]\n> [2] ", "(3; 1; 2)", "03 1 2"])
def test_numbers_become_the_rows_of_the_candidates(text):
    assert Ranking().parse_for(NEED, text) == Recommend((25, 40, 7))
    assert parsed(Ranking(), NEED, text) == Recommend((25, 40, 7))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NO_LIST),
        ("> > ,", NO_LIST),
        ("3 > 1 > 2.", NO_LIST),
        ("best: 3 > 1 > 2", NO_LIST),
        ("1. 3\n2. 1", NO_LIST),
        ("-1 2 3", NO_LIST),
        ("\u0663 > \u0661 > \u0662", NO_LIST),
        ("9" * 5000, NO_LIST),
        ("3 > 1 > 4", INVENTED),
        ("0 1 2 3", INVENTED),
        ("3 > 1 > 3", REPEATED),
        ("3 > 1", PARTIAL),
        ("3 > 3 > 9", INVENTED),
        (None, "completion is not text"),
    ],
)
def test_other_answers_are_invalid(text, reason):
    assert Ranking().parse_for(NEED, text) == Invalid(reason)


@pytest.mark.parametrize(
    ("text", "rows", "mended"),
    [
        ("3 > 1 > 2", (25, 40, 7), ()),
        ("3 > 1", (25, 40, 7), (PARTIAL,)),
        ("2", (7, 40, 25), (PARTIAL,)),
        ("2 > 2 > 3 > 1", (7, 25, 40), (REPEATED,)),
        ("7 > 3 > 0 > 1 > 2", (25, 40, 7), (INVENTED,)),
        ("9 3 3", (25, 40, 7), (INVENTED, REPEATED, PARTIAL)),
    ],
)
def test_a_list_is_mended_in_the_order_shown(text, rows, mended):
    assert Ranking(mend=True).parse_for(NEED, text) == Recommend(rows, mended)


@pytest.mark.parametrize(("text", "reason"), [("9 > 8", INVENTED), ("", NO_LIST), ("tea", NO_LIST)])
def test_nothing_is_mended_where_no_candidate_is_named(text, reason):
    assert Ranking(mend=True).parse_for(NEED, text) == Invalid(reason)


def test_a_tagged_list_may_have_reasoning_around_it():
    form = Ranking(tagged=True)
    assert form.parse_for(NEED, "7 cups. <answer>2 > 3 > 1</answer> 9") == Recommend((7, 25, 40))
    assert form.parse_for(NEED, "2 > 3 > 1") == Invalid("no <answer> tag")
    assert form.parse_for(NEED, "<answer>1</answer><answer>2</answer>") == Invalid("more than one <answer> tag")


def test_a_number_ends_where_it_takes_its_place():
    assert Ranking().ends(NEED, "3 > 1 > 2") == [1, 5, 9]
    assert Ranking(mend=True).ends(NEED, "[3] 3, 99 > 1") == [2, 13]
    assert Ranking(tagged=True).ends(NEED, "so <answer>3 1 2</answer>") == [12, 14, 16]
    assert Ranking().ends(NEED, "3 > 1") == []


def test_what_it_writes_it_reads_back():
    for form in (Ranking(), Ranking(tagged=True)):
        assert form.parse_for(NEED, form.write_for(NEED, (7, 40, 25))) == Recommend((7, 40, 25))
    assert Ranking().write_for(NEED, (7, 40, 25)) == "2 > 1 > 3"
    assert not isinstance(Ranking(), WritesQueries)


def test_each_candidate_is_one_line_of_the_prompt():
    text = Ranking().render(NEED)[0]["content"]
    assert "\n1. item 40 new line\n2. item 7 new line\n3. item 25 new line\n" in text and "Shopper: green tea" in text
    assert "<answer>" not in text and "<answer> and </answer>" in Ranking(tagged=True).render(NEED)[0]["content"]


def test_words_of_needs_and_items_are_no_slots():
    need = Need("n", "{candidates}", (), (Candidate(1, "{need}"), Candidate(2, "b")))
    chat = Ranking(prompt="{need}|{candidates}", system="s").render(need)
    assert chat == [{"role": "system", "content": "s"}, {"role": "user", "content": "{candidates}|1. {need}\n2. b"}]


def test_a_prompt_of_ones_own_must_have_both_slots():
    with pytest.raises(UserError, match=r"prompt: must contain \{candidates\}"):
        Ranking(prompt="{need}")
    with pytest.raises(UserError, match=r"prompt: must contain \{need\}"):
        Ranking(prompt="{candidates}")


def test_a_megabyte_is_read_in_time():
    start = time.process_time()
    for text in ("1 " * 500_000, "1" * 1_000_000, "> " * 500_000):
        Ranking(mend=True).parse_for(NEED, text)
    assert time.process_time() - start < 10
