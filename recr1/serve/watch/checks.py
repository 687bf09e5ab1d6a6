"""What changed between two looks: tests that are corrected together, each with a threshold of its own.

The needs of the first look are searched again today: what differs is the catalog or the engine. What then differs
between them and the needs of today, all searched today, is the traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from annotated_types import Gt, Lt

from recr1.config import yaml12
from recr1.errors import RecipeError
from recr1.judge.stats import holm, randomisation_test
from recr1.serve.watch.look import PROBES, SIDES, Look, overlaps
from recr1.tasks.disk import lines
from retrievers.options import PositiveFloat, Share, checked, option_problems, options_of
from rewards.guards.words import words_of

RARE, EXAMPLES = 10, 20
"""Searches that a word or category must be in to be compared; examples that a check keeps."""
PERMUTATIONS = 100_000
"""Of the test of scores: p must be able to fall below `significance`, divided by the number of tests."""


class Kind(NamedTuple):
    """What a check is about."""

    changed: str
    """What has changed where it finds something."""
    threshold: str
    says: str
    """What is the case if it finds something."""


KINDS: Mapping[str, Kind] = {
    "items removed": Kind("catalog", "items", "items that were found are gone"),
    "items renamed": Kind("catalog", "items", "items that were found have another title"),
    "words gone": Kind("catalog", "words_gone", "needs have a word that no item has any more"),
    "word endings": Kind("analyzer", "analyzer", "words that differ in an s are read in another way (stemming)"),
    "capital letters": Kind("analyzer", "analyzer", "words in capital letters are read in another way"),
    "stop words": Kind("analyzer", "analyzer", "words with 'the' before them are read in another way"),
    "hits lost": Kind("results", "no_hits", "the same searches find nothing any more"),
    "rankings": Kind("results", "rankings", "the same searches find other items"),
    "score": Kind("results", "score", "the same judged needs score lower"),
    "length": Kind("traffic", "length", "searches of today have another length"),
    "unknown words": Kind("traffic", "unknown", "searches of today have more or fewer words that no item has"),
    "no hits": Kind("traffic", "no_hits", "searches of today find nothing more or less often"),
    "words": Kind("traffic", "traffic", "people search for other words"),
    "categories": Kind("traffic", "traffic", "people search for other categories"),
    "rewrites": Kind("rewrites", "rewrites", "another share of the searches is rewritten, or left raw"),
}


@checked
@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What counts as a change: a significant test, and a difference above the threshold of the check."""

    significance: Annotated[float, Gt(0), Lt(1)] = 0.001
    """Of all tests of a watch together (Holm): at most one false alarm in a thousand watches."""
    items: Share = 0.02
    """Share of the items found then."""
    words_gone: Share = 0.02
    """Share of the needs."""
    analyzer: Share = 0.1
    """Share of the words that are probed."""
    no_hits: Share = 0.01
    """Change of the share of searches that find nothing."""
    rankings: Share = 0.05
    """Share of the searches of whose first ten items fewer than half are the same."""
    score: Share = 0.02
    """Fall of the measure."""
    length: PositiveFloat = 0.15
    """Change of the mean words, as a share of those then."""
    unknown: Share = 0.05
    """Change of the share of unknown words."""
    traffic: Share = 0.05
    """Change of the share of searches with a word, or in a category."""
    rewrites: Share = 0.05
    """Change of the share of searches that are rewritten, or left raw for a reason."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Those of a YAML file, the others by default; raises `UserError` with every mistake and its line."""
        document, known = yaml12.read("".join(text for _, text in lines(path))), options_of(cls)
        wrong = [f"{path}:{line}: {what}" for line, what in document.problems]
        if isinstance(document.value, dict):
            problems = option_problems(known, document.value, owner="a watch")
            wrong += [f"{path}:{document.lines[one.path]}: {one}" for one in problems]
        elif not wrong:
            wrong = [f"{path}: must be a mapping with some of the keys {', '.join(known)}"]
        if wrong:
            raise RecipeError(wrong, path)
        return cls(**document.value)


