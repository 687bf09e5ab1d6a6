"""A generated shop, the searches of a day in it, and what can happen to it over night."""

from __future__ import annotations

import os
import random
from collections import Counter

from recr1.env import Environment
from recr1.serve.table import normal
from recr1.serve.watch.look import look
from recr1.tasks.shop.task import ShopTask
from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.base import Qrels
from rewards.measures import parse_measure

SHOP = ShopTask(items=1500, train=2500, validation=200, test=1)
BRANDS = sorted(set(SHOP.catalog.fields["brand"]))
NOUNS = sorted(set(SHOP.catalog.fields["category"]))
NEEDS = [need.text for split in ("train", "validation") for need in SHOP.needs(split)]
JUDGED = {normal(need.text): need for need in SHOP.needs("validation")}


class Changed:
    """The shop with another catalog, and the judgements of the items that it still has."""

    def __init__(self, rows, rewrite=str):
        own = SHOP.catalog
        fields = {
            name: [rewrite(column[row]) if isinstance(column[row], str) else column[row] for row in rows]
            for name, column in own.fields.items()
        }
        self.catalog = Catalog([own.ids[row] for row in rows], [rewrite(own.texts[row]) for row in rows], fields)
        self.format, self.counts = SHOP.format, {}
        self.qrels = {need.id: self._left(SHOP.qrels[need.id]) for need in SHOP.needs("validation")}

    def _left(self, qrels):
        ids = SHOP.catalog.ids
        return Qrels({self.catalog.row(ids[row]): grade for row, grade in qrels.items() if ids[row] in self.catalog})

    def needs(self, split):
        return SHOP.needs(split) if split == "validation" else ()


def renamed():
    """Every brand has another name."""
    other = {brand: brand[::-1].capitalize() for brand in BRANDS}

    def rewrite(text):
        for brand, name in other.items():
            text = text.replace(brand, name)
        return text

    return Changed(range(len(SHOP.catalog)), rewrite)


def without(categories):
    """No item is, or goes well with, one of these."""
    kept = [row for row, text in enumerate(SHOP.catalog.texts) if not any(noun in text for noun in categories)]
    return Changed(kept)


class Moody(BM25):
    """An engine that somebody else sets up: the environment says how, and no recipe."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, stemmer=os.environ.get("MOODY_STEMMER"))


def engine(task=SHOP, **options):
    return Environment(task, BM25(task.catalog, **{"stemmer": "english", **options}), [], 10)


def searches(seed, size=400, needs=NEEDS, brands=0.3):
    """What people search for: a brand and a noun, or a need."""
    rng = random.Random(seed)
    made = [
        f"{rng.choice(BRANDS)} {rng.choice(NOUNS)}".lower() if rng.random() < brands else rng.choice(needs)
        for _ in range(size)
    ]
    return Counter(made)


def query_of(need):
    """The last words of a need that are not short; None where a gate would leave it as it is."""
    words = [word for word in need.replace(",", " ").replace(".", " ").split() if len(word) > 3]
    return " ".join(words[-3:]) if len(words) > 2 else None


def look_at(env, needs, write=query_of):
    """A look of today."""
    written = [write(need) for need in needs]
    queries = [query or need for need, query in zip(needs, written, strict=True)]
    outcomes = ["rewritten" if query else "gate" for query in written]
    return look(env, parse_measure("nDCG@10"), JUDGED, needs, queries, outcomes)


def look_again(env, then):
    """A look of today at the needs and queries of another day."""
    needs = dict(zip(then.needs, then.counts, strict=True))
    return look(env, parse_measure("nDCG@10"), JUDGED, needs, then.queries, then.outcomes, before=then)
