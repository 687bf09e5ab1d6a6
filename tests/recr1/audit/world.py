"""A shop with users, tastes and popular items, and policies whose biases are known."""

from __future__ import annotations

from collections import Counter

import numpy as np

from recr1.baselines.without_model import Verbatim
from recr1.env import Environment
from recr1.ranking import Ranking
from recr1.tasks.shop.task import ShopTask
from recr1.tasks.splits import unit_hash
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.base import Candidate, Need, Qrels, Recommend

ITEMS, USERS, SHOWN, KINDS = 400, 200, 12, 8


class World:
    """Needs with a history of ten items and twelve candidates, of which one is relevant: a user's next item.

    The other candidates are any items, or as popular as the relevant one (`popular`), so that popularity says nothing.
    """

    format = Ranking()

    def __init__(self, seed=0, users=USERS, popular=False):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, KINDS, ITEMS)
        weight = rng.pareto(1.2, ITEMS) + 0.05
        titles = [f"{'abcdefgh'[kind[row]]}kind item{row} word{rng.integers(90)}" for row in range(ITEMS)]
        events, self._needs, self.qrels, self.counts = [], [], {}, {}
        for user in range(users):
            taste = rng.dirichlet(np.full(KINDS, 0.3))
            chance = weight * taste[kind]
            own = rng.choice(ITEMS, 11, replace=False, p=chance / chance.sum()).tolist()
            events += [(user, row) for row in own[:10]]
            left = np.setdiff1d(np.arange(ITEMS), own)
            share = weight[left] / weight[left].sum() if popular else None
            others = rng.choice(left, SHOWN - 1, replace=False, p=share).tolist()
            shown = rng.permutation([own[10], *others]).tolist()
            text = "; ".join(titles[row] for row in own[-4:-1])
            candidates = tuple(Candidate(row, titles[row]) for row in shown)
            self._needs.append(Need(f"u{user}", text, tuple(own[:10]), candidates))
            self.qrels[f"u{user}"] = Qrels({own[10]: 1})
        fields = {"title": titles, "category": [f"kind {one}" for one in kind]}
        self.catalog = Catalog([f"i{row}" for row in range(ITEMS)], titles, fields, interactions=events)

    def needs(self, split):
        return self._needs if split == "test" else []


def environment(task=None, k=10):
    task = task or World()
    return Environment(task, BM25(task.catalog), (), k)


class PopularShop(ShopTask):
    """The shop, in which items are popular by the words of their titles: some words are of best sellers.

    A policy can learn to add such words to every query, which finds popular items whatever the need.
    """

    def __init__(self, *, items: int = 3000, train: int = 4000, seed: int = 0) -> None:
        super().__init__(items=items, train=train, seed=seed)
        words = [title.lower().replace(",", "").split() for title in self.catalog.column("title")]
        counts = Counter(word for of in words for word in set(of))
        # The words of attributes, which many items have; the most popular ones by chance.
        best = {word for word, count in counts.items() if count > items / 40 and unit_hash(7, word) < 0.12}
        noise = np.random.default_rng(7).random(items)
        value = [float(len(best & {*of}) + one) for of, one in zip(words, noise, strict=True)]
        fields = {**self.catalog.fields, "popularity": value}
        self.catalog = Catalog(self.catalog.ids, self.catalog.texts, fields)


class Lists:
    """A policy whose list is a function of the need as it is shown: the rows, best first."""

    def __init__(self, choose, likely=None):
        self.choose = choose
        if likely is not None:
            self.likelihoods = likely

    @property
    def format(self):
        return self

    def render(self, need):
        return Verbatim().render(need)

    def parse(self, completion):
        return Verbatim().parse(completion)

    def parse_for(self, need, completion):
        return Recommend(tuple(dict.fromkeys(int(row) for row in self.choose(need))))

    def generate(self, chats, n):
        return [["a list"] * max(n, 1) for _ in chats]


class Queries:
    """A policy whose query is a function of the text of the need."""

    format = Verbatim()

    def __init__(self, write):
        self.write = write

    def generate(self, chats, n):
        return [[self.write(chat[-1]["content"])] * max(n, 1) for chat in chats]


def shown_rows(need):
    return [one.row for one in need.candidates]


def at_random(seed=0):
    rng = np.random.default_rng(seed)
    return Lists(lambda need: rng.permutation(shown_rows(need)))


def steady(need, seed=0):
    """An order that depends on the user and the items alone."""
    rng = np.random.default_rng([seed, *map(ord, need.id)])
    value = dict(zip(sorted(shown_rows(need)), rng.random(len(need.candidates)), strict=True))
    return sorted(value, key=value.get)
