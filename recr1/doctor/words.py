"""Words of every kind, at every place of a query, and between other signs: does each of them count?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from recr1.doctor.base import UNKNOWN, Fault, Finding, Setup, finding, graded
from recr1.doctor.queries import differ
from recr1.errors import examples
from retrievers.abilities import capabilities_of, matches_everything
from retrievers.analyzer import stopword_lists

FEW, MOST = 2, 30
"""Words of a kind: with fewer nothing is said, and no more are searched."""
PLACES, LONGEST = 12, 60
"""Words of a query in which each place is tried, and of one whose last word is. Vectors of text get 24 for 60: their
models read 128 tokens or more, and an unknown word is up to 5."""
BETWEEN = ("{}, {}", "{}\n{}", "  {}\t{} ", "{}\u00a0{}", "{}\u2013{}", "{}; {}", "\u201c{}\u201d {}")
"""What a policy writes between two words, for any engine."""
SIGNS = tuple('{}/{} ~{}-{} ~({}) {} ~"{}" {} ~{}: {} ~{} & {} ~{} + {} ~{} #{} ~{} -{} ~{} = {}?'.split(" ~"))
"""The same, for engines that declare no operators."""


class Kind(NamedTuple):
    """Words of a kind, and how they are changed: what they find must then differ, or, if `alike`, be the same."""

    name: str
    pattern: str
    change: Callable[[str], str] = lambda word: ""
    alike: bool = False


KINDS = (
    Kind("words with letters outside ASCII", r"\w*[^\W\x00-\x7f]\w*", lambda word: re.sub(r"[^\x00-\x7f]", "", word)),
    Kind("numbers with punctuation", r"(?<![\w.,])\d+(?:[.,]\d+)+(?![\w.,])", lambda word: re.sub("[.,]", "", word)),
    Kind("numbers", r"\b\d{2,}\b"),
    Kind("words of letters and digits", r"\b(?:[A-Za-z]+\d|\d+[A-Za-z])[A-Za-z0-9]*\b"),
    Kind("words of two letters", r"\b[A-Za-z]{2}\b"),
    # Latin letters that no analyzer folds away: they are seen to be dropped even in a catalog of ASCII.
    Kind("letters outside ASCII", "", lambda word: word + "\u014b\u014b"),
    Kind("small letters", "", str.lower, alike=True),
    Kind("capital letters", "", str.upper, alike=True),
)


def word_kinds(setup: Setup) -> Finding:
    """Words of every kind count: with accents, numbers, short ones, in capital and in small letters.

    A word is lost if it finds nothing, or what it finds without the characters that make its kind. Two lost words and
    less than 80% that count are a warning, less than 50% an error. That case changes what 20% of the words find is a
    warning; of vectors it is not asked. Words are those of titles, and of texts if words that only texts have find
    something.
    """
    numbers, problems = {}, _stopwords(setup)
    for kind, words in _words_by_kind(setup):
        hits, each = setup.search([*words, *map(kind.change, words)]), np.arange(len(words))
        changed = differ(hits.of(each), hits.of(len(words) + each))
        counts = ~changed if kind.alike else changed & (hits.rows_QK[each, 0] >= 0)
        numbers[kind.name] = [int(counts.sum()), len(words)]
        least = 0.5 if kind.pattern else 0.0
        verdict = graded(float(counts.mean()), warn_below=0.8, fail_below=least, of=len(words))
        lost = [word for word, count in zip(words, counts, strict=True) if not count]
        if verdict != "ok":
            what = f"{kind.name} {'change what is found' if kind.alike else 'do not count in queries'}"
            remedy = "index and queries must be read by one analyzer that "
            remedy += "puts both in small letters" if kind.alike else "keeps them"
            problems.append(Fault(verdict, f"{what} ({len(lost)} of {len(words)}: {examples(lost)}): {remedy}"))
    return finding("word_kinds", problems, f"words of every kind count ({', '.join(numbers)})", numbers)


def _words_by_kind(setup: Setup) -> Iterator[tuple[Kind, list[str]]]:
    """Words of each kind of which the catalog has enough, at most `MOST`."""
    rows = setup.sampled(range(len(setup.catalog)), "vocabulary", 2000)
    titles, texts = ([of[row] for row in rows] for of in (setup.titles, setup.catalog.texts))
    known, in_texts = ({word for text in of for word in setup.content_words(text)} for of in (titles, texts))
    others = sorted(in_texts - known)
    only_texts = setup.rows(setup.sampled(others, "only texts", 10))[:, 0] >= 0
    sources = [titles, texts] if only_texts.sum() >= 8 else [titles]
    for kind in KINDS:
        if kind.pattern:
            found = (set(re.findall(kind.pattern, " ".join(of))) for of in sources)
            words = [sorted(word for word in some if word.lower() not in setup.stopwords) for some in found]
        else:
            asked = not (kind.alike and matches_everything(setup.env.retriever))
            words = [[word for word in setup.known_words if asked and word.isalpha() and word.isascii()]]
        if enough := next((some for some in words if len(some) >= FEW), None):
            yield kind, setup.sampled(enough, kind.name, min(MOST, setup.sample))


def _stopwords(setup: Setup) -> list[Fault]:
    """Whether 80% of the words of the catalog, and two, that are stop words of another language find nothing."""
    known = {word.lower(): word for word in setup.vocabulary}  # without the stop words of the catalog's language
    by_list = {name: known.keys() & set(words) for name, words in stopword_lists().items()}
    words = setup.sampled(sorted(set().union(*by_list.values())), "stop words", 100)
    found = setup.rows([known[word] for word in words])[:, 0] >= 0
    lost = {word for word, hit in zip(words, found, strict=True) if not hit}
    name = max(by_list, key=lambda name: len(lost & by_list[name]))
    gone = sorted(lost & by_list[name])
    if len(gone) < max(2, 0.8 * len(by_list[name].intersection(words))):
        return []
    what = f"words that are stop words in {name.capitalize()} find nothing ({examples(gone)})"
    return [Fault("warning", f"{what}: use the stop words of the catalog's own language, or none")]


def long_queries(setup: Setup) -> Finding:
    """A known word counts at each of 12 places, and as the last of 60 words, the others being unknown.

    Each place is tried with 10 words; a place where fewer than half of them count is an error. An engine that wants all
    words of a query would find nothing, so of it this cannot be asked.
    """
    words = setup.sampled(setup.known_words, "long", 10)
    if not words or setup.wants_all_words:
        why = "the engine finds only items with all words of a query" if words else "no known word finds anything"
        return Finding("long_queries", "ok", f"not tested: {why}", {"words": 0})
    longest = 24 if matches_everything(setup.env.retriever) else LONGEST
    asked = [[UNKNOWN] * place + ["{}"] + [UNKNOWN] * (PLACES - place - 1) for place in range(PLACES)]
    forms = [" ".join(form) for form in (*asked, [*[UNKNOWN] * (longest - 1), "{}"])]
    hits = setup.search([form.format(word) for form in forms for word in (*words, UNKNOWN)])
    each = np.arange(len(forms) * (len(words) + 1)).reshape(len(forms), -1)
    nothing = np.repeat(each[:, -1], len(words))
    counts = differ(hits.of(each[:, :-1].ravel()), hits.of(nothing)).reshape(len(forms), -1).mean(axis=1)
    deaf = [place + 1 for place in range(PLACES) if counts[place] < 0.5]
    problems = []
    if deaf:
        what = f"of {PLACES} words of a query, those at the places {', '.join(map(str, deaf))} do not count"
        problems.append(Fault("error", f"{what}: find where the query is cut on its way to the engine"))
    elif counts[-1] < 0.5:
        what = f"the last of {longest} words ({len(forms[-1]) + 4} characters) does not count"
        problems.append(Fault("warning", f"{what}: long queries are cut; raise the limit, or limit completions"))
    ok = f"a word counts at each of {PLACES} places, and as the last of {longest}"
    return finding("long_queries", problems, ok, {"words": len(words), "places_lost": deaf, "last": float(counts[-1])})


def separators(setup: Setup) -> Finding:
    """Two words of a title are two words, whatever signs stand between them.

    With each sign, what two words find first is still found, and they find more than one of them alone, for at least
    80% of 20 pairs (a warning) or 50% (an error). Engines that declare operators are asked with white space, commas,
    dashes and curly quotation marks alone.
    """
    pairs = [words[:2] for row in setup.probes if len(words := setup.content_words(setup.titles[row])) >= 2]
    pairs = setup.sampled(pairs, "separators", min(20, setup.sample))
    if not pairs:
        return Finding("separators", "ok", "not tested: no title has two words", {"pairs": 0})
    forms = ("{} {}", "{0}", "{1}", *BETWEEN, *(SIGNS if not capabilities_of(setup.env.retriever) else ()))
    rows = setup.rows([form.format(*pair) for form in forms for pair in pairs]).reshape(len(forms), len(pairs), -1)
    alone = (rows[1:3, None] == rows[None, 3:]).all(axis=3) & (rows[1:3] != rows[:1]).any(axis=2)[:, None]
    asked, there = rows[0, :, 0] >= 0, (rows[3:] == rows[:1, :, :1]).any(axis=2)
    kept = (there & ~alone.any(axis=0))[:, asked].mean(axis=1) if asked.any() else np.ones(len(forms) - 3)
    lost = [form for form, share in zip(forms[3:], kept, strict=True) if share < 0.8]
    problems = []
    if lost:
        shown = ", ".join(ascii(form.format("a", "b")) for form in lost)
        what = f"in {shown} the words a and b do not find what they find as 'a b'"
        remedy = "quote queries on their way to the engine; use one that reads words"
        problems.append(Fault(graded(kept.min(), warn_below=0.8, fail_below=0.5), f"{what}: {remedy}"))
    ok = f"two words find the same with any of {len(forms) - 3} signs between them"
    return finding("separators", problems, ok, {"pairs": int(asked.sum()), "lost": lost})
