"""Whole queries replaced by Querqy's common rules: one rule for each need, which matches that query alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

READ = re.compile(r'[\\"*#:{}()$@=<>|~^\x00-\x1f]|(?<!\S)[-+]|(?<!\S)(?:AND|OR|NOT)(?!\S)')
"""What Querqy reads in a need or a query: escapes, boundaries, wildcards, comments, fields, references, operators."""


def is_plain(text: str) -> bool:
    """Whether Querqy reads nothing but words in a text."""
    return bool(text.strip()) and not READ.search(text)


def key(need: str) -> str:
    """What Querqy compares of a query: its words without case."""
    return " ".join(need.split()).lower()


def instructions(need: str, query: str) -> tuple[list[str], list[str], list[str]]:
    """The words of a need that its query keeps, those that it leaves out, and those that it adds, in their order.

    Case does not count, as in Querqy; a word that comes several times is added as often.
    """
    have, wanted = need.split(), query.split()
    lowered, kept = {word.lower() for word in have}, {word.lower() for word in wanted}
    added = [word for word in wanted if word.lower() not in lowered]
    return [word for word in have if word.lower() in kept], [word for word in have if word.lower() not in kept], added


def rule(need: str, query: str) -> str:
    """A rule that searches for a query where the whole need is searched for, in lines.

    The input is between boundaries: without them it would match anywhere in a query. Querqy puts a synonym beside
    every word of the input; its weight is divided by their number, so that added words count as much as kept ones.
    SYNONYM comes before DELETE: with its last word gone, a place is gone too.
    """
    _, left_out, added = instructions(need, query)
    lines = [f'"{" ".join(need.split())}" =>']
    lines += [f"  SYNONYM({count / len(need.split()):.4g}): {word}" for word, count in Counter(added).items()]
    return "\n".join([*lines, *([f"  DELETE: {' '.join(dict.fromkeys(left_out))}"] if left_out else [])]) + "\n"


def replaced(need: str, query: str) -> str:
    """What a need with a rule is searched as: the words that it keeps, then those that are added."""
    kept, _, added = instructions(need, query)
    return " ".join([*kept, *added])


def rules(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], int]:
    """Need -> its rule, and how many needs are left out since Querqy would read something in them or their query.

    A need whose query has the same words has no rule.
    """
    every = [pair for pair in pairs if {*key(pair[0]).split()} != {*key(pair[1]).split()}]
    plain = {need: query for need, query in every if is_plain(need) and is_plain(query)}
    return {need: rule(need, query) for need, query in plain.items()}, len(every) - len(plain)
