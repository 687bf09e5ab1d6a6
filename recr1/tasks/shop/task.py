"""The `shop` task: needs graded by construction, in splits that share neither phrasings nor wishes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge

from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.shop.catalog import Shop, grade, open_shop
from recr1.tasks.shop.language import Manner, write_need
from recr1.tasks.shop.lexicon import Lexicon, load_lexicon
from retrievers.options import NonNegativeInt, Share, checked
from rewards.base import Need, Qrels

_SHARES = (("train", 0.70), ("validation", 0.85), ("test", 1.0))
"""Upper ends of the splits on the unit interval that combinations of wishes are hashed to."""


class Want(NamedTuple):
    """What a shopper has in mind, and how they put it."""

    product: str
    wishes: tuple[str, ...]
    text: str


@checked
class ShopTask:
    """Needs of shoppers in a generated shop that has its own word for everything.

    The shop uses one word for each concept, drawn by `seed`; shoppers mostly use another word, or describe what the
    thing is for. Qrels follow from how items were made (see `grade`). A combination of product and wishes belongs to
    one split by hash; sentence frames and indirect phrasings of validation and test needs never appear in training.

    Args:
        items: size of the catalog.
        train: number of training needs; `validation` and `test` likewise.
        validation: number of validation needs.
        test: number of test needs.
        seed: draws the shop's wording, items and needs.
        shared: share of named wishes for which the shopper uses the shop's own word; it sets the floor.
        indirect: share of wishes that are described instead of named.
        typos: share of needs with a mistyped word.
        dialect: the shop has invented words for everything, those of this dialect, instead of words that people use.
            Items are the same in both dialects, and so are needs if `shared` is 0.
        canary: a text at the end of every item's text. A prompt that holds it ends the run.
        format: the answer format, a part of kind "format"; default: the completion is the query.
    """

    def __init__(
        self,
        *,
        items: Annotated[int, Ge(100)] = 5000,
        train: NonNegativeInt = 4000,
        validation: NonNegativeInt = 200,
        test: NonNegativeInt = 400,
        seed: int = 0,
        shared: Share = 0.45,
        indirect: Share = 0.3,
        typos: Share = 0.15,
        dialect: Literal["a", "b"] | None = None,
        canary: str = "",
        format: dict[str, Any] | None = None,
    ) -> None:
        lexicon = load_lexicon()
        shop = open_shop(lexicon, items, seed, dialect=dialect, canary=canary)
        self.catalog = shop.catalog
        self.canary = canary
        self.format = build("format", format or {"type": "plain", "prompt": "{need}"}, path="task.format")
        self.counts: Mapping[str, int] = {}
        self.qrels: dict[str, Qrels] = {}
        self._needs: dict[str, Sequence[Need]] = {}
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            group = "seen" if split == "train" else "held"
            frames, chitchat = lexicon.frames[group], lexicon.chitchat[group]
            manner = Manner(frames, chitchat, group, indirect, shared, typos, shop.own_words)
            self._add(split, wanted(lexicon, shop, split, manner, seed), count, shop)

    def _add(self, split: str, wants: Iterator[Want], count: int, shop: Shop) -> None:
        """Take needs of different texts until there are `count`."""
        by_text: dict[str, Want] = {}
        for want in islice(wants, 50 * count):
            by_text.setdefault(want.text, want)
            if len(by_text) == count:
                break
        if len(by_text) < count:
            what = f"must be at most {len(by_text)}, the different needs that this shop has, got {count}"
            raise UserError(f"{split}: {what}")
        self._needs[split] = tuple(Need(f"{split}-{number:05d}", text) for number, text in enumerate(by_text))
        for need, want in zip(self._needs[split], by_text.values(), strict=True):
            grades = {row: grade(shop.items[row], want.product, want.wishes) for row in shop.rows[want.product]}
            self.qrels[need.id] = Qrels({row: value for row, value in grades.items() if value})

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of "train", "validation" or "test"."""
        if split not in self._needs:
            raise UserError(f"the task 'shop' has no split {split!r}; it has: {', '.join(self._needs)}")
        return self._needs[split]


def wanted(lexicon: Lexicon, shop: Shop, split: str, manner: Manner, seed: int) -> Iterator[Want]:
    """Endless needs of a split, each with at least one item that meets every wish."""
    rng = Random(f"recr1 shop needs {seed} {split}")
    while True:
        item = rng.choice(shop.items)
        number = rng.choices((1, 2, 3), (0.15, 0.5, 0.35))[0]
        wishes = tuple(sorted(f"{f}/{v}" for f, v in rng.sample(sorted(item.attributes.items()), number)))
        if split_of(item.product, wishes) == split:
            yield Want(item.product, wishes, write_need(lexicon, item.product, wishes, manner, rng))


def split_of(product: str, wishes: Sequence[str]) -> str:
    """The one split that a combination of product and wishes belongs to."""
    at = zlib.crc32(" ".join((product, *wishes)).encode()) / 2**32
    return next(split for split, end in _SHARES if at < end)
