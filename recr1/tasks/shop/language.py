"""How shoppers write: indirect, wordy, with other words than the shop's, typos and small talk.

Nothing here knows a catalog. `ShopTask` hands in the shop's own words so that needs avoid most of them; the warm
start of the tiny policy (recr1/assets) hands in none, and so writes with every word of the lexicon alike.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from recr1.tasks.shop.lexicon import DIALECTS, Concept, Lexicon, dialect_words

_PLURALS = frozenset({"headphones", "earphones", "earbuds", "shoes", "sneakers", "trainers", "footwear", "luggage"})

LONGEST = 24
"""Words in the longest need: every word of a prompt costs time in each training step."""


@dataclass(frozen=True)
class Manner:
    """How a group of shoppers writes; shares are probabilities for each concept or need.

    `frames` are sentence patterns with {thing} and {wishes}; `phrases` says which phrasings are used ("seen" by
    training needs, "held" for validation and test needs, "all"). `indirect` is the share of concepts that are described
    instead of named, `shared` that of named ones for which the shop's own word is used, `typos` that of needs with one
    mistyped word. `own_words` are the shop's, by concept; where it has none, every word is used alike.
    """

    frames: Sequence[str]
    chitchat: Sequence[str]
    phrases: str = "seen"
    indirect: float = 0.3
    shared: float = 0.25
    typos: float = 0.15
    own_words: Mapping[str, str] = field(default_factory=dict)


def write_need(lexicon: Lexicon, product: str, wishes: Sequence[str], manner: Manner, rng: Random) -> str:
    """One sentence or two that ask for a product type (`"sofa"`) with wishes (`("color/red", ...)`)."""
    while True:
        thing = _thing(lexicon.concepts[f"type/{product}"], manner, rng)
        parts = [_asked(lexicon.concepts[name], manner, rng)[0] for name in wishes]
        rng.shuffle(parts)
        listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + rng.choice([" and ", ", "]) + parts[-1]
        text = rng.choice(manner.frames).replace("{thing}", thing).replace("{wishes}", listed)
        if rng.random() < 0.25:
            text = f"{text}. {rng.choice(manner.chitchat)}"
        if rng.random() < manner.typos:
            text = _mistype(text, rng)
        if len(text.split()) <= LONGEST:
            return text


def _asked(concept: Concept, manner: Manner, rng: Random) -> tuple[str, bool]:
    """A concept as a shopper asks for it, and whether by a word for it instead of a phrase."""
    if rng.random() < manner.indirect:
        return rng.choice(concept.phrases_of(manner.phrases)), False
    own = manner.own_words.get(concept.name)
    if own is not None and rng.random() < manner.shared:
        return own, True
    return rng.choice([word for word in concept.words if word != own]), True


def _thing(concept: Concept, manner: Manner, rng: Random) -> str:
    text, named = _asked(concept, manner, rng)
    if not named:
        return f"something {text}"
    article = "some" if text in _PLURALS else "an" if text[0] in "aeiou" else "a"
    return f"{article} {text}"


def _mistype(text: str, rng: Random) -> str:
    """The text with two letters swapped, or one lost, doubled or wrong, in one of its longer words."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return text
    i = rng.choice(long)
    word, at = words[i], rng.randrange(1, len(words[i]) - 1)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    wrong = rng.choice(string.ascii_lowercase)
    words[i] = before + rng.choice([after[0] + letter + after[1:], after, letter + letter + after, wrong + after])
    return " ".join(words)


def shopper_pairs(lexicon: Lexicon, seed: int, private: float = 0.0) -> Iterator[tuple[str, str]]:
    """Endless (need, query) pairs from language and a thesaurus, without a catalog, an answer key or a retriever.

    Every phrase of the lexicon is used, as any pretrained language model knows them all, but only the sentence frames
    of training needs: those of held-out needs are new to the policy.

    `private` is the share of a query's words that are invented, from each dialect equally; the others are words that
    people use, each equally often.
    """
    rng = Random(f"tiny shopper {seed}")
    while True:
        indirect = rng.choice((0.2, 0.6))
        manner = Manner(lexicon.frames["seen"], lexicon.chitchat["seen"], "all", indirect, typos=0.2)
        product = rng.choice(lexicon.types)
        families = rng.sample(lexicon.families[product], rng.choices((1, 2, 3), (0.2, 0.4, 0.4))[0])
        wishes = [f"{family}/{rng.choice(lexicon.values[family])}" for family in sorted(families)]
        need = write_need(lexicon, product, wishes, manner, rng)
        words = [_query_word(lexicon, name, private, rng) for name in (*wishes, f"type/{product}")]
        if rng.random() < 0.15:  # people sometimes say the same thing twice, in two words
            words.insert(rng.randrange(len(words)), _query_word(lexicon, rng.choice(wishes), private, rng))
        yield need, " ".join(words)


def _query_word(lexicon: Lexicon, concept: str, private: float, rng: Random) -> str:
    if private and rng.random() < private:
        return dialect_words(rng.choice(DIALECTS))[concept]
    return rng.choice(lexicon.concepts[concept].words)
