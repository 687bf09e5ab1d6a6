"""Data sets, each with a fault that the doctor must find by its name, made from a sound one."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field

from recr1.errors import UserError
from recr1.formats import Plain
from retrievers.base import Catalog
from rewards.base import Need, Qrels


@dataclass
class Data:
    """Items as (id, fields), needs by split as [id, text], and judgements by ids: easy to spoil, and a task."""

    items: list[tuple[str, dict]]
    splits: dict[str, list[list[str]]]
    grades: dict[str, dict[str, int]]
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, task):
        catalog = task.catalog
        fields = [{name: column[row] for name, column in catalog.fields.items()} for row in range(len(catalog))]
        splits = {split: [[n.id, n.text] for n in task.needs(split)] for split in ("train", "validation", "test")}
        grades = {
            need: {catalog.ids[row]: grade for row, grade in task.qrels[need].items()}
            for members in splits.values()
            for need, _ in members
        }
        return cls(list(zip(catalog.ids, fields, strict=True)), splits, grades)

    def spoiled(self, how):
        data = copy.deepcopy(self)
        how(data, random.Random(0))
        return data

    @property
    def needs(self):
        return [need for members in self.splits.values() for need in members]

    def retext(self, change, split=None):
        """Change the text of every need."""
        for need in self.splits[split] if split else self.needs:
            need[1] = change(need[1])

    def refield(self, change, *names):
        """Change fields of every item."""
        for number, (_, fields) in enumerate(self.items):
            for name in names:
                fields[name] = change(fields[name], number)

    @property
    def best(self):
        """Need id -> an item of its highest grade."""
        return {need: max(key, key=key.get) for need, key in self.grades.items()}


class Task:
    """The task of some data."""

    def __init__(self, data):
        columns = {name: [fields[name] for _, fields in data.items] for name in data.items[0][1]}
        shown = [name for name in ("title", "text", "description") if name in columns]
        texts = [" ".join(str(fields[name] or "") for name in shown).strip() for _, fields in data.items]
        rows = {item: row for row, (item, _) in enumerate(data.items)}
        self.catalog = Catalog(list(rows), texts, columns)
        self.qrels = {need: Qrels({rows[i]: g for i, g in key.items()}) for need, key in data.grades.items()}
        self.format, self.counts = Plain(prompt="{need}"), data.counts
        self._needs = {split: [Need(*need) for need in members] for split, members in data.splits.items()}

    def needs(self, split):
        if split not in self._needs:
            raise UserError(f"no split {split!r}")
        return self._needs[split]


FAULTS = {}
"""Name of a case -> (the check, the fault that it must name, its verdict, how data are spoiled)."""


def fault(check, name, verdict):
    def add(spoil):
        FAULTS[spoil.__name__] = (check, name, verdict, spoil)
        return spoil

    return add


# --- texts of items


@fault("item_texts", "equal titles", "error")
def all_titles_are_equal(data, rng):
    data.refield(lambda value, number: "Product", "title")


@fault("item_texts", "copies", "error")
def half_of_the_catalog_is_there_twice(data, rng):
    data.items += [(f"copy-{item}", dict(fields)) for item, fields in data.items[: len(data.items) // 2]]


@fault("item_texts", "mojibake", "error")
def every_third_item_was_decoded_as_latin_1(data, rng):
    data.refield(lambda v, n: f"{v} Café".encode().decode("latin-1") if n % 3 == 0 else v, "title")


@fault("item_texts", "mojibake", "warning")
def quotation_marks_of_some_items_were_decoded_as_windows_1252(data, rng):
    data.refield(
        lambda v, n: f"{v} the shopper’s choice".encode().decode("cp1252") if n % 50 == 0 else v, "description"
    )


@fault("item_texts", "mojibake", "warning")
def some_items_are_japanese_decoded_as_windows_1252(data, rng):
    text = "静か".encode().decode("cp1252", "replace")
    data.refield(lambda v, n: f"{v} {text}" if n % 20 == 0 else v, "title")


@fault("item_texts", "mojibake", "warning")
def some_items_lost_characters(data, rng):
    data.refield(lambda v, n: v.replace("e", "\ufffd") if n % 20 == 0 else v, "title")


@fault("item_texts", "markup", "warning")
def items_have_html_entities(data, rng):
    data.refield(lambda v, n: f"{v} &amp; more" if n % 10 == 0 else v, "description")


@fault("item_texts", "markup", "warning")
def items_have_tags(data, rng):
    data.refield(lambda v, n: f"<p>{v}<br/>", "description")


@fault("item_texts", "markup", "warning")
def descriptions_are_json(data, rng):
    data.refield(lambda v, n: str({"value": v}), "description")


@fault("item_texts", "placeholders", "error")
def titles_are_missing_values_as_words(data, rng):
    data.refield(lambda v, n: v if n % 4 else "N/A", "title")


@fault("item_texts", "boilerplate", "warning")
def every_text_begins_with_the_same_word(data, rng):
    data.refield(lambda v, n: f"Product: {v}", "title")


@fault("item_texts", "boilerplate", "warning")
def every_title_ends_with_the_shop(data, rng):
    data.refield(lambda v, n: f"{v} | MyShop.com", "title")


@fault("item_texts", "cut texts", "warning")
def descriptions_are_cut(data, rng):
    data.refield(lambda v, n: v[:60], "description")


@fault("item_texts", "cut texts", "warning")
def titles_are_cut(data, rng):
    data.refield(lambda v, n: v[:25], "title")


@fault("item_texts", "prices in titles", "warning")
def titles_hold_prices(data, rng):
    data.refield(lambda v, n: f"{v} ${n}.99", "title")


@fault("item_texts", "empty texts", "warning")
def most_titles_are_empty(data, rng):
    data.refield(lambda v, n: v if n % 3 == 0 else None, "title")


@fault("item_texts", "empty fields", "warning")
def a_field_holds_nothing(data, rng):
    data.refield(lambda v, n: None, "brand")


@fault("item_texts", "ids as titles", "warning")
def titles_are_ids(data, rng):
    for item, fields in data.items:
        fields["title"] = item


@fault("item_texts", "one category", "warning")
def all_items_are_of_one_category(data, rng):
    data.refield(lambda v, n: "Unsorted", "category")


# --- texts of needs


@fault("need_texts", "copied needs", "error")
def needs_are_titles(data, rng):
    title = {item: fields["title"] for item, fields in data.items}
    for need in data.needs:
        need[1] = title[data.best[need[0]]].upper()


@fault("need_texts", "copied needs", "warning")
def most_needs_are_sentences_of_their_item(data, rng):
    text = {item: fields["description"] for item, fields in data.items}
    for number, need in enumerate(data.needs):
        if number % 5 > 1:
            need[1] = " ".join(text[data.best[need[0]]].split()[:7])


@fault("need_texts", "needs as items", "warning")
def needs_are_items_of_the_catalog(data, rng):
    _, like = data.items[0]
    for need, text in data.needs[::4]:
        data.items.append((need, {**dict.fromkeys(like, ""), "title": text}))


@fault("need_texts", "cut texts", "warning")
def needs_are_cut(data, rng):
    data.retext(lambda text: text[:40])


@fault("need_texts", "mojibake", "warning")
def some_needs_were_decoded_wrongly(data, rng):
    for need in data.needs[::20]:
        need[1] += " für mich".encode().decode("cp1252")


@fault("need_texts", "markup", "warning")
def needs_have_html_entities(data, rng):
    data.retext(lambda text: text.replace(" and ", " &amp; "))


@fault("need_texts", "markup", "warning")
def needs_are_encoded_for_a_url(data, rng):
    data.retext(lambda text: text.replace(" ", "%20"))


@fault("need_texts", "cut texts", "error")  # of which many are equal now
def needs_are_cut_to_a_few_letters(data, rng):
    data.retext(lambda text: text[:15])


@fault("need_texts", "ids as needs", "error")
def needs_are_their_own_ids(data, rng):
    for need in data.needs:
        need[1] = need[0]


@fault("need_texts", "ids as needs", "error")
def needs_are_session_ids(data, rng):
    data.retext(lambda text: f"{rng.getrandbits(64):016x}")


@fault("need_texts", "ids as needs", "error")
def needs_are_addresses(data, rng):
    data.retext(lambda text: f"https://shop.example/search?q={'+'.join(text.split())}")


@fault("need_texts", "ids as needs", "warning")
def some_needs_are_item_ids(data, rng):
    for need in data.needs[::10]:
        need[1] = data.best[need[0]]


@fault("need_texts", "placeholders", "error")
def needs_are_missing_values_as_words(data, rng):
    for need in data.needs[::3]:
        need[1] = "null"


@fault("need_texts", "boilerplate", "warning")
def needs_begin_with_an_instruction(data, rng):
    data.retext(lambda text: f"query: {text}")


@fault("need_texts", "other language", "warning")
def needs_are_german(data, rng):
    words = "ich suche etwas für die und das mit einem der nicht zu teuer ist aber schön".split()
    data.retext(lambda text: " ".join(rng.choices([*words, *text.split()[:3]], k=10)))


@fault("need_texts", "other language", "warning")
def needs_are_russian(data, rng):
    words = "я ищу что нибудь для дома и чтобы не было дорого но хорошей вещью".split()
    data.retext(lambda text: " ".join(rng.choices(words, k=10)))


@fault("need_texts", "other language", "warning")
def needs_are_japanese(data, rng):
    data.retext(lambda text: "".join(rng.choices("静かな掃除機小さい机赤いかばん", k=8)))


@fault("need_texts", "repeated needs", "warning")
def one_need_is_logged_again_and_again(data, rng):
    for need in data.splits["train"][::3]:
        need[1] = data.splits["train"][0][1]


@fault("need_texts", "contradictions", "warning")
def needs_are_there_twice_with_other_judgements(data, rng):
    train = data.splits["train"]
    for (one, text), (other, _) in list(zip(train[:20], train[20:40], strict=True)):
        train.append([f"again-{one}", text])
        data.grades[f"again-{one}"] = data.grades[other]


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
