"""Private words: two dialects of invented words, for shops that call everything by a word that nobody else uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random
from types import MappingProxyType

from recr1.tasks.shop.lexicon import load_lexicon

DIALECTS = ("a", "b")
"""Names of the dialects. No word is in two of them, and none is a word of the lexicon."""

_FIRST, _VOWELS, _LAST = "bdfgklmnprtvz", "aeiou", "bdgklmnprstvx"


@cache
def dialect_words(dialect: str) -> Mapping[str, str]:
    """Concept -> the dialect's word for it ("type/sofa" -> "borab"); raises `KeyError` for an unknown dialect.

    They are two syllables drawn at random, always the same ones, and say nothing about what they name.
    """
    lexicon = load_lexicon()
    rng = Random("recr1 private words")
    said = (text for concept in lexicon.concepts.values() for text in (*concept.words, *concept.phrases))
    taken = {word for text in said for word in text.split()}
    words: dict[str, dict[str, str]] = {name: {} for name in DIALECTS}
    for concept in lexicon.concepts:
        for of_dialect in words.values():
            of_dialect[concept] = _new_word(rng, taken)
    return MappingProxyType(words[dialect])


def _new_word(rng: Random, taken: set[str]) -> str:
    while True:
        word = "".join(rng.choice(letters) for letters in (_FIRST, _VOWELS, _FIRST, _VOWELS, _LAST))
        if word not in taken:
            taken.add(word)
            return word
