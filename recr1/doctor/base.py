"""What a check is handed (a patient) and what it hands back (a finding)."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.random import Generator, default_rng

from recr1.baselines.without_model import Verbatim
from recr1.env import Environment, Step, chat_with
from recr1.errors import UserError
from recr1.tasks.leaks import splits_of
from retrievers.analyzer import Analyzer
from retrievers.base import Catalog, Hits, Query
from retrievers.errors import EngineError, MissingAnswers, PermanentError
from rewards.base import Need

Verdict: TypeAlias = Literal["ok", "warning", "error"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "error")
"""From best to worst."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Finding:
    """What a check found: its stable name, a verdict, and a sentence that says what is wrong and what to do."""

    name: str
    verdict: Verdict
    message: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What the verdict rests on, as plain JSON values."""
    shown: str = ""
    """Text that a person should read as it stands: the rendered prompt."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        known = {"name": self.name, "verdict": self.verdict, "message": self.message, "numbers": dict(self.numbers)}
        return known | ({"shown": self.shown} if self.shown else {})


class Symptom(NamedTuple):
    """One thing that is wrong, or worth knowing; a finding is the worst of its symptoms."""

    verdict: Verdict
    message: str


def finding(name: str, symptoms: Sequence[Symptom], fine: str, numbers: Mapping[str, Any]) -> Finding:
    """The finding of all symptoms, the worst first; `fine` is said where there are none."""
    ranked = sorted(symptoms, key=lambda symptom: -VERDICTS.index(symptom.verdict))
    worst = ranked[0].verdict if ranked else "ok"
    return Finding(name, worst, "; ".join(symptom.message for symptom in ranked) or fine, numbers)


def graded(share: float, *, warn_below: float, fail_below: float) -> Verdict:
    """The verdict on a share of probes that went as they should."""
    return "error" if share < fail_below else "warning" if share < warn_below else "ok"


class PartFailed(Exception):  # noqa: N818 - it says what happened
    """A retriever, a reward or a format raised something; the message says which, what and where.

    `silent`: an engine behind a network answered nothing at all, so that asking it more is in vain.
    """

    def __init__(self, doing: str, error: BaseException) -> None:
        self.remote, self.silent = isinstance(error, EngineError), _is_silence(error)
        if isinstance(error, EngineError):  # it says itself which engine and why; where in our code helps nobody
            super().__init__(f"{doing} failed: {' '.join(str(error).split())[:500]}")
            return
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        text = " ".join(str(error).split())[:300]
        super().__init__(f"{doing} raised {type(error).__name__}: {text}{place}")


def _is_silence(error: BaseException) -> bool:
    if not isinstance(error, MissingAnswers):
        return False
    refused = any(isinstance(fault.__cause__, PermanentError) for fault in error.faults.values())
    return len(error.faults) == len(error.hits.rows_QK) and not refused


