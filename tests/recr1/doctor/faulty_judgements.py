"""Judgements and splits with a fault that the doctor must find by its name."""

from __future__ import annotations

from tests.recr1.doctor.data import fault

# --- judgements


def turn(data, members, by):
    """Each need has the judgements of the one `by` places later."""
    ids = [need for need, _ in members]
    keys = [data.grades[need] for need in ids]
    data.grades |= dict(zip(ids, keys[by:] + keys[:by], strict=True))


def shift_items(data, by, first=0):
    ids = [item for item, _ in data.items]
    place = {item: row for row, item in enumerate(ids)}

    def other(item):
        return ids[(place[item] + by) % len(ids)] if place[item] >= first else item

    data.grades = {need: {other(item): g for item, g in key.items()} for need, key in data.grades.items()}


@fault("judgements", "shifted needs", "error")
def judgements_are_those_of_the_next_need(data, rng):
    turn(data, data.needs, 1)


@fault("judgements", "shifted needs", "error")
def judgements_are_those_of_the_need_before(data, rng):
    turn(data, data.needs, -1)


@fault("judgements", "shifted needs", "error")
def judgements_of_one_split_are_those_of_the_next_need(data, rng):
    turn(data, data.splits["test"], 1)


@fault("judgements", "shifted needs", "error")
def judgements_were_shifted_in_the_file_before_it_was_split(data, rng):
    order = data.needs
    turn(data, order, 1)
    for number, need in enumerate(order):
        data.grades[f"q{number}"] = data.grades.pop(need[0])
        need[0] = f"q{number}"
    rng.shuffle(order)
    data.splits = {"train": order[60:], "validation": order[30:60], "test": order[:30]}
    for split in data.splits:
        data.splits[split].sort(key=lambda need: int(need[0][1:]))


@fault("judgements", "shifted items", "error")
def judgements_are_those_of_the_next_item(data, rng):
    shift_items(data, 1)


@fault("judgements", "shifted items", "error")
def judgements_are_those_of_two_items_before(data, rng):
    shift_items(data, -2)


@fault("judgements", "shifted items", "error")
def an_item_was_inserted_into_the_second_half(data, rng):
    shift_items(data, 1, first=len(data.items) * 6 // 10)


@fault("judgements", "unrelated", "error")
def judgements_are_of_ids_of_another_catalog(data, rng):
    ids = [item for item, _ in data.items]
    other = dict(zip(ids, rng.sample(ids, len(ids)), strict=True))
    data.grades = {need: {other[item]: grade for item, grade in key.items()} for need, key in data.grades.items()}


@fault("judgements", "unrelated", "error")
def judgements_are_joined_with_the_wrong_needs(data, rng):
    ids = list(data.grades)
    data.grades = dict(zip(ids, rng.sample(list(data.grades.values()), len(ids)), strict=True))


@fault("judgements", "partly unrelated", "warning")
def every_third_need_is_judged_for_another_catalog(data, rng):
    ids = [item for item, _ in data.items]
    other = dict(zip(ids, rng.sample(ids, len(ids)), strict=True))
    for need in list(data.grades)[::3]:
        data.grades[need] = {other[item]: grade for item, grade in data.grades[need].items()}


@fault("judgements", "inverted grades", "error")
def grades_are_inverted(data, rng):
    most = max(max(key.values()) for key in data.grades.values())
    least = min(min(key.values()) for key in data.grades.values())
    for key in data.grades.values():
        for item in key:
            key[item] = most + least - key[item]
        if max(key.values()) == 0:
            key[next(iter(key))] = 1


@fault("judgements", "one item", "error")
def one_item_is_wanted_by_most_needs(data, rng):
    for number, key in enumerate(data.grades.values()):
        if number % 3:
            key[data.items[0][0]] = max(key.values())


@fault("judgements", "popular items", "error")
def judgements_are_the_most_popular_items(data, rng):
    ids = [item for item, _ in data.items[:40:4]]
    for need in data.grades:
        data.grades[need] = dict.fromkeys(rng.sample(ids, 1), 1)


@fault("judgements", "one need", "warning")
def one_judge_of_one_need(data, rng):
    for need in data.grades:
        data.grades[need] = {data.best[need]: 1}
    data.grades[need] |= {item: 0 for item, _ in data.items if item not in data.grades[need]}


@fault("judgements", "grade scale", "warning")
def grades_are_percentages(data, rng):
    for key in data.grades.values():
        key.update({item: 30 * grade for item, grade in key.items()})


@fault("judgements", "one grade", "warning")
def all_grades_are_the_same(data, rng):
    for key in data.grades.values():
        key.update(dict.fromkeys(key, 3))


@fault("judgements", "other catalog", "error")
def judgements_are_of_another_version_of_the_catalog(data, rng):
    data.counts = {"judgements left out, unknown item": 90_000}


# --- splits


@fault("splits", "small split", "warning")
def hardly_any_need_of_a_split_is_judged(data, rng):
    del data.splits["test"][2:]


@fault("splits", "unjudged needs", "warning")
def most_needs_are_not_judged(data, rng):
    data.counts = {"needs left out, not judged": 3 * len(data.needs)}


@fault("splits", "thin split", "warning")
def needs_of_a_split_have_one_judgement_each(data, rng):
    for need, _ in data.splits["test"]:
        data.grades[need] = {data.best[need]: max(data.grades[need].values())}


@fault("splits", "unlike needs", "warning")
def needs_of_a_split_are_keywords(data, rng):
    data.retext(lambda text: " ".join(text.split()[-3:]), "test")


@fault("splits", "other grades", "warning")
def grades_of_a_split_are_binary(data, rng):
    for need, _ in data.splits["test"]:
        data.grades[need] = dict.fromkeys(data.grades[need], 1)


@fault("splits", "edited needs", "error")
def needs_of_training_are_in_the_test_with_a_typing_error(data, rng):
    for source, need in zip(data.splits["train"], data.splits["test"][::3], strict=False):
        text = source[1]
        at = rng.choice([place for place, letter in enumerate(text) if letter.isalpha()])
        need[1], data.grades[need[0]] = text[:at] + text[at + 1 :], data.grades[source[0]]
