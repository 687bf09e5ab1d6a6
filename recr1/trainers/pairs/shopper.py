"""Pairs of the generated shop's world: what shoppers say and may mean, without any shop."""

from __future__ import annotations

from itertools import islice

from recr1.env import Environment
from recr1.tasks.shop.language import shopper_pairs
from recr1.tasks.shop.lexicon import load_lexicon
from recr1.trainers.pairs.pairs import Pair, held_out_texts, writer_of
from retrievers.options import PositiveInt, Share, checked
from rewards.base import Need


@checked
class ShopperPairs:
    """Needs of the generated shop's shoppers, each with a query in words that people, and dialects, have for it.

    They know language alone: no catalog, no answer key and no retriever has a say in them, so a warm start on them
    favours no shop. A need that is in the validation or test split is left out.

    Args:
        count: how many pairs.
        private: the share of a query's words that are private words, of both dialects alike.
        seed: draws the pairs.
    """

    def __init__(self, *, count: PositiveInt, private: Share = 0.0, seed: int = 0) -> None:
        self.count, self.private, self.seed = count, private, seed

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """The pairs, in their order; raises `UserError` where the task's format cannot be taught."""
        write = writer_of(env.format)
        held_out = held_out_texts(env)
        found = []
        drawn = enumerate(shopper_pairs(load_lexicon(), self.seed, self.private))
        for number, (text, query) in islice(drawn, self.count):
            if text not in held_out:
                place = f"shopper pair {number}"
                found.append(Pair(Need(place, text), write(query), place))
        return found
