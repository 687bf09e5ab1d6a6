"""A generated shop: its own words, its items, and how well each item meets a list of wishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from recr1.tasks.shop.lexicon import Lexicon, dialect_words
from retrievers.base import Catalog


@dataclass(frozen=True)
class Item:
    """What an item is, before it is put into words."""

    product: str
    attributes: Mapping[str, str]
    """Attribute family -> value, one for each family of the product type."""


@dataclass(frozen=True)
class Shop:
    """A catalog together with what it was made from."""

    catalog: Catalog
    items: Sequence[Item]
    own_words: Mapping[str, str]
    """Concept -> the one word for it that this shop prints."""

    @cached_property
    def rows(self) -> Mapping[str, Sequence[int]]:
        """Product type -> the catalog rows of its items."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            rows.setdefault(item.product, []).append(row)
        return rows


def draw_wording(lexicon: Lexicon, seed: int) -> Mapping[str, str]:
    """Which word this shop prints for each concept: one of the concept's words, drawn by the seed."""
    rng = Random(f"recr1 shop wording {seed}")
    return {name: rng.choice(concept.words) for name, concept in lexicon.concepts.items()}


def grade(item: Item, product: str, wishes: Sequence[str]) -> int:
    """How well an item meets what was asked for: 3 everything, 2 most, 1 some, 0 too little or another product.

    The product type counts as a wish that must be met: with S the share of met wishes, S = 1 is 3, S >= 2/3 is 2, S
    >= 1/2 is 1.
    """
    if item.product != product:
        return 0
    met = 1 + sum(f"{family}/{value}" in wishes for family, value in item.attributes.items())
    asked = 1 + len(wishes)
    return sum((met == asked, 3 * met >= 2 * asked, 2 * met >= asked))


def open_shop(lexicon: Lexicon, size: int, seed: int, *, dialect: str | None = None, canary: str = "") -> Shop:
    """A shop of `size` items; a larger shop begins with the same items, in any wording.

    Its words are those of a dialect, or drawn by the seed. A `canary` is added at the end of each item's text.
    """
    own_words = dialect_words(dialect) if dialect else draw_wording(lexicon, seed)
    items, columns = list[Item](), dict[str, list[Any]]()
    for row in range(size):
        rng = Random(f"recr1 shop item {seed} {row}")
        product = rng.choice(lexicon.types)
        item = Item(product, {family: rng.choice(lexicon.values[family]) for family in lexicon.families[product]})
        items.append(item)
        for name, value in _fields(item, lexicon, own_words, rng).items():
            columns.setdefault(name, []).append(value)
    described = zip(columns["title"], columns["description"], strict=True)
    texts = [f"{title}. {description}{f' {canary}' if canary else ''}" for title, description in described]
    ids = [f"{item.product}-{row:06d}" for row, item in enumerate(items)]
    return Shop(Catalog(ids, texts, columns), tuple(items), own_words)


def _fields(item: Item, lexicon: Lexicon, own_words: Mapping[str, str], rng: Random) -> dict[str, str | float]:
    """An item in words: the fields of the catalog."""
    noun = own_words[f"type/{item.product}"]
    words = [own_words[f"{family}/{value}"] for family, value in item.attributes.items()]
    rng.shuffle(words)
    brand, series = rng.choice(lexicon.brands), rng.choice(lexicon.series)
    in_title = words if rng.random() < 0.6 else words[:-1]
    titles = (
        f"{brand} {series} {' '.join(in_title)} {noun}",
        f"{brand} {noun} {series}, {', '.join(in_title)}",
        f"{' '.join(in_title)} {noun} {brand} {series} {rng.randrange(100, 999)}",
    )
    title = rng.choice(titles)
    openings = (
        f"The {series} {noun} is {words[0]}, {words[1]} and {words[2]}.",
        f"A {words[-1]} {noun} from {brand}.",
        f"{brand} makes this {noun} {words[-1]} and {words[0]}.",
        f"Our {noun}, now {words[-1]}.",
    )
    sentences = [rng.choice(openings), *rng.sample(list(lexicon.care), rng.randrange(1, 4))]
    if rng.random() < 0.12:
        other = own_words[f"type/{rng.choice(lexicon.types)}"]
        sentences.append(f"Goes well with our {series} {other}.")
    price = round(rng.lognormvariate(3.8, 0.7), 2)
    return {"title": title, "description": " ".join(sentences), "brand": brand, "category": noun, "price": price}