@dataclass(frozen=True)
class Check:
    """One comparison."""

    kind: str
    side: str  # "raw", "rewritten", or "" where there is one for both
    then: float
    now: float
    change: float
    p: float
    """Of no change, or of a share that is not above its threshold; corrected for the number of tests."""
    examples: Sequence[str]
    threshold: float = 0.0
    found: bool = False

    @property
    def name(self) -> str:
        """The side and the kind."""
        return f"{self.side} {self.kind}".strip()

    @property
    def about(self) -> Kind:
        """What it is about."""
        return KINDS[self.kind]


def compare(then: Look, again: Look, now: Look, limits: Thresholds, *, seed: int = 0) -> list[Check]:
    """All checks of a first look, of its needs and queries searched again today, and of the needs of today."""
    checks = [*_catalog(then, again, limits), *_analyzer(then, again)]
    checks += [_shifted(kind, again, now, limits) for kind in ("words", "categories", "rewrites")]
    for side in SIDES:
        checks += [*_results(then, again, side, limits, seed), *_traffic(again, now, side)]
    return [_judged(*pair, limits) for pair in zip(checks, holm([one.p for one in checks]).tolist(), strict=True)]


def _judged(check: Check, p: float, limits: Thresholds) -> Check:
    threshold = float(getattr(limits, check.about.threshold))
    found = p < limits.significance and check.change > threshold
    return replace(check, p=p, threshold=threshold, found=found, examples=check.examples[:EXAMPLES])


def _catalog(then: Look, again: Look, limits: Thresholds) -> Iterator[Check]:
    titles, of_today, missing = then.titles, again.titles, {*again.unknown} - {*then.unknown}
    gone = [f"{title} ({item})" for item, title in titles.items() if item not in of_today]
    renamed = [(old, of_today[item]) for item, old in titles.items() if of_today.get(item, old) != old]
    lost = [(word, pair) for pair in renamed for word in sorted({*words_of(pair[0])} - {*words_of(pair[1])})]
    example, counts = dict(reversed(lost)), Counter(word for word, _ in lost).most_common()
    shown = [f"'{word}' is gone from {count} titles: {{}}, now {{}}".format(*example[word]) for word, count in counts]
    of_needs = [
        sorted(missing & {*words_of(f"{raw} {own}")}) for raw, own in zip(then.needs, then.queries, strict=True)
    ]
    words = Counter(word for of_need in of_needs for word in of_need).most_common()
    yield _share("items removed", "", len(gone), len(titles), limits.items, gone)
    yield _share("items renamed", "", len(renamed), len(titles), limits.items, shown or [*map(", now ".join, renamed)])
    shown = [f"'{word}' in {count} needs" for word, count in words]
    yield _share("words gone", "", sum(map(bool, of_needs)), len(of_needs), limits.words_gone, shown)


def _analyzer(then: Look, again: Look) -> Iterator[Check]:
    for kind, before in then.probes.items():
        after = again.probes[kind]
        flipped = [word for word in after if before[word] != after[word]]
        old, new = (sum(one[word] for word in after) / max(len(after), 1) for one in (before, after))
        p = _p("binomtest", sum(before[word] for word in flipped), len(flipped)) if flipped else 1.0
        how = {True: "no longer find the same", False: "now find the same"}
        shown = [f"'{word}' and '{PROBES[kind](word)}' {how[before[word]]}" for word in flipped]
        yield Check(kind, "", old, new, len(flipped) / max(len(after), 1), p, shown)


