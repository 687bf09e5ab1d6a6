"""Items and needs whose texts have a fault that the doctor must find by its name."""

from __future__ import annotations

from tests.recr1.doctor.data import fault

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
