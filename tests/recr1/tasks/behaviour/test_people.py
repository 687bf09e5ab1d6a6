"""The generated people: their tastes are in what they do, and what is asked of them is in no event to learn from."""

from collections import Counter

import numpy as np
import pytest

from recr1.errors import UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.people import GROUPS, People
from retrievers.behaviour.base import EVENT


@pytest.fixture(scope="module")
def people():
    return People(users=150, items=600)


def pairs(events):
    return set(zip(events["user"].tolist(), events["row"].tolist(), strict=True))


def test_the_same_seed_makes_the_same_people_and_more_of_them_begin_with_these(people):
    again, more = People(users=150, items=600), People(users=160, items=600)
    assert np.array_equal(people.catalog.interactions, again.catalog.interactions)
    assert people.pasts("test") == again.pasts("test")
    assert more.pasts("test")[:150] == people.pasts("test")
    assert People(users=150, items=600, seed=1).pasts("test") != people.pasts("test")


def test_events_are_sorted_by_user_and_time_and_are_of_known_users_and_rows(people):
    events = people.catalog.interactions
    assert events.dtype == EVENT
    assert np.array_equal(events, events[np.lexsort((events["time"], events["user"]))])
    assert events["user"].max() < len(people.user_ids)
    assert 0 <= events["row"].min() <= events["row"].max() < len(people.catalog)
    assert set(events["value"].tolist()) <= {1.0, 2.0, 3.0, 4.0, 5.0}


@pytest.mark.parametrize("split", ["leave_last", "time", "users"])
def test_no_target_of_any_split_is_an_event_to_learn_from(split):
    people = People(users=150, items=600, split=split)
    events = people.catalog.interactions
    at = {(user, row, time) for user, row, _, time in events.tolist()}
    for name in SPLITS:
        assert len(people.pasts(name)) > 10
        for past in people.pasts(name):
            new = set(past.targets) - set(past.history)
            assert not {(past.user, row) for row in new} & pairs(events)
            assert not {(past.user, row, past.time) for row in past.targets} & at


def test_the_last_basket_is_the_test_and_the_ones_before_it_validation_and_training(people):
    test, validation, train = ({past.user: past for past in people.pasts(split)} for split in reversed(SPLITS))
    for user, past in test.items():
        before = validation[user]
        assert past.history == before.history + before.targets
        assert before.history == train[user].history + train[user].targets
        own = people.catalog.interactions[people.catalog.interactions["user"] == user]
        assert own["row"].tolist() == list(train[user].history)


def test_held_out_users_have_no_events_and_their_items_are_asked_for_once():
    people = People(users=300, items=600, split="users")
    learned = set(people.catalog.interactions["user"].tolist())
    assert learned == set(range(len(learned)))  # users to learn from come first
    for split in ("validation", "test"):
        assert not {past.user for past in people.pasts(split)} & learned
        for past in people.pasts(split):
            assert not set(past.targets) & set(past.history)
    assert {past.user for past in people.pasts("train")} <= learned
    assert 0.1 < len(people.pasts("train")) / 300 < 0.3


def test_with_shares_a_user_has_needs_of_one_split_and_held_out_ones_are_not_learned_from():
    shares = {"validation": 0.1, "test": 0.2}
    people, plain = (People(users=300, items=600, per_user=2, shares=one) for one in (shares, None))
    users = {split: [past.user for past in people.pasts(split)] for split in ("train", "validation", "test")}
    assert not set(users["train"]) & {*users["validation"], *users["test"]}
    assert not set(users["validation"]) & set(users["test"])
    assert set(people.catalog.interactions["user"].tolist()) == set(users["train"])
    assert 30 < len(users["test"]) < 90 and 15 < len(users["validation"]) < 45
    # The same last baskets as without shares; those of the other people are training needs.
    last = {past.id: past.targets for past in plain.pasts("test")}
    for split in ("validation", "test"):
        assert {past.id: past.targets for past in people.pasts(split)}.items() <= last.items()
    named = [past.id.split("/")[0] for past in people.pasts("train")]
    assert {past.id for past in people.pasts("train")} & set(last) and max(Counter(named).values()) == 2


def test_by_time_no_need_has_a_history_from_after_its_targets():
    people = People(users=150, items=600, split="time")
    first = min(past.time for past in people.pasts("validation"))
    assert people.catalog.interactions["time"].max() < first <= min(past.time for past in people.pasts("test"))


def test_people_buy_what_they_like(people):
    bought, liked = 0, 0
    for past in people.pasts("test"):
        tastes = people.people[int(past.id[1:6])].tastes
        for row in past.history:
            bought += 1
            liked += tastes.get("type/" + people.catalog.ids[row].split("-")[0], 0) > 0
    assert liked / bought > 0.6  # three of forty types


def test_ratings_rise_with_taste_and_use_the_whole_scale(people):
    values = Counter(value for past in people.pasts("test") for value in past.values)
    assert set(values) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert max(values.values()) / values.total() < 0.5
    by_liking = {True: [], False: []}
    for past in people.pasts("test"):
        tastes = people.people[int(past.id[1:6])].tastes
        for row, value in zip(past.history, past.values, strict=True):
            item = people.shop.items[row]
            total = sum(tastes.get(f"{family}/{own}", 0) for family, own in item.attributes.items())
            by_liking[total > 0.5].append(value)
    assert np.mean(by_liking[True]) - np.mean(by_liking[False]) > 0.8


def test_reviews_name_attributes_of_their_item(people):
    for (_, row), review in people.reviews.items():
        assert review.title
        assert set(review.features) <= set(people.catalog.fields["features"][row])
        assert all(word in review.text for word in review.features)
    past = people.pasts("test")[0]
    assert (past.user, past.targets[0]) in people.reviews


def test_groups_are_those_of_the_people(people):
    assert set(people.groups) == set(GROUPS)
    assert [people.people[int(name[1:])].group for name in people.user_ids] == people.groups


def test_options_that_do_not_fit_are_told_together():
    with pytest.raises(ValueError, match="shares: must be of validation, test and sum") as refused:
        People(shares={"train": 0.5}, cuts=(3, 2))
    assert "cuts: must be two times" in str(refused.value)
    with pytest.raises(ValueError, match="shares: must be of validation, test"):
        People(split="time", shares={"train": 0.5})


def test_a_split_that_is_not_there_is_a_users_error():
    with pytest.raises(UserError, match=r"no split 'train' in this behaviour.*it has: validation, test"):
        People(users=20, items=100, per_user=0).pasts("train")
