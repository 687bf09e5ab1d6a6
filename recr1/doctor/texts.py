"""Texts: are those of items and needs whole, clean, different from each other, and in one language?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from recr1.doctor.base import Faults, Finding, Setup, finding
from recr1.tasks.splits import group_key
from retrievers.analyzer import Analyzer
from rewards.base import Need

MOST_READ = 20_000
"""Items and needs whose texts are read, at most; the engine has no part in it, so `--sample` does not count."""
ENOUGH = 20
"""With fewer texts, what most of them share says nothing."""
TEXT_COLUMNS = ("title", "text", "description")
_LATER = "\u0080-\u00bf" + bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")  # what a later byte of UTF-8 is read as
MOJIBAKE = re.compile(
    f"[\u00c2-\u00c5\u00d0\u00d1][{_LATER}]|[\u00e0-\u00ef][{_LATER}]{{2}}|\u00f0[{_LATER}]{{3}}|\ufffd"
)
"""UTF-8 that was read as Latin-1 or Windows-1252, or a character that was lost."""
MARKUP = re.compile(
    r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});|</?(?:p|br|b|i|em|li|ul|div|span|strong|a|h\d|td|tr)\b[^<>]*>"
    r"|%(?:20|2[1-9a-f]|c3)|\\u[0-9a-f]{4}|^\s*[\[{]+\s*['\"].*[\]}]\s*$",
    re.I,
)
"""Entities and tags of HTML, the codes of a URL, escapes of JSON, and a text that is JSON."""
PLACEHOLDER = re.compile(
    r"\W*(?:null|none|nan|n/?a|undefined|unknown|tbd|todo|test|lorem ipsum.*|\[object .*)?\W*", re.I
)
PRICE = re.compile(r"[$€£¥]\s?\d|\d\s?[$€£¥]|\b(?:USD|EUR|GBP)\b")
CODE = re.compile(r"https?://\S+|www\.\S+|\d+|\S*\d{5,}\S*|[0-9a-f-]{16,}", re.I)
KIND_OF_ITEM = re.compile(r"categor|brand|type|class", re.I)
LANGUAGES = ("english_plus", "german", "french", "spanish", "italian", "dutch", "portuguese", "swedish", "russian")


def item_texts(setup: Setup) -> Finding:
    """Titles and texts of items name them: they differ, are whole and hold no leftovers of an export.

    Thresholds, as shares of the items that have the text: mojibake from 0.5%, an error from 20%; markup from 1%;
    placeholders from 1%, an error from 20%; prices in titles from 20%; titles that are ids from 20%; one title for 10%,
    an error for half; a title or text missing in half, any field in all; a category, brand or type that is one for 99%.
    Copies: from 5% of the needs, an error from 20%. See `_ends` for boilerplate and `_cut` for cut texts.
    """
    faults, catalog = Faults(), setup.catalog
    rows = setup.sampled(range(len(catalog)), "item texts", MOST_READ)
    columns = {name: catalog.column(name) for name in TEXT_COLUMNS if name in catalog.fields} or {"text": catalog.texts}
    for name, column in columns.items():
        texts = [column[row] for row in rows if column[row].strip()]
        _common(faults, f"{name}s of items", texts)
        missing = [catalog.ids[row] for row in rows if not column[row].strip()]
        faults.share("empty texts", missing, len(rows), f"items have no {name} {{}}: see the column's name", warn=0.5)
    titles = [setup.titles[row] for row in rows if setup.titles[row]]
    priced = [title for title in titles if PRICE.search(title)]
    what = "titles hold a price {}: remove it, since it changes and is not what an item is called"
    faults.share("prices in titles", priced, len(titles), what, warn=0.2)
    named = [catalog.ids[row] for row in rows if setup.titles[row] == catalog.ids[row]]
    faults.share("ids as titles", named, len(titles), "titles are the item's id {}: no words find it", warn=0.2)
    _one_for_all(
        faults, "equal titles", titles, "items have the same title {}: see which column is the title", 0.1, 0.5
    )
    for name in catalog.fields:
        column = catalog.column(name)
        values = [value for row in rows if (value := column[row].strip())]
        if KIND_OF_ITEM.search(name):
            what = f"items have one {name} {{}}: measures and filters of {name} say nothing"
            _one_for_all(faults, "one category", values, what, 0.99, 2)
        if not values and len(rows) >= ENOUGH:
            what = f"no item has a {name}: see what the column is called, or leave it out"
            faults.add("empty fields", "warning", what)
    _copies(faults, setup)
    ok = f"the texts of {len(rows)} items are whole and clean; no item has a copy with another grade"
    return finding("item_texts", faults.problems, ok, faults.numbers)


def need_texts(setup: Setup) -> Finding:
    """Needs are written by people: whole and clean, not copied from items, and in the items' language.

    Thresholds, as shares of the needs: ids or addresses from 5%, an error from half; copied needs from half, an error
    from 80%; one text for 20% of the needs of a split; needs of one text with different best items from 2%, an error
    from 20%; needs that are items, as in some sets of BEIR, from 10%. The rest is as in `item_texts`; see `_language`
    for languages.
    """
    faults, needs = Faults(), setup.sampled(setup.needs, "need texts", MOST_READ)
    texts = [need.text for need in needs if not need.history]
    _common(faults, "needs", texts)
    stripped = ((need.id, need.text.strip()) for need in needs if not need.history)
    codes = [text for own, text in stripped if text == own or text in setup.catalog or CODE.fullmatch(text)]
    what = "needs are ids, numbers or addresses {}: see which column is the need's text"
    faults.share("ids as needs", codes, len(texts), what, warn=0.05, fail=0.5)
    what = "needs are copied from a relevant item {}: then the raw need is the best query, and nothing is learned"
    faults.share("copied needs", _copied(setup), len(setup.judged_needs), what, warn=0.5, fail=0.8)
    of_text = {group_key(text): row for row, text in enumerate(setup.catalog.texts) if text.strip()}
    qrels = setup.env.task.qrels
    own = [need for need in needs if of_text.get(group_key(need.text), -1) not in (-1, *qrels.get(need.id, ()))]
    what = "needs are items themselves, which nobody judged for them {}: a search finds the need first; leave them out"
    faults.share("needs as items", [need.text for need in own], len(needs), what, warn=0.1, fail=2)
    for split, members in setup.splits.items():
        what = f"needs of {split} have one text {{}}: keep each need once"
        _one_for_all(faults, "repeated needs", [group_key(need.text) for need in members], what, 0.2, 2)
    answers: dict[str, list[Need]] = {}
    for need in setup.needs:
        answers.setdefault(group_key(need.text), []).append(need)
    torn = [text for text, same in answers.items() if len({frozenset(setup.best_rows(n)) for n in same}) > 1]
    what = "needs appear twice with different best items {}: merge their judgements, or keep one"
    faults.share("contradictions", torn, len(answers), what, warn=0.02, fail=0.2)
    items = setup.sampled(setup.catalog.texts, "language", 2000)
    spoken = _language(texts, 0.1), _language(items, 0.03)
    written = _script(texts), _script(items)
    for one, other in (written, spoken):
        if one and other and one != other:
            what = f"needs are {one} and items {other}: translate one, or use a retriever that knows both"
            faults.add("other language", "warning", what)
            break
    ok = f"{len(texts)} needs are whole and clean, and not copied from items"
    return finding("need_texts", faults.problems, ok, faults.numbers)


def _common(faults: Faults, whose: str, texts: Sequence[str]) -> None:
    """What can be wrong with any texts."""
    for name, pattern, what, warn, fail in (
        ("mojibake", MOJIBAKE, "were decoded wrongly {}: export them as UTF-8 again", 0.005, 0.2),
        ("markup", MARKUP, "hold HTML, JSON or URL codes {}, which are indexed as words: decode them", 0.01, 2.0),
    ):
        found = [text[max(0, m.start() - 12) : m.end() + 12] for text in texts if (m := pattern.search(text))]
        faults.share(name, found, len(texts), f"{whose} {what}", warn=warn, fail=fail)
    blanks = [text for text in texts if PLACEHOLDER.fullmatch(text[:60])]
    faults.share("placeholders", blanks, len(texts), f"{whose} say nothing {{}}: leave them out", warn=0.01, fail=0.2)
    _ends(faults, whose, texts)
    _cut(faults, whose, texts)


def _one_for_all(faults: Faults, name: str, texts: Sequence[str], what: str, warn: float, fail: float) -> None:
    """A fault if the most common text is that of the share `warn` of all texts; with few texts, none."""
    if len(texts) >= ENOUGH:
        ((text, count),) = Counter(texts).most_common(1)
        faults.share(name, [text] * count, len(texts), what, warn=warn, fail=fail)


def _ends(faults: Faults, whose: str, texts: Sequence[str]) -> None:
    """Boilerplate: a word with which 80% of the texts of three words or more begin, or end."""
    words = [split for text in texts if len(split := text.split()) >= 3]
    for place, does in ((0, "begin"), (-1, "end")):
        what = f"{whose} {does} with the same word {{}}: remove it, since all texts share it"
        _one_for_all(faults, "boilerplate", [split[place] for split in words], what, 0.8, 2)


def _cut(faults: Faults, whose: str, texts: Sequence[str]) -> None:
    """Cut texts: 5% and ten of those of two words or more have the greatest length, or one less.

    These must be five times as many as there are texts of each of the ten lengths below, on average: the lengths of
    whole texts become rare toward the greatest. And 30% of them, a tenth more than of 20 others, end with a word that
    appears at ends alone. Texts shorter than 12 characters are not blamed.
    """
    long = [text for text in texts if len(text.split()) >= 2]
    lengths = np.bincount([len(text) for text in long] or [0])
    most, many = len(lengths) - 1, int(lengths[-2:].sum())
    if most < 12 or many < max(10, 0.05 * len(long), 5 * lengths[most - 11 : most - 1].mean()):
        return
    words = [Analyzer().words(text) or [""] for text in long]
    inner = {word for some in words for word in some[:-1]}
    ends: tuple[list[str], list[str]] = [], []
    for text, some in zip(long, words, strict=True):
        if some[-1] not in inner:
            ends[len(text) >= most - 1].append(text[-20:])
    whole = len(long) - many
    if len(ends[1]) >= many * max(0.3, 0.1 + len(ends[0]) / whole if whole >= ENOUGH else 0):
        what = f"{whose} end at {most} characters, within a word {{}}: they were cut; export them whole"
        faults.share("cut texts", ends[1], len(long), what, warn=0)


def _copies(faults: Faults, setup: Setup) -> None:
    """Items with the text of a need's best item that are not judged as it is: what finds them is not rewarded."""
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(setup.catalog.texts):
        rows.setdefault(text, []).append(row)
    copies = {row: same for text, same in rows.items() if len(same) > 1 and text.strip() for row in same}
    faults.numbers["items_with_copies"] = len(copies)
    torn = []
    for need in setup.judged_needs:
        key = setup.env.task.qrels[need.id]
        if any(key.get(copy) != key[row] for row in setup.best_rows(need) for copy in copies.get(row, ())):
            torn.append(need.text)
    what = "needs want an item that has a copy with another id and another grade {}: merge the copies"
    faults.share("copies", torn, len(setup.judged_needs), what, warn=0.05, fail=0.2)


