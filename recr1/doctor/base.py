"""What a check gets (`Setup`) and what it returns (`Finding`)."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.random import Generator, default_rng

from recr1.baselines.without_model import Verbatim
from recr1.env import Environment, Step, chat_with
from recr1.errors import UserError, examples
from recr1.evaluate.references import BEST_ITEMS, TEXT_WORDS
from recr1.formats import Format
from recr1.tasks.base import splits_of
from retrievers.abilities import HasUnparsed
from retrievers.analyzer import Analyzer, has_word, usual_stopwords
from retrievers.base import Catalog, Hits, Query, Rows
from retrievers.errors import EngineError, MissingAnswers, PermanentError
from rewards.base import Need, Qrels

Verdict: TypeAlias = Literal["ok", "warning", "error"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "error")  # from best to worst
UNKNOWN = "zxqvjk"
"""A word that no catalog has."""

Item = TypeVar("Item")
_CASED = Analyzer(lowercase=False)


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    name: str
    verdict: Verdict
    message: str
    """What was found and, where something is wrong, what to do."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What the verdict is based on, as plain JSON values."""
    shown: str = ""
    """Text to print as it is: the rendered prompt."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        known = {"name": self.name, "verdict": self.verdict, "message": self.message, "numbers": dict(self.numbers)}
        return known | ({"shown": self.shown} if self.shown else {})


class Fault(NamedTuple):
    """One thing that is wrong, or that a reader should know."""

    verdict: Verdict
    message: str


class Faults:
    """The faults of a check, each with the name under which docs/doctor.md lists it, and the numbers behind them."""

    def __init__(self) -> None:
        self.problems: list[Fault] = []
        self.numbers: dict[str, Any] = {}

    def add(self, name: str, verdict: Verdict, what: str) -> None:
        """One fault, whatever was counted."""
        self.problems.append(Fault(verdict, f"{name}: {what}"))

    def share(self, name: str, found: Sequence[str], of: int, what: str, *, warn: float, fail: float = 2) -> None:
        """A fault if `found` are the share `warn` of all or more, and an error from the share `fail` on.

        `what` says what they do, and the remedy, with "{}" where examples are shown.
        """
        key = name.replace(" ", "_")
        self.numbers[key] = self.numbers.get(key, 0) + len(found)
        if found and len(found) >= warn * of:
            different = dict.fromkeys(text if len(text) <= 40 else text[:37] + "..." for text in found)
            said = what.replace("{}", f"({examples(list(different), 2)})")
            self.add(name, "error" if len(found) >= fail * of else "warning", f"{len(found)} of {of} {said}")


def finding(name: str, problems: Sequence[Fault], ok: str, numbers: Mapping[str, Any], shown: str = "") -> Finding:
    """The finding of some problems, the worst first; `ok` is the message without any."""
    ranked = sorted(problems, key=lambda problem: -VERDICTS.index(problem.verdict))
    verdict = ranked[0].verdict if ranked else "ok"
    return Finding(name, verdict, "; ".join(problem.message for problem in ranked) or ok, numbers, shown)


def graded(share: float, *, warn_below: float, fail_below: float, of: int | None = None) -> Verdict:
    """The verdict on the share of probes that passed; of few (`of`), one failure beyond the allowed share is chance."""
    if of is not None and (warn_below - share) * of <= 1:
        return "ok"
    return "error" if share < fail_below else "warning" if share < warn_below else "ok"


class PartFailed(Exception):  # noqa: N818 - it says what happened
    """A part of the recipe raised an exception; the message says which, what and where.

    `remote`: it is the error of an engine behind a network. `unreachable`: that engine answered no query at all.
    """

    def __init__(self, action: str, error: BaseException) -> None:
        self.remote, self.unreachable = isinstance(error, EngineError), False
        if isinstance(error, MissingAnswers) and len(error.faults) == len(error.hits.rows_QK):
            self.unreachable = not any(isinstance(one.__cause__, PermanentError) for one in error.faults.values())
        text = " ".join(str(error).split())
        if self.remote:  # the message names the engine and the cause; the place in our code does not help
            super().__init__(f"{action} failed: {text[:500]}")
            return
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        super().__init__(f"{action} raised {type(error).__name__}: {text[:300]}{place}")


@contextmanager
def catching(action: str) -> Iterator[None]:
    """Turns any exception into `PartFailed`, which becomes an error finding; that and a `UserError` pass through.

    The only place that catches everything: elsewhere an exception ends the run, and the doctor is there to find it
    before.
    """
    try:
        yield
    except (PartFailed, UserError):
        raise
    except Exception as error:
        raise PartFailed(action, error) from error


@dataclass(frozen=True)
class Setup:
    """The opened environment of a recipe, and how many samples the checks take of it."""

    env: Environment
    main_measure: str = "nDCG@10"
    """The recipe's first measure; its cutoff fits `env.k`."""
    group: int = 8
    """Completions of a need in a training step."""
    batch: int = 128
    """Completions that one process searches in one call."""
    step_seconds: float = 5.0
    """Assumed duration of a training step without its search."""
    sample: int = 200
    """Largest number of items, needs or queries that a check looks at."""
    reduced: bool = False
    """Whether the sample is smaller than requested, because the engine is slow."""
    without_cache: bool = False
    """Whether the cache of the recipe's retriever was left out: it would hide what the engine does."""
    seed: int = 0
    opened: Mapping[str, float] = field(default_factory=dict)
    """Seconds of "task" and "index", of the "first" search ("first_busy": of the processor), of one "query", and of
    "each" query in a batch."""
    _best: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False)

    @property
    def catalog(self) -> Catalog:
        """All items."""
        return self.env.task.catalog

    def rng(self, purpose: str) -> Generator:
        """Random numbers for one purpose, so that checks do not change each other."""
        return default_rng([self.seed, zlib.crc32(purpose.encode())])

    def sampled(self, items: Sequence[Item], purpose: str, most: int | None = None) -> list[Item]:
        """At most `sample` of the items, drawn by the seed, in their order."""
        most = self.sample if most is None else most
        if len(items) <= most:
            return list(items)
        return [items[place] for place in np.sort(self.rng(purpose).choice(len(items), most, replace=False))]

    def search(self, queries: Sequence[Query], k: int | None = None) -> Hits:
        """Hits (Q, k), with the recipe's k by default; raises `PartFailed` where the retriever fails."""
        env = self.env if k is None else Environment(self.env.task, self.env.retriever, (), k)
        with catching(f"searching {_first(queries)}"):
            return env.search(queries)

    def rows(self, queries: Sequence[Query], k: int | None = None) -> Rows:
        """Rows (Q, k) of what is found; without a query, nothing is searched."""
        return self.search(queries, k).rows_QK if queries else np.empty((0, k or self.env.k), np.int32)

    def reward(self, needs: Sequence[Need], queries: Sequence[str], form: Format | None = None) -> Step:
        """The environment's own step, as if the policy had written query i, or what `form` reads, for need i."""
        env = self.env.with_format(form or Verbatim())
        with catching(f"rewarding {_first(queries)}"):
            step = env.step(needs, [chat_with(env.format.render(n), q) for n, q in zip(needs, queries, strict=True)])
            if step.faults:  # a missing reward must not look like a number
                raise next(iter(step.faults.values()))
        return step

    def unparsed(self, queries: Sequence[Query]) -> int:
        """How many queries the retriever cannot parse; 0 where it does not count them in `unparsed`."""
        engine = self.env.retriever
        if not isinstance(engine, HasUnparsed):
            return 0
        before = engine.unparsed
        self.search(queries, 1)
        return engine.unparsed - before

    @cached_property
    def splits(self) -> dict[str, Sequence[Need]]:
        """The needs of every split that the task has."""
        return splits_of(self.env.task)

    @cached_property
    def needs(self) -> list[Need]:
        """The needs of all splits."""
        return [need for needs in self.splits.values() for need in needs]

    @cached_property
    def judged_needs(self) -> list[Need]:
        """A sample of the needs with a valid answer key; the check "qrels" reports the others."""
        return self.sampled(list(filter(self.best_rows, self.needs)), "needs")

    def best_rows(self, need: Need) -> list[int]:
        """The items of a need's highest grade, at most as many as the ceiling looks at; none without a valid key."""
        if need.id not in self._best:
            key = self.env.task.qrels.get(need.id, Qrels({}))
            valid = key.positives and key.rows_J[-1] < len(self.catalog)
            self._best[need.id] = key.rows_J[key.grades_J == key.ideal_J[0]][:BEST_ITEMS].tolist() if valid else []
        return self._best[need.id]

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """The title of each item, or the beginning of its text; nothing for one without a word, which is not found."""
        titles: Iterable[str] = map(self.catalog.title, range(len(self.catalog)))
        if "title" not in self.catalog.fields:
            titles = (" ".join(text.split()[:12]) for text in titles)
        return tuple(title if has_word(title) else "" for title in titles)

    def whole(self, row: int) -> str:
        """Title and text of an item, cut as the ceiling cuts texts."""
        return " ".join(f"{self.titles[row]} {self.catalog.texts[row]}".split()[:TEXT_WORDS])

    @cached_property
    def probes(self) -> list[int]:
        """A sample of the rows with a title, over the whole catalog."""
        return self.sampled([row for row, title in enumerate(self.titles) if title], "probes")

    @cached_property
    def title_hits(self) -> Hits:
        """What the titles of `probes` find."""
        return self.search([self.titles[row] for row in self.probes])

    @cached_property
    def words(self) -> list[str]:
        """One-word queries: a sample of the vocabulary."""
        return self.sampled(self.vocabulary, "one_word")

    @cached_property
    def word_hits(self) -> Hits:
        """What each of `words` finds."""
        return self.search(self.words)

    @cached_property
    def known_words(self) -> list[str]:
        """Those of `words` that find something."""
        return [word for word, row in zip(self.words, self.word_hits.rows_QK[:, 0], strict=True) if row >= 0]

    @cached_property
    def wants_all_words(self) -> bool:
        """Whether known words find nothing beside an unknown one: the engine joins the words of a query by AND."""
        words = self.sampled(self.known_words, "all words", 10)
        return bool(words) and bool((self.search([f"{word} {UNKNOWN}" for word in words]).rows_QK[:, 0] < 0).all())

    @cached_property
    def stopwords(self) -> frozenset[str]:
        """Those of English, and of the catalog's language."""
        return usual_stopwords(self.sampled(self.catalog.texts, "language", 200))

    def content_words(self, text: str) -> list[str]:
        """The different words of a text that any engine should index: no stop words, and three letters or more.

        In scripts without spaces, a sign is a word.
        """
        words = [word for word in dict.fromkeys(_CASED.terms(text)) if "_" not in word]
        return [word for word in words if (len(word) >= 3 or word >= "\u3041") and word.lower() not in self.stopwords]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Different content words of a sample of titles, or of texts where titles have none; sorted."""
        rows = self.sampled(range(len(self.catalog)), "vocabulary", 2000)
        words = {word for row in rows for word in self.content_words(self.titles[row])}
        return sorted(words or {word for row in rows for word in self.content_words(self.catalog.texts[row])})


def _first(queries: Sequence[Query]) -> str:
    text = repr(queries[0]) if queries else "nothing"
    shown = text if len(text) <= 80 else text[:77] + "..."
    return shown if len(queries) <= 1 else f"{shown} and {len(queries) - 1} others"
