"""A generated set of people with planted tastes: what they buy in a generated shop, how they rate it, what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from recr1.tasks.behaviour.source import Review, SplitSource
from recr1.tasks.shop.catalog import Item, open_shop
from recr1.tasks.shop.lexicon import Lexicon, load_lexicon
from retrievers.base import Catalog
from retrievers.behaviour.base import EVENT
from retrievers.options import PositiveInt, checked

GROUPS = ("young", "old")
"""Labels of people for an audit of groups; each product type is liked more often by one of them."""
START, DAY = 1_600_000_000, 86_400
_LIKES, _FOCUS = 3, 4.0
"""Product types that a person likes, and how much more they like the one that they look at now."""
_TITLES = {
    1: ("awful {noun}", "avoid this {noun}", "never again this {noun}"),
    2: ("disappointing {noun}", "not my {noun}", "a weak {noun}"),
    3: ("decent {noun}", "an okay {noun}", "average {noun}"),
    4: ("good {noun}", "a fine {noun}", "happy with this {noun}"),
    5: ("perfect {noun}", "i love this {noun}", "the best {noun}"),
}
"""Titles of reviews by rating."""
_LIKED = ("i like that it is {word}.", "{word}, just what i wanted.", "so glad it is {word}.")
_DISLIKED = ("i do not like {word}.", "{word} is not for me.", "a pity that it is {word}.")


@dataclass(frozen=True)
class Person:
    """Who someone is: all that their purchases, ratings and reviews come from."""

    id: str
    group: str
    """One of `GROUPS`."""
    tastes: Mapping[str, float]
    """Concept of the lexicon ("type/sofa", "color/red") -> how much it is liked; below 0, disliked."""
    strict: float
    """What their ratings are lower than those of others, in stars."""


@checked
@dataclass(kw_only=True, eq=False)
class People(SplitSource):
    """People with planted tastes who buy in a generated shop: seeded, any size, nothing to download.

    A person likes a few product types and values of attributes (red, leather, small), and dislikes others. They buy
    what fits, mostly of the type that they bought last, and popular items more often; they rate 1 to 5 by taste,
    quality and chance, and say which attributes of the item they like or dislike. A larger set begins with the same
    people; another number of items is another shop with the same people.

    Items are those of the task `shop`, with its words: fields title, description, brand, category, price, and
    `features`, the words of their attributes. An item's text is title and description.
    """

    users: PositiveInt = 400
    """People."""
    items: Annotated[int, Ge(100)] = 1000
    """Items of the shop."""
    purchases: Annotated[int, Ge(4)] = 16
    """Purchases of a person, on average; the fewest are half of that."""
    seed: int = 0
    """Draws the shop's words, items, people and what they do."""

    def __post_init__(self) -> None:
        lexicon = load_lexicon()
        self.shop = open_shop(lexicon, self.items, self.seed)
        self.text_fields, self.scale = ("title", "description"), (1.0, 5.0)
        self.people = [_person(lexicon, self.seed, number) for number in range(self.users)]
        rng = np.random.default_rng([self.seed, 1])
        self.quality_N = rng.normal(size=self.items)
        """(N,) how good each item is beside taste, in standard deviations."""
        self._appeal_N = self.quality_N / 2 + 2.0 * (rng.random(self.items) < 0.05)
        concepts = list(lexicon.concepts)
        named_N = [_concepts(item) for item in self.shop.items]
        has_NC = np.array([[name in named for name in concepts] for named in named_N], np.float64)
        kinds_C = np.array([name.startswith("type/") for name in concepts])
        found: list[tuple[int, int, float, int]] = []
        reviews: dict[tuple[int, int], Review] = {}
        for number, person in enumerate(self.people):
            taste_C = np.array([person.tastes.get(name, 0.0) for name in concepts])
            found += self._taken(number, person, has_NC @ (taste_C * kinds_C), has_NC @ (taste_C * ~kinds_C), reviews)
        words = [[self._word(name) for name in named[1:]] for named in named_N]
        own = self.shop.catalog
        self.settle(
            Catalog(own.ids, own.texts, {**own.fields, "features": words}),
            np.array(found, EVENT),
            [person.id for person in self.people],
            Counter(),
            groups=[person.group for person in self.people],
            reviews=reviews,
        )

    def _taken(
        self,
        number: int,
        person: Person,
        kind_N: NDArray[Any],
        liking_N: NDArray[Any],
        reviews: dict[tuple[int, int], Review],
    ) -> list[tuple[int, int, float, int]]:
        """What one person takes, oldest first: (user, row, rating, time) of each event; adds what they say of it."""
        rng = np.random.default_rng([self.seed, 2, number])
        kinds = [rows for name, rows in self.shop.rows.items() if person.tastes.get(f"type/{name}", 0) > 0]
        kinds = kinds or list(self.shop.rows.values())  # a small shop may have nothing that they like
        utility_N, left_N = kind_N + liking_N + self._appeal_N, np.ones(self.items, np.bool_)
        time, focus, events, again = START + int(rng.integers(365)) * DAY, 0, [], list[int]()
        fewest = self.purchases // 2
        for place in range(min(fewest + int(rng.poisson(self.purchases - fewest)), self.items // 2)):
            focus = int(rng.integers(len(kinds))) if place == 0 or rng.random() < 0.2 else focus
            if place == 0 or rng.random() < 0.8:  # else the same basket
                time += DAY * int(rng.geometric(0.1))
                left_N[again] = True  # few things are bought again, and none in the same basket
                again = []
            drawn_N = utility_N + rng.gumbel(size=self.items)
            drawn_N[list(kinds[focus])] += _FOCUS
            row = int(np.where(left_N, drawn_N, -np.inf).argmax())
            felt = 1.8 + 0.7 * liking_N[row] + 0.5 * self.quality_N[row] - person.strict + rng.normal(scale=0.4)
            rating = int(np.clip(np.rint(felt), 1, 5))
            events.append((number, row, float(rating), time))
            reviews[number, row] = self._said(row, person, rating, rng)
            left_N[row] = False
            again += [row] if rng.random() < 0.05 else []
        return events

    def _said(self, row: int, person: Person, rating: int, rng: np.random.Generator) -> Review:
        """What a person says of an item: a title by rating, and the attributes that they like or dislike most."""
        kind, *named = _concepts(self.shop.items[row])
        told = sorted((name for name in named if name in person.tastes), key=lambda name: -abs(person.tastes[name]))
        told = told[:2] or named[:1]
        noun = self._word(kind)
        frames = [_LIKED if person.tastes.get(name, rating - 2.5) > 0 else _DISLIKED for name in told]
        text = [
            frame[int(rng.integers(len(frame)))].format(word=self._word(name))
            for frame, name in zip(frames, told, strict=True)
        ]
        titles = _TITLES[rating]
        title = titles[int(rng.integers(len(titles)))].format(noun=noun)
        return Review(title, " ".join(text), tuple(self._word(name) for name in told))

    def _word(self, concept: str) -> str:
        return self.shop.own_words[concept]


def _concepts(item: Item) -> list[str]:
    """The product type of an item and its attributes, as concepts of the lexicon."""
    return [f"type/{item.product}", *(f"{family}/{value}" for family, value in item.attributes.items())]


def _person(lexicon: Lexicon, seed: int, number: int) -> Person:
    rng = np.random.default_rng([seed, 3, number])
    group = int(rng.integers(len(GROUPS)))
    tastes: dict[str, float] = {}
    # Every other product type is liked three times as often by the one group, and the others by the other.
    weights = np.array([3.0 if place % len(GROUPS) == group else 1.0 for place in range(len(lexicon.types))])
    for kind in rng.choice(len(lexicon.types), _LIKES, replace=False, p=weights / weights.sum()).tolist():
        tastes[f"type/{lexicon.types[kind]}"] = float(rng.uniform(3.5, 4.5))
    for family, values in lexicon.values.items():
        liked, disliked = rng.choice(len(values), 2, replace=False).tolist()
        tastes[f"{family}/{values[liked]}"] = float(rng.uniform(1.5, 2.5))
        tastes[f"{family}/{values[disliked]}"] = -float(rng.uniform(0.5, 1.5))
    return Person(f"p{number:05d}", GROUPS[group], tastes, float(rng.normal(scale=0.4)))