def _copied(setup: Setup) -> list[str]:
    """Needs that are the words of a best item's title, or five words or more in the order of its text."""
    found = []
    for need in setup.judged_needs:
        key, best = group_key(need.text), setup.best_rows(need)
        titled = any(sorted(group_key(setup.titles[row]).split()) == sorted(key.split()) for row in best)
        if titled or (len(key.split()) >= 5 and any(key in group_key(setup.catalog.texts[row]) for row in best)):
            found.append(need.text)
    return found


def _language(texts: Sequence[str], least: float) -> str | None:
    """The language whose frequent words are the share `least` of all words, and twice as many as those of any other.

    A tenth for needs, and 3% for items, whose titles are rather lists. With fewer than 100 words, none.
    """
    words = [word for text in texts for word in Analyzer().words(text)]
    shares = {name: sum(map(Analyzer(stopwords=name).stopwords.__contains__, words)) for name in LANGUAGES}
    first, second = sorted(shares, key=lambda name: -shares[name])[:2]
    known = len(words) >= 100 and shares[first] >= max(least * len(words), 2 * shares[second])
    return first.removesuffix("_plus").capitalize() if known else None


def _script(texts: Sequence[str]) -> str | None:
    """The script of 80% of the letters, as Unicode names it ("Latin", "Cjk" with kana), if there are 100 or more."""
    letters = [letter for text in texts for letter in text[:200] if letter.isalpha()][:20_000]
    scripts = Counter(
        re.sub("HIRAGANA|KATAKANA", "CJK", unicodedata.name(letter, "?")).split()[0] for letter in letters
    )
    ((script, count),) = scripts.most_common(1) or [("", 0)]
    return script.title() if count >= max(100, 0.8 * len(letters)) else None