@contextmanager
def watching(doing: str) -> Iterator[None]:
    """Turns what a part raises into `PartFailed`, which becomes an error finding; a `UserError` passes through.

    The one place that catches everything: elsewhere a part that fails ends the run, and to find that out beforehand,
    for each check on its own, is what a doctor is for. Nothing becomes a number.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise PartFailed(doing, error) from error


@dataclass(frozen=True)
class Patient:
    """An opened environment, and how closely to look at it."""

    env: Environment
    main_measure: str = "nDCG@10"
    """The measure that ceilings are about: the recipe's first; its cutoff fits `env.k`."""
    group: int = 8
    """Completions of a need in a training step."""
    batch: int = 128
    """Completions that one process searches in one call."""
    step_seconds: float = 5.0
    """What a training step is assumed to take without its search."""
    sample: int = 200
    """Items, needs or queries that a check looks at, at most."""
    cut: bool = False
    """Whether the sample is smaller than what was asked for, because the engine is slow."""
    without_cache: bool = False
    """Whether the recipe's retriever has a cache, which was left out: it would hide what the engine does."""
    seed: int = 0
    opened: Mapping[str, float] = field(default_factory=dict)
    """Seconds that opening took: "task", "index"."""

    @property
    def catalog(self) -> Catalog:
        """All items."""
        return self.env.task.catalog

    @property
    def matches_everything(self) -> bool:
        """Whether the retriever declares that every item has a score for every query (dense vectors)."""
        return bool(getattr(self.env.retriever, "matches_everything", False))

    def rng(self, purpose: str) -> Generator:
        """Random numbers of their own for each purpose, so that one check does not change another."""
        return default_rng([self.seed, zlib.crc32(purpose.encode())])

    def some(self, items: Sequence[Item], purpose: str, most: int | None = None) -> list[Item]:
        """At most `sample` of the items, drawn by the seed, in their order."""
        most = self.sample if most is None else most
        if len(items) <= most:
            return list(items)
        return [items[place] for place in np.sort(self.rng(purpose).choice(len(items), most, replace=False))]

    def search(self, queries: Sequence[Query], k: int | None = None) -> Hits:
        """Hits (Q, k) with the recipe's k unless another is said; raises `PartFailed` where the retriever fails."""
        env = self.env if k is None else Environment(self.env.task, self.env.retriever, (), k)
        with watching(f"searching {_first(queries)}"):
            return env.search(queries)

    def pay(self, needs: Sequence[Need], queries: Sequence[str]) -> Step:
        """The environment's own step, as if the policy had written query i for need i."""
        env = self.env.with_format(Verbatim())
        with watching(f"rewarding {_first(queries)}"):
            step = env.step(needs, [chat_with(env.format.render(n), q) for n, q in zip(needs, queries, strict=True)])
            if step.faults:  # a number that is absent must not look like one
                raise next(iter(step.faults.values()))
        return step

    def unparsed(self, queries: Sequence[Query]) -> int:
        """How many of some queries the retriever cannot parse; 0 where it does not count them, in `unparsed`."""
        engine = self.env.retriever
        if not hasattr(engine, "unparsed"):
            return 0
        before = int(engine.unparsed)
        self.search(queries, 1)
        return int(engine.unparsed) - before

    @cached_property
    def splits(self) -> dict[str, Sequence[Need]]:
        """The needs of every split that the task has."""
        return splits_of(self.env.task)

    @cached_property
    def needs(self) -> list[Need]:
        """The needs of all splits."""
        return [need for needs in self.splits.values() for need in needs]

    @cached_property
    def judged(self) -> list[Need]:
        """A sample of the needs whose answer key can be used; what is wrong with the others, the check "qrels" says."""
        qrels, items = self.env.task.qrels, len(self.catalog)
        sound = [
            need for need in self.needs if (key := qrels.get(need.id)) and key.positives and key.rows_J[-1] < items
        ]
        return self.some(sound, "needs")

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What each item is called: its title, or the beginning of its text."""
        if "title" in self.catalog.fields:
            return tuple(" ".join(title.split()) for title in self.catalog.column("title"))
        return tuple(" ".join(text.split()[:12]) for text in self.catalog.texts)

    @cached_property
    def probes(self) -> list[int]:
        """A sample of rows with a title, over the whole catalog."""
        return self.some([row for row, title in enumerate(self.titles) if title], "probes")

    @cached_property
    def title_hits(self) -> Hits:
        """What the titles of `probes` find."""
        return self.search([self.titles[row] for row in self.probes])

    @cached_property
    def _content(self) -> tuple[Analyzer, frozenset[str]]:
        return Analyzer(lowercase=False), Analyzer(stopwords="english_plus").stopwords

    def content_words(self, text: str) -> list[str]:
        """The different words of a text that any engine should know: three letters or more, no English stop words."""
        analyzer, stopwords = self._content
        words = dict.fromkeys(analyzer.terms(text))
        return [word for word in words if len(word) >= 3 and word.isalnum() and word.lower() not in stopwords]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Different content words of a sample of items' titles, or texts where titles have none; sorted."""
        rows = self.some(range(len(self.catalog)), "vocabulary", 2000)
        words = {word for row in rows for word in self.content_words(self.titles[row])}
        return sorted(words or {word for row in rows for word in self.content_words(self.catalog.texts[row])})


def _first(queries: Sequence[Query]) -> str:
    text = repr(queries[0]) if queries else "nothing"
    shown = text if len(text) <= 80 else text[:77] + "..."
    return shown if len(queries) <= 1 else f"{shown} and {len(queries) - 1} others"
