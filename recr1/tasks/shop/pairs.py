"""What shoppers mean, as pairs of a need and a query: language and a thesaurus, and no shop.

Nothing here knows a catalog, an answer key or a retriever.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from recr1.tasks.shop.dialects import DIALECTS, dialect_words
from recr1.tasks.shop.language import Manner, write_need
from recr1.tasks.shop.lexicon import Lexicon


def shopper_pairs(lexicon: Lexicon, seed: int, private: float = 0.0) -> Iterator[tuple[str, str]]:
    """Endless (need, query) pairs of people and a general thesaurus; no shop has a say in them.

    Every phrase of the lexicon is used, as any pretrained language model knows them all, but only the sentence frames
    of training needs: those of held-out needs are new to the policy.

    Args:
        lexicon: The words.
        seed: Draws the pairs.
        private: The share of a query's words that are private ones, of each dialect alike; the others are words that
            people use, all alike.
    """
    rng = Random(f"tiny shopper {seed}")
    while True:
        manner = Manner(
            frames=lexicon.frames["seen"],
            chitchat=lexicon.chitchat["seen"],
            phrases="all",
            indirect=rng.choice((0.2, 0.6)),
            typos=0.2,
        )
        product = rng.choice(lexicon.types)
        families = rng.sample(lexicon.families[product], rng.choices((1, 2, 3), (0.2, 0.4, 0.4))[0])
        wishes = [f"{family}/{rng.choice(lexicon.values[family])}" for family in sorted(families)]
        need = write_need(lexicon, product, wishes, manner, rng)
        words = [_word(lexicon, name, private, rng) for name in (*wishes, f"type/{product}")]
        if rng.random() < 0.15:  # people sometimes say the same thing twice, in two words
            words.insert(rng.randrange(len(words)), _word(lexicon, rng.choice(wishes), private, rng))
        yield need, " ".join(words)


def _word(lexicon: Lexicon, concept: str, private: float, rng: Random) -> str:
    if private and rng.random() < private:
        return dialect_words(rng.choice(DIALECTS))[concept]
    return rng.choice(lexicon.concepts[concept].words)