def _results(then: Look, again: Look, side: str, limits: Thresholds, seed: int) -> Iterator[Check]:
    texts, before, after = then.of(side), then.found[side], again.found[side]
    pairs, size = list(zip(texts, before, after, strict=True)), len(texts)
    lost = [text for text, old, new in pairs if old and not new]
    won = sum(bool(new and not old) for _, old, new in pairs)
    p = _p("binomtest", len(lost), len(lost) + won, alternative="greater") if lost else 1.0
    empty, still = before.count([]) / size, after.count([]) / size
    yield Check("hits lost", side, empty, still, still - empty, p, lost)
    same, first = overlaps(before, after), [[_first(one, side, at) for one in (then, again)] for at in range(size)]
    moved = [at for at in np.argsort(same, kind="stable").tolist() if same[at] < 0.5]
    shown = [f"{texts[at]}: {same[at]:.0%} the same; first was {first[at][0]}, is {first[at][1]}" for at in moved]
    yield _share("rankings", side, len(moved), size, limits.rankings, shown)
    judged = [need for need in then.scores[side] if need in again.scores[side]]
    if judged:
        old, new = (np.array([one.scores[side][need] for need in judged]) for one in (then, again))
        worst = [at for at in np.argsort(new - old, kind="stable").tolist() if new[at] < old[at]]
        shown = [f"{judged[at]}: {old[at]:.2f}, now {new[at]:.2f}" for at in worst]
        p = randomisation_test(new - old, seed=seed, permutations=PERMUTATIONS)
        yield Check("score", side, float(old.mean()), float(new.mean()), float((old - new).mean()), p, shown)


def _first(of: Look, side: str, at: int) -> str:
    return of.titles[of.found[side][at][0]] if of.found[side][at] else "nothing"


def _traffic(again: Look, now: Look, side: str) -> Iterator[Check]:
    texts = np.repeat(np.array(now.of(side), object), now.counts)
    for kind, new_N in now.searches(side).items():
        old_N = again.searches(side)[kind]
        then, today = float(old_N.mean()), float(new_N.mean())
        p = 1.0 if len({*old_N, *new_N}) == 1 else _p("mannwhitneyu", old_N, new_N)
        change = abs(today - then) / (then if kind == "length" and then else 1.0)
        order = np.argsort(new_N if today < then else -new_N, kind="stable")
        yield Check(kind, side, then, today, change, p, list(dict.fromkeys(texts[order].tolist())))


def _shifted(kind: str, again: Look, now: Look, limits: Thresholds) -> Check:
    """Of words, categories or outcomes: the one whose share of the searches changed most, of those that clearly did."""
    (old, before), (new, after) = ((one.marks(kind), sum(one.counts)) for one in (again, now))
    marks = [mark for mark, count in (old + new).items() if count >= RARE]
    shares = {mark: (old[mark] / before, new[mark] / after) for mark in marks}
    marks.sort(key=lambda mark: -abs(shares[mark][1] - shares[mark][0]))
    tables = [[[old[mark], before - old[mark]], [new[mark], after - new[mark]]] for mark in marks[:EXAMPLES]]
    p_of = [
        min(1.0, _p("fisher_exact", table) * len(marks)) for table in tables
    ]  # corrected for all marks, seen or not
    clear = [at for at, p in enumerate(p_of) if p < limits.significance] or [*range(len(p_of))][:1]
    shown = [f"'{marks[at]}' in {shares[marks[at]][0]:.1%}, now in {shares[marks[at]][1]:.1%}" for at in clear]
    then, today = shares[marks[clear[0]]] if clear else (0.0, 0.0)
    return Check(kind, "", then, today, abs(today - then), p_of[clear[0]] if clear else 1.0, shown)


def _share(kind: str, side: str, count: int, size: int, limit: float, shown: Sequence[str]) -> Check:
    """Whether the share of what changed is above its limit."""
    p = _p("binomtest", count, size, limit, alternative="greater") if count else 1.0
    return Check(kind, side, 0.0, count / max(size, 1), count / max(size, 1), p, shown)


def _p(test: str, *values: Any, **options: Any) -> float:
    from scipy import stats

    return float(getattr(stats, test)(*values, **options).pvalue)
