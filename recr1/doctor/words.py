"""Words of every kind, at every place of a query, and between other signs: does each of them count?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from recr1.doctor.base import UNKNOWN, Fault, Finding, Setup, differ, finding, graded
from recr1.errors import examples
from retrievers.abilities import capabilities_of
from retrievers.analyzer import stopword_lists

FEW, MOST = 3, 30
"""Words of a kind: with fewer nothing is said, and no more are searched."""
KINDS: Mapping[str, tuple[str, str]] = {
    "words with letters outside ASCII": (r"\w*[^\W\x00-\x7f]\w*", r"[^\x00-\x7f]"),
    "numbers with punctuation": (r"(?<![\w.,])\d+(?:[.,]\d+)+(?![\w.,])", r"[.,]"),
    "numbers": (r"\b\d{2,}\b", r"\w"),
    "words of letters and digits": (r"\b(?:[A-Za-z]+\d|\d+[A-Za-z])[A-Za-z0-9]*\b", r"\w"),
    "words of two letters": (r"\b[A-Za-z]{2}\b", r"\w"),
}
"""Kind of words -> their pattern, and that of the characters without which they must find something else."""
FOREIGN = "\u014b\u014b"
"""Letters outside ASCII of the Latin alphabet, that no analyzer folds away."""
CASES: Mapping[str, Callable[[str], str]] = {"small": str.lower, "capital": str.upper}

PLACES, LONGEST = 12, 60
"""Words of a long query in which each place is tried, and of one whose last word is. Vectors of text get 24 for 60:
their models read 128 tokens or more, and an unknown word is up to 5."""
BETWEEN = ("{}, {}", "{}\n{}", "  {}\t{} ", "{}\u00a0{}", "{}\u2013{}", "{}; {}", "\u201c{}\u201d {}")
"""What a policy writes between two words, for any engine."""
SIGNS = (
    "{}/{}",
    "{}-{}",
    "({}) {}",
    '"{}" {}',
    "{}: {}",
    "{} & {}",
    "{} + {}",
    "{} #{}",
    "{} -{}",
    "{} = {}?",
    "{}% {}",
)
"""The same, for engines that declare no operators."""


def word_kinds(setup: Setup) -> Finding:
    """Words of every kind find something: accents, numbers, short ones, in capital and in small letters.

    A word is lost if it finds nothing, or what it finds without the characters that make its kind. Below 80% of at
    least 3 words there is a warning, below 50% an error. Case is a warning, from 20% of the words. Words are those of
    titles, and of texts if words that only texts have find something.
    """
    numbers: dict[str, tuple[int, int]] = {}
    problems = []
    words = _words_by_kind(setup)
    for kind, of_kind in words.items():
        spoilt = [re.sub(KINDS[kind][1], "", word) for word in of_kind]
        hits = setup.search([*of_kind, *spoilt])
        each = np.arange(len(of_kind))
        counts = (hits.rows_QK[each, 0] >= 0) & differ(hits.of(each), hits.of(len(of_kind) + each))
        numbers[kind] = int(counts.sum()), len(of_kind)
        verdict = graded(float(counts.mean()), warn_below=0.8, fail_below=0.5)
        if verdict != "ok":
            lost = [word for word, count in zip(of_kind, counts, strict=True) if not count]
            what = f"{kind} do not count in queries ({len(lost)} of {len(of_kind)}: {examples(lost)})"
            problems.append(Fault(verdict, f"{what}: index and query must be read by one analyzer that keeps them"))
    problems += [*_dropped_letters(setup), *_case(setup), *_stopwords(setup)]
    ok = "words count, whatever their case and letters" + f" ({', '.join(numbers)})" * bool(numbers)
    return finding("word_kinds", problems, ok, {kind: list(count) for kind, count in numbers.items()})


def _words_by_kind(setup: Setup) -> dict[str, list[str]]:
    """Words of each kind of which the catalog has enough, at most `MOST`."""
    rows = setup.sampled(range(len(setup.catalog)), "vocabulary", 2000)
    titles, texts = ([of[row] for row in rows] for of in (setup.titles, setup.catalog.texts))
    known = set(re.findall(r"\w+", " ".join(titles)))
    others = sorted({word for text in texts for word in setup.content_words(text)} - known)
    only_texts = setup.sampled(others, "only texts", 10)
    read = bool(only_texts) and (setup.rows(only_texts)[:, 0] >= 0).mean() >= 0.8
    lists = stopword_lists()
    usual = set(lists["english_plus"]) | set(lists[_language(setup)])
    found: dict[str, list[str]] = {}
    for kind, (pattern, _) in KINDS.items():
        for whole in [titles, texts][: 1 + read]:
            words = sorted({word for text in whole for word in re.findall(pattern, text) if word.lower() not in usual})
            if len(words) >= FEW:
                found[kind] = setup.sampled(words, kind, min(MOST, setup.sample))
                break
    return found


def _language(setup: Setup) -> str:
    """The list of stop words that has most of the words of the texts; English where none has 5% of them."""
    rows = setup.sampled(range(len(setup.catalog)), "language", 200)
    words = [word for row in rows for word in re.findall(r"\w+", setup.catalog.texts[row].lower())]
    shares = {name: sum(word in of_list for word in words) for name, of_list in _lists().items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= 0.05 * len(words) else "english"


def _lists() -> dict[str, set[str]]:
    return {name: set(words) for name, words in stopword_lists().items()}


def _stopwords(setup: Setup) -> list[Fault]:
    """Whether the words of the catalog that are stop words of another language all find nothing."""
    known = {word.lower(): word for word in setup.vocabulary}
    lists = _lists()
    usual = lists["english_plus"] | lists[_language(setup)]
    by_list = {name: sorted((known.keys() & words) - usual) for name, words in lists.items()}
    words = setup.sampled(sorted({word for of_list in by_list.values() for word in of_list}), "stop words", 100)
    found = setup.rows([known[word] for word in words])[:, 0] >= 0
    lost = {word for word, hit in zip(words, found, strict=True) if not hit}
    worst = max(by_list, key=lambda name: len(lost & set(by_list[name])))
    tried = [word for word in by_list[worst] if word in words]
    gone = [word for word in tried if word in lost]
    if len(gone) < max(2, 0.8 * len(tried)):
        return []
    what = f"words that are stop words in {worst.capitalize()} find nothing ({examples(gone)})"
    return [Fault("warning", f"{what}: use the stop words of the catalog's own language, or none")]


def _dropped_letters(setup: Setup) -> list[Fault]:
    """Whether letters outside ASCII leave no trace, even if the catalog has none."""
    words = setup.sampled(setup.known_words, "letters", 10)
    if len(words) < FEW:
        return []
    hits = setup.search([*words, *(word + FOREIGN for word in words)])
    same = ~differ(hits.of(slice(len(words))), hits.of(slice(len(words), None)))
    if same.mean() < 0.8:
        return []
    what = f"letters outside ASCII are dropped from queries: {words[0] + FOREIGN!r} finds what {words[0]!r} finds"
    return [Fault("warning", f"{what}: send queries as UTF-8, and remove no letters")]


def _case(setup: Setup) -> list[Fault]:
    """Whether capital or small letters change what an engine of words finds."""
    words = [word for word in setup.sampled(setup.known_words, "case", MOST) if word.isalpha()]
    if len(words) < FEW or setup.has_every_item:
        return []
    hits = setup.search([*words, *(write(word) for write in CASES.values() for word in words)])
    each, faults = np.arange(len(words)), []
    for place, case in enumerate(CASES, 1):
        changed = (hits.rows_QK[each] != hits.rows_QK[place * len(words) + each]).any(axis=1)
        if changed.mean() >= 0.2:
            what = f"{changed.sum()} of {len(words)} words find other items in {case} letters"
            faults.append(Fault("warning", f"{what}: ignore case in the index and in queries, or neither"))
    return faults


def long_queries(setup: Setup) -> Finding:
    """A known word counts at each of 12 places, and as the last of 60 words, the others being unknown.

    Each place is tried with 10 words; a place where fewer than half of them count is an error. An engine that wants all
    words of a query would find nothing, so of it this cannot be asked.
    """
    words = setup.sampled(setup.known_words, "long", 10)
    if not words or setup.wants_all_words:
        why = "the engine finds only items with all words of a query" if words else "no known word finds anything"
        return Finding("long_queries", "ok", f"not tested: {why}", {"words": 0})
    lengths = (PLACES, 24 if setup.has_every_item else LONGEST)
    asked = [(length, place) for length in lengths for place in (range(length) if length == PLACES else [length - 1])]
    queries = [
        " ".join([UNKNOWN] * place + [word] + [UNKNOWN] * (length - place - 1))
        for length, place in asked
        for word in words
    ]
    hits = setup.search([*queries, *(" ".join([UNKNOWN] * length) for length in lengths)])
    nothing = [len(queries) + lengths.index(length) for length, _ in asked for _ in words]
    counts = differ(hits.of(slice(len(queries))), hits.of(nothing)).reshape(len(asked), len(words)).mean(axis=1)
    deaf = [place + 1 for (length, place), share in zip(asked, counts, strict=True) if share < 0.5 and length == PLACES]
    problems = []
    if deaf:
        what = f"of {PLACES} words of a query, those at the places {', '.join(map(str, deaf))} do not count"
        problems.append(Fault("error", f"{what}: find where the query is cut on its way to the engine"))
    elif counts[-1] < 0.5:
        what = f"the last of {lengths[1]} words ({len(queries[-1])} characters) does not count"
        problems.append(Fault("warning", f"{what}: long queries are cut; raise the limit, or limit completions"))
    ok = f"a word counts at each of {PLACES} places, and as the last of {lengths[1]}"
    return finding("long_queries", problems, ok, {"words": len(words), "places_lost": deaf, "last": float(counts[-1])})


def separators(setup: Setup) -> Finding:
    """Two words of a title are two words, whatever signs stand between them.

    With each sign, what two words find first is still found, for at least 80% of 20 pairs (a warning) or 50% (an
    error). Engines that declare operators are asked with white space, commas, dashes and curly quotation marks alone.
    """
    pairs = [words[:2] for row in setup.probes if len(words := setup.content_words(setup.titles[row])) >= 2]
    pairs = setup.sampled(pairs, "separators", min(20, setup.sample))
    forms = (*BETWEEN, *(SIGNS if not capabilities_of(setup.env.retriever) else ()))
    forms += ("{} NOT {}",) if forms[-1] == SIGNS[-1] and not (setup.wants_all_words or setup.has_every_item) else ()
    hits = setup.search([form.format(*pair) for form in ("{} {}", *forms) for pair in pairs])
    rows = hits.rows_QK.reshape(len(forms) + 1, len(pairs), -1)
    asked = rows[0, :, 0] >= 0
    kept = ((rows[1:] == rows[:1, :, :1]).any(axis=2) & asked).sum(axis=1) / max(asked.sum(), 1)
    shares = dict(zip(forms, kept.tolist(), strict=True)) if asked.any() else {}
    lost = [form for form, share in shares.items() if share < 0.8]
    problems = []
    if lost:
        verdict = graded(min(shares.values()), warn_below=0.8, fail_below=0.5)
        shown = ", ".join(ascii(form.format("a", "b")) for form in lost)
        what = f"in {shown} the words a and b do not find what they find as 'a b'"
        problems.append(Fault(verdict, f"{what}: quote queries on their way to the engine; use one that reads words"))
    ok = f"two words find the same with any of {len(forms)} signs between them"
    return finding("separators", problems, ok, {"pairs": int(asked.sum()), "kept": shares})
