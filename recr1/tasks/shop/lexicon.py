"""The words of the shop world: product types, attributes, and the many ways to ask for each.

A concept is `type/sofa` or `color/red`. Each has several `words`, any of which a shop may print, and several
`phrases` that ask for it without naming it. Which word a shop prints is not known here: see `catalog.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import MappingProxyType

HELD_PHRASES = 2
"""The last two phrases of each concept are kept for validation and test needs."""


@dataclass(frozen=True)
class Concept:
    """One thing that can be wished for."""

    name: str
    words: tuple[str, ...]
    phrases: tuple[str, ...]

    @property
    def seen_phrases(self) -> tuple[str, ...]:
        """Phrases that training needs use."""
        return self.phrases[:-HELD_PHRASES]

    @property
    def held_phrases(self) -> tuple[str, ...]:
        """Phrases that only validation and test needs use."""
        return self.phrases[-HELD_PHRASES:]


@dataclass(frozen=True)
class Lexicon:
    """All concepts, which attribute families a product type has, and the sentences of shoppers and shops."""

    concepts: Mapping[str, Concept]
    families: Mapping[str, tuple[str, ...]]
    """Product type -> its attribute families ("sofa" -> ("color", "fabric", "style"))."""
    values: Mapping[str, tuple[str, ...]]
    """Attribute family -> its values ("fabric" -> ("leather", "cotton", ...))."""
    frames: Mapping[str, Sequence[str]]
    chitchat: Mapping[str, Sequence[str]]
    brands: Sequence[str]
    series: Sequence[str]
    care: Sequence[str]

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the product types."""
        return tuple(self.families)


@cache
def load_lexicon() -> Lexicon:
    """The lexicon that ships with the package (lexicon.yaml beside this file)."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load(Path(__file__).with_name("lexicon.yaml").read_text(encoding="utf-8"), loader)
    concepts = {
        f"type/{name}": Concept(f"type/{name}", tuple(entry["words"]), tuple(entry["uses"]))
        for name, entry in data["types"].items()
    }
    for family, values in data["attributes"].items():
        for value, entry in values.items():
            name = f"{family}/{value}"
            concepts[name] = Concept(name, tuple(entry["words"]), tuple(entry["says"]))
    return Lexicon(
        concepts=MappingProxyType(concepts),
        families=MappingProxyType({name: tuple(entry["attributes"]) for name, entry in data["types"].items()}),
        values=MappingProxyType({family: tuple(values) for family, values in data["attributes"].items()}),
        frames=MappingProxyType(data["frames"]),
        chitchat=MappingProxyType(data["chitchat"]),
        brands=tuple(data["brands"]),
        series=tuple(data["series"]),
        care=tuple(data["care"]),
    )


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
    texts = (text for concept in lexicon.concepts.values() for text in (*concept.words, *concept.phrases))
    taken = {word for text in texts for word in text.split()}
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
