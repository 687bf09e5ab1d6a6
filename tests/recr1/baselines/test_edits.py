"""Small edits of a text: each kind, their order, and the search for the best of them."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.baselines.access import prepare
from recr1.baselines.best_edit import BestEdit, Edited, EditSearch
from recr1.baselines.edits import Change, Edits
from recr1.env import Environment
from recr1.errors import UserError
from retrievers.errors import MissingAnswers
from tests.recr1.baselines.test_baselines import mean, toy
from tests.recr1.baselines.world import Lossy, World

NEEDS = ["gaming notebook", "notebook sleeve", "note book", "red keyboard", "red keyboard", "blue keyboards", "a mug"]
NEEDS += ["mugs", "boxes", "box", "batteries", "glasses"]
NEEDS += ["notebook"] * 9 + ["keyboard"] * 9 + ["the art of war"]


def of(text, needs=NEEDS):
    return {(change.kind, edited) for change, edited in Edits(needs).of(text)}


@pytest.mark.parametrize(
    ("text", "kind", "edited"),
    [
        ("red mug", "dropped a word", "red"),
        ("big red mug", "dropped two words", "mug"),
        ("red mug", "doubled a word", "red mug mug"),
        ("red red mug RED", "dropped repeated words", "red mug"),
        ("The mug of an artist", "dropped stop words", "mug artist"),
        ("note book bag", "joined two words", "notebook bag"),
        ("keyboardmug bag", "split a word", "keyboard mug bag"),
        ("wi-fi plug", "split a word", "wi fi plug"),
        ("wi-fi plug", "split a word", "wifi plug"),
        ("iphone12 case", "split a word", "iphone 12 case"),
        ("15.6inch bag", "number and unit", "15.6 inch bag"),
        ("15.6inch bag", "number and unit", "15.6 bag"),
        ('15.6" bag', "number and unit", "15.6inch bag"),
        ("red mugs", "singular or plural", "red mug"),
        ("red mug", "singular or plural", "red mugs"),
        ("big boxes", "singular or plural", "big box"),
        ("a battery", "singular or plural", "a batteries"),
        ("a glass", "singular or plural", "a glasses"),
        ("red Notebok!", "spelling", "red notebook"),  # one letter is missing
        ("ntoebook", "spelling", "notebook"),  # two letters in the wrong order
        ("kyboardd", "spelling", "keyboard"),  # a long word may differ in two
    ],
)
def test_each_kind_of_edit(text, kind, edited):
    assert (kind, edited) in of(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keyboards", "the other word is not clearly more frequent"),
        ("mag", "the word is short"),
        ("note8ook", "it is no word of letters"),
        ("notbok", "a short word may differ in one letter"),
    ],
)
def test_spelling_is_left_alone_where(text, why):
    needs = [*NEEDS, *["keyboards"] * 8, *["mug"] * 9]
    assert not [edited for kind, edited in of(text, needs) if kind == "spelling"], why


def test_a_word_is_split_where_both_halves_are_words_of_the_needs():
    assert ("split a word", "note book") in of("notebook")
    assert not [edited for kind, edited in of("notemug", ["note"]) if kind == "split a word"]


@pytest.mark.parametrize(("text", "edited"), [("red sofa", "red sofas"), ("note books", "notebooks")])
def test_a_word_that_no_need_has_is_not_made(text, edited):
    assert edited not in {query for _, query in Edits(NEEDS).of(text)}
    assert edited in {query for _, query in Edits([*NEEDS, edited.split()[-1]]).of(text)}


TOGETHER = ["the hulk avengers", "hulk avengers", "hulk avengers thor", "thor hulk", "ten a b", "mugs", "hulk marvel"]
TOGETHER += ["mug"] * 9


def added(text, count=8):
    return [edited for change, edited in Edits(TOGETHER, count).of(text) if change.kind == "added a word"]


def test_words_are_added_that_other_needs_have_beside_those_of_the_text_the_closest_first():
    assert added("green hulk") == ["green hulk avengers", "green hulk thor"]
    assert added("green hulk", 1) == ["green hulk avengers"]
    assert added("avengers hulk") == ["avengers hulk thor"]
    assert (Change("added a word", "", "thor"), "Hulk thor") in Edits(TOGETHER).of("Hulk")


@pytest.mark.parametrize(
    ("text", "why"),
    [("marvel", "one need has both"), ("the", "it is a stop word"), ("mug", "no need has two words with it"), ("", "")],
)
def test_no_word_is_added_where(text, why):
    assert not added(text), why
    assert not added("hulk", 0)


def test_a_stop_word_has_no_plural():
    assert "singular or plural" not in {change.kind for change, _ in Edits(["tos", "as"]).of("to a")}


def test_edits_have_one_order_and_no_text_twice_none_empty_or_the_same():
    text = " red  red mug "
    first, again = Edits(NEEDS).of(text), Edits(list(reversed(NEEDS))).of(text)
    edited = [text for _, text in first]
    assert first == again and len(set(edited)) == len(edited)
    assert not {"", "red red mug", text} & set(edited)
    assert Edits([]).of("") == []
    assert [text for _, text in Edits(["mugs"]).of("mug")] == ["mugs", "mug mug"]


def test_an_edit_names_the_words_that_it_changed():
    assert (Change("dropped a word", "red", ""), "mug") in Edits(NEEDS).of("Red mug")
    assert (Change("spelling", "notebok", "notebook"), "notebook") in Edits(NEEDS).of("Notebok")


# the search


class Values:
    """Gives each query the value that a table has for it, or 0; counts what it was asked."""

    def __init__(self, **values):
        self.values, self.asked = {name.replace("_", " "): value for name, value in values.items()}, []

    def __call__(self, places, queries):
        self.asked += zip(places, queries, strict=True)
        return np.array([self.values.get(query, 0.0) for query in queries], np.float32)


def best(text, values, **options):
    search = EditSearch(Edits(NEEDS), **{"rounds": 1, **options})
    (found,) = search.best([text], values)
    return found


def test_the_best_edit_comes_after_the_need_itself():
    raw, first, *_ = best("big red mug", Values(red_mug=0.5, mug=0.25))
    assert raw == Edited("big red mug", (), 0.0)
    assert (first.query, first.value) == ("red mug", 0.5)


def test_of_equal_edits_the_one_that_is_tried_first_comes_first():
    _, first, *_ = best("red mug", Values(mug=0.5, red=0.5, mug_mug=0.5))
    assert first.query == "mug"


def test_of_equal_edits_the_one_with_fewer_changes_comes_first():
    values = Values(big_red_mug_mug=0.5, red_mug_mug=0.5)
    _, first, *_ = best("big red mug", values, rounds=3)
    assert first.query == "big red mug mug"


def test_rounds_combine_edits():
    values = Values(a_b_c_d=0.1, b_c_d=0.2, b_d=0.4, b_d_d=0.8)
    assert [best("a b c d", values, rounds=rounds)[1].query for rounds in (1, 2, 3)] == ["b c d", "b d", "b d d"]


def test_a_wide_beam_finds_what_a_narrow_one_misses():
    values = Values(b_c_d=0.3, a_c_d=0.2, a_c_d_d=0.9)
    assert best("a b c d", values, rounds=2, beam=1)[1].query == "b c d"
    assert best("a b c d", values, rounds=2, beam=2)[1].query == "a c d d"


def test_no_query_is_tried_twice_and_no_more_than_allowed():
    values = Values(b_c_d=0.3)
    best("a b c d", values, rounds=3, tried=6)
    assert len(set(values.asked)) == len(values.asked) == 1 + 3 * 6


def test_edits_that_did_well_alone_are_tried_first_later():
    values = Values(b_c_d=0.3, a_b_c_d_d=0.2)
    best("a b c d", values, rounds=2)
    asked = [query for _, query in values.asked]
    assert asked[asked.index("a b c d d") + 1] == "b c d d"


@pytest.mark.parametrize("lost", ["mug", "red"])
def test_a_search_without_an_answer_is_no_value(lost):
    found = best("red mug", Values(**{"mug": 0.4, "red": 0.3, lost: np.nan}))
    assert lost not in [edited.query for edited in found] and len(found) > 1


def test_a_need_without_an_answer_has_no_best_edit():
    assert best("red mug", Values(red_mug=np.nan, mug=0.5)) == []


def test_an_edit_that_adds_less_than_it_costs_is_not_made():
    values = Values(red_mug=0.5, mug=0.7, mug_mug=0.75, red=0.55)
    for cost, query in ((0.0, "mug mug"), (0.1, "mug"), (0.3, "red mug")):
        (found,) = EditSearch(Edits(NEEDS), rounds=2, cost=cost).best(["red mug"], values)
        assert max(found, key=lambda one: one.value).query == query


def test_what_was_written_elsewhere_is_tried_first_and_edited_further():
    search = EditSearch(Edits(NEEDS), rounds=2, tried=4)
    values = Values(tea_pot=0.3, tea_pot_pot=0.2, pot=0.6)
    (found,) = search.best(["red mug"], values, written=[["tea pot", "red mug"]])
    assert values.asked[1] == (0, "tea pot")
    assert [(change.kind, change.after) for change in found[1].changes] == [
        ("written by the policy", "tea pot"),
        ("dropped a word", ""),
    ]


def test_each_need_has_edits_of_its_own():
    values = Values(red=0.5, mug=0.4)
    found = EditSearch(Edits(NEEDS), rounds=1).best(["red mug", "green tea", "red pan"], values)
    assert [edits[1].query if edits[1].value else "" for edits in found] == ["red", "", "red"]


# the policy


def test_the_policy_writes_the_best_edit_or_the_need():
    task = World()
    env, policy = Environment(task, Lossy(task.catalog, {}), [], k=3), BestEdit(measure="nDCG@1", rounds=2)
    prepare(policy, env)
    chats = [policy.format.render(need) for need in [*task.needs("train"), *task.needs("test")]]
    # n1: "red" finds the mug first as it is; n2: perfect; n3 finds nothing; t1: "red" finds the mug before the pan.
    assert policy.generate(chats, 2) == [
        [text] * 2 for text in ("something for coffee, red", "green tea", "zzz", "red thing to fry")
    ]


def test_it_is_never_below_the_floor_and_more_rounds_are_never_worse():
    class Raw(BestEdit):
        def _queries(self, prompts):
            return [self._env.need(one).text for one in prompts]

    floor, one, two = (mean(policy, toy()) for policy in (Raw(), BestEdit(rounds=1), BestEdit(rounds=2)))
    assert floor < one <= two


def test_a_search_without_an_answer_is_repeated_then_an_error():
    task = World()
    for lost, fails in ((2, False), (3, True)):
        env, policy = Environment(task, Lossy(task.catalog, {"tea": lost}), [], k=3), BestEdit(measure="nDCG@1")
        prepare(policy, env)
        chats = [policy.format.render(task.needs("train")[1])]
        if fails:
            with pytest.raises(MissingAnswers):
                policy.generate(chats, 0)
        else:
            assert policy.generate(chats, 0) == [["green tea"]]


def test_a_measure_that_looks_deeper_than_k_is_refused():
    task = World()
    with pytest.raises(UserError, match=r"policy 'best_edit': measure: .*nDCG@10"):
        prepare(BestEdit(), Environment(task, Lossy(task.catalog, {}), [], k=3))
