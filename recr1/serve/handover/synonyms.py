"""Synonyms of words and phrases, learned from rewrites: what engines without a model can keep of a policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

from recr1.serve.table import normal

LEFT, RIGHT = 3, 2
"""Words of a phrase at most: of the one that is looked up, and of the one that is added."""
CONFIDENCE, LIFT = 0.5, 2.0
"""A rule holds for at least this share of the needs with its phrase, this many times as often as for all needs."""

Words: TypeAlias = tuple[str, ...]


class Rule(NamedTuple):
    """A need with the phrase `left` is searched with the words of `right` too."""

    left: Words
    right: Words
    support: int
    """Needs with `left` whose rewrites have `right`."""
    confidence: float
    """Their share of the needs with `left`."""
    judged: int = 0
    """Judged needs with `left`."""
    gain: float | None = None
    """What the rule alone changes on these, in the mean; None without any."""


def words(text: str) -> list[str]:
    """The words of a text as Lucene's standard tokenizer cuts them, without case: "won't" is one."""
    return re.findall(r"\w+(?:['’.]\w+)*", normal(text))


def phrases(have: Sequence[str], most: int = LEFT) -> Iterator[Words]:
    """Its phrases of that many words at most."""
    return (tuple(have[at : at + size]) for size in range(1, most + 1) for at in range(len(have) - size + 1))


def learn(pairs: Sequence[tuple[str, str]], support: int) -> list[Rule]:
    """The rules that at least `support` of these needs and queries show, those with most support first.

    A rewrite shows what was added: phrases none of whose words the need has. A phrase that a longer one of the same
    rewrites has is left out on the right, one that holds a shorter one with the same addition on the left.
    """
    seen, added, together = Counter[Words](), Counter[Words](), Counter[tuple[Words, Words]]()
    for need, query in pairs:
        have = words(need)
        lefts, rights = {*phrases(have)}, {one for one in phrases(words(query), RIGHT) if not {*one} & {*have}}
        seen.update(lefts)
        added.update(rights)
        together.update((left, right) for left in lefts for right in rights)
    found = {
        pair: count
        for pair, count in together.items()
        if count >= support and count / seen[pair[0]] >= max(CONFIDENCE, LIFT * added[pair[1]] / len(pairs))
    }
    longer = {
        (left, part) for (left, right), n in found.items() for part in _parts(right) if found.get((left, part)) == n
    }
    kept = {
        (left, right): count
        for (left, right), count in found.items()
        if (left, right) not in longer and not any((part, right) in found for part in _parts(left))
    }
    rules = [Rule(*pair, count, count / seen[pair[0]]) for pair, count in kept.items()]
    return sorted(rules, key=lambda rule: (-rule.support, rule.left, rule.right))


def _parts(phrase: Words) -> Iterator[Words]:
    return (part for part in phrases(phrase, len(phrase) - 1))


def by_phrase(rules: Iterable[Rule]) -> dict[Words, list[Words]]:
    """Phrase -> what is added to it, in the order of the rules."""
    found: dict[Words, list[Words]] = {}
    for rule in rules:
        found.setdefault(rule.left, []).append(rule.right)
    return found


def expanded_query(need: str, rules: Mapping[Words, Sequence[Words]]) -> str:
    """A need with the words that the rules add, each once, as Lucene's `SynonymGraphFilter` applies them.

    From left to right, the longest phrase at a place counts, and the next one begins behind it.
    """
    have, at, new = words(need), 0, dict[str, None]()
    while at < len(have):
        size = next((n for n in range(LEFT, 0, -1) if tuple(have[at : at + n]) in rules), 0)
        new |= dict.fromkeys(chain.from_iterable(rules[tuple(have[at : at + size])] if size else ()))
        at += max(size, 1)
    return " ".join([need, *(word for word in new if word not in have)])


def solr_lines(rules: Iterable[Rule]) -> list[str]:
    """The rules in Solr's format, a line for each phrase, which is kept: "left => left, right, other right"."""
    sides = ((" ".join(left), map(" ".join, rights)) for left, rights in by_phrase(rules).items())
    return [f"{left} => {', '.join([left, *rights])}" for left, rights in sides]


def table(rules: Sequence[Rule]) -> str:
    """The rules as CSV; words have no signs that it would quote."""
    numbers = (
        f"{one.support},{one.confidence:.3f},{one.judged},{'' if one.gain is None else f'{one.gain:+.4f}'}"
        for one in rules
    )
    lines = (f"{' '.join(one.left)},{' '.join(one.right)},{text}" for one, text in zip(rules, numbers, strict=True))
    return "\n".join(["phrase,added,support,confidence,judged,gain", *lines, ""])
