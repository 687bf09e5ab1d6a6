"""The words of the shop world: product types, attributes, and the many ways to ask for each.

A concept is `type/sofa` or `color/red`. Each has several `words`, any of which a shop may print, and several
`phrases` that ask for it without naming it. Which word a shop prints is not known here: see `catalog.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
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

    def phrases_of(self, group: str) -> tuple[str, ...]:
        """The phrases that training needs use ("seen"), those that only other needs use ("held"), or "all"."""
        return {"seen": self.phrases[:-HELD_PHRASES], "held": self.phrases[-HELD_PHRASES:], "all": self.phrases}[group]


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
    named = [(f"type/{name}", entry["words"], entry["uses"]) for name, entry in data["types"].items()]
    for family, values in data["attributes"].items():
        named += [(f"{family}/{value}", entry["words"], entry["says"]) for value, entry in values.items()]
    concepts = {name: Concept(name, tuple(words), tuple(phrases)) for name, words, phrases in named}
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
    concepts = load_lexicon().concepts
    rng = Random("recr1 private words")
    texts = (text for concept in concepts.values() for text in (*concept.words, *concept.phrases))
    taken = {word for text in texts for word in text.split()}
    new: dict[str, None] = {}
    while len(new) < len(concepts) * len(DIALECTS):
        word = "".join(rng.choice(letters) for letters in (_FIRST, _VOWELS, _FIRST, _VOWELS, _LAST))
        if word not in taken:
            new[word] = None
    # The dialects take turns: each concept has as many new words in a row.
    words = dict(zip(product(concepts, DIALECTS), new, strict=True))
    return MappingProxyType({concept: words[concept, dialect] for concept in concepts})
