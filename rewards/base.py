"""What a reward is given: what was wanted (Need, Qrels), what was done (Action, Rollout), what was found (Batch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrievers.abilities import RanksWith
from retrievers.base import Catalog, Floats, Hits, Query, Rows


class Message(TypedDict):
    """One turn of a chat: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


Chat: TypeAlias = Sequence[Message]
Doubles: TypeAlias = NDArray[np.float64]


class Qrels(Mapping[int, int]):
    """The answer key to one need: catalog row -> grade (an integer; above zero means relevant).

    A read-only mapping that also holds its content as arrays sorted by row (`rows_J`, `grades_J`) and the positive
    grades from best to worst (`ideal_J`), made once for many rankings. `gains` is what the task says that a grade is
    worth, for the measures that read it (`nDCG(gain=task)@10`). `gold` is the right answer to a need that is
    answered in text: "4", "soft, warm", a title. `measure` names the measure that `Own@k` takes for this need.
    Raises `ValueError` for a negative row or a positive grade without a gain, and `TypeError` for a grade that is not
    an integer (0.5 must not become 0).
    """

    __slots__ = ("_grades", "gains", "gold", "grades_J", "ideal_J", "measure", "rows_J")

    def __init__(
        self,
        grades: Mapping[int, int],
        gains: Mapping[int, float] | None = None,
        gold: str | None = None,
        measure: str | None = None,
    ) -> None:
        self.gold, self.measure = gold, measure
        self._grades = dict(sorted(grades.items()))
        # Not int32 as other rows: these index, many times over, and numpy would convert them each time.
        self.rows_J = np.fromiter(self._grades.keys(), np.intp, len(self._grades))
        self.grades_J = np.fromiter(map(index, self._grades.values()), np.int32, len(self._grades))
        self.ideal_J = np.sort(self.grades_J[self.grades_J > 0])[::-1]
        for array_J in (self.rows_J, self.grades_J, self.ideal_J):
            array_J.setflags(write=False)
        if len(self.rows_J) and self.rows_J[0] < 0:
            raise ValueError(f"a judgement has row {self.rows_J[0]}: rows are positions in the catalog, from 0 on")
        self.gains = gains
        without = [] if gains is None else sorted({int(grade) for grade in self.ideal_J} - set(gains))
        if without:
            raise ValueError(f"grade {without[0]} has no gain; the gains have grades {sorted(gains or ())}")

    def __getitem__(self, row: int) -> int:
        return self._grades[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self._grades)

    def __len__(self) -> int:
        return len(self._grades)

    def __repr__(self) -> str:
        return f"Qrels({self._grades})"

    @property
    def positives(self) -> int:
        """How many items have a grade above zero."""
        return len(self.ideal_J)


EMPTY = int(np.iinfo(np.int32).min)
"""The grade of a place without an item: below every other."""
UNJUDGED = EMPTY + 1
"""The grade of an unjudged item: below every real grade."""


class Graded(NamedTuple):
    """Rankings joined with their answer keys, once for all measures.

    `grades_BK[b, k]` is the grade of the item in place k of ranking b: `UNJUDGED` if it has none, `EMPTY` if there is
    no item. `rows_BK` are the items, and `catalog`, if there is one, holds their fields. `answers_B` are the texts of
    those that answer in text, and `asked_B` the texts of their needs; None where only rankings are measured. `ranker`
    ranks again with such a text as that of an item, if the retriever can.
    """

    grades_BK: NDArray[np.int32]
    qrels_B: Sequence[Qrels]
    rows_BK: Rows
    catalog: Catalog | None = None
    answers_B: Sequence[str | None] | None = None
    asked_B: Sequence[str] | None = None
    ranker: RanksWith | None = None

    @classmethod
    def join(cls, rows_BK: Rows, qrels_B: Sequence[Qrels], catalog: Catalog | None = None) -> Graded:
        """Looks every ranked row up in the answer key of its ranking; -1 in `rows_BK` is a place without an item."""
        if rows_BK.ndim != 2 or len(rows_BK) != len(qrels_B):
            raise ValueError(f"rankings of shape {rows_BK.shape} need an answer key each, got {len(qrels_B)} keys")
        # One table of the whole catalog, written and cleared for each ranking: ten times as fast as a binary search.
        # It is one longer than the catalog, so that row -1 reads its last place, which is always EMPTY.
        size = 1 + max([int(rows_BK.max(initial=-1)), *(int(q.rows_J[-1]) for q in qrels_B if len(q))], default=-1)
        grade_of_row = np.full(size + 1, UNJUDGED, np.int32)
        grade_of_row[-1] = EMPTY
        grades_BK = np.empty(rows_BK.shape, np.int32)
        for rows_K, qrels, grades_K in zip(rows_BK, qrels_B, grades_BK, strict=True):
            grade_of_row[qrels.rows_J] = qrels.grades_J
            grade_of_row.take(rows_K, out=grades_K, mode="wrap")
            grade_of_row[qrels.rows_J] = UNJUDGED
        return cls(grades_BK, qrels_B, rows_BK, catalog)

    @property
    def first_relevant(self) -> NDArray[np.int64]:
        """(B,) the rank of the first relevant item of each ranking; 0 if it has none."""
        relevant_BK = self.grades_BK > 0
        return np.where(relevant_BK.any(axis=1), relevant_BK.argmax(axis=1) + 1, 0)

    def of(self, places: NDArray[np.integer[Any]]) -> Graded:
        """Some of the rankings, in the order of `places`."""
        qrels_B, answers_B, asked_B = (
            None if column is None else [column[place] for place in places]
            for column in (self.qrels_B, self.answers_B, self.asked_B)
        )
        assert qrels_B is not None
        part = {"grades_BK": self.grades_BK[places], "qrels_B": qrels_B, "rows_BK": self.rows_BK[places]}
        return self._replace(**part, answers_B=answers_B, asked_B=asked_B)

    def cut(self, depth: int) -> Graded:
        """The first `depth` places."""
        return self._replace(grades_BK=self.grades_BK[:, :depth], rows_BK=self.rows_BK[:, :depth])

    def condensed(self) -> Graded:
        """The rankings without unjudged items: the others move up, and the last places become empty.

        A negative grade is unjudged here, as in trec_eval.
        """
        lost_BK = self.grades_BK < 0
        order_BK = np.argsort(lost_BK, axis=1, kind="stable")
        grades_BK = np.take_along_axis(np.where(lost_BK, np.int32(EMPTY), self.grades_BK), order_BK, axis=1)
        rows_BK = np.take_along_axis(np.where(lost_BK, np.int32(-1), self.rows_BK), order_BK, axis=1)
        return self._replace(grades_BK=grades_BK, rows_BK=rows_BK)


class Candidate(NamedTuple):
    """An item that the policy is shown to choose from: its catalog row, and the text that the policy reads."""

    row: int
    text: str


@dataclass(frozen=True)
class Need:
    """What a shopper wants. It holds nothing that the policy may not see: no qrels, and no item but the candidates."""

    id: str
    text: str
    history: tuple[int, ...] = ()
    """Catalog rows of this user's past interactions, oldest first; empty for plain search."""
    candidates: tuple[Candidate, ...] = ()
    """The items to choose from, in the order in which they are shown; empty where the policy sees none."""
    family: str = ""
    """Which task of a `mixed` one it belongs to; empty elsewhere."""
    person: str = ""
    """What the text says about the person besides the need, such as "gender=female"; empty for nothing."""

    def in_order(self, places: Sequence[int]) -> Need:
        """The same need with its candidates in another order: their places now, in the new order."""
        return replace(self, candidates=tuple(self.candidates[place] for place in places))

    def of_person(self, attribute: str, word: str, sentence: str) -> Need:
        """The same need of a person who says a word of themselves: `sentence` has {word} and {need}."""
        text = sentence.replace("{word}", word).replace("{need}", self.text)
        return replace(self, text=text, person=f"{attribute}={word}")


class Search(NamedTuple):
    """The completion is a query."""

    query: Query


class Recommend(NamedTuple):
    """The completion names items itself: catalog rows, best first, each once. Nothing is searched."""

    rows: tuple[int, ...]
    mended: tuple[str, ...] = ()
    """What was wrong with the answer, where the format mends it: short, countable phrases."""


class Answer(NamedTuple):
    """The completion answers in text: a rating, a title, an explanation. Nothing is searched; it has no hits."""

    text: str


class Invalid(NamedTuple):
    """The completion is not an answer; `reason` is a short, countable phrase ("empty query")."""

    reason: str


Action: TypeAlias = Search | Recommend | Answer | Invalid


@dataclass(frozen=True)
class Rollout:
    """One attempt at one need: the chat, whose last message is the completion, and the action that it means."""

    need: Need
    chat: Chat
    action: Action

    @property
    def completion(self) -> str:
        """The text that the policy wrote."""
        return self.chat[-1]["content"]


class Found(NamedTuple):
    """What one retriever found for B rollouts, and for their raw needs if some reward needs that."""

    hits: Hits
    raw_hits: Hits | None

    def of(self, places: NDArray[np.integer[Any]]) -> Found:
        """The same for some of the rollouts."""
        return Found(self.hits.of(places), None if self.raw_hits is None else self.raw_hits.of(places))


@dataclass(frozen=True)
class Batch:
    """All that a reward may look at; row i of every member belongs to rollout i.

    `hits` are (B, K): -1 everywhere for an Invalid action or an Answer. `raw_hits`, those of the raw need's text, are
    there only if some reward declares `needs_raw_hits = True`. `catalog` is what was searched: an environment
    always sets it, a batch made by hand may have none, and a reward that reads the catalog refuses that batch.
    `elsewhere` is what other retrievers found, by the names under which rewards declare them in their own `elsewhere`.
    `training_step` is how many steps of training are done, None in evaluation.
    """

    rollouts: Sequence[Rollout]
    hits: Hits
    qrels: Sequence[Qrels]
    raw_hits: Hits | None = None
    catalog: Catalog | None = None
    elsewhere: Mapping[str, Found] = field(default_factory=dict)
    training_step: int | None = None
    ranker: RanksWith | None = None

    def __len__(self) -> int:
        return len(self.rollouts)

    @cached_property
    def graded(self) -> Graded:
        """The hits with their grades; made when a reward first asks, then shared by all rewards."""
        answers_B = [r.action.text if isinstance(r.action, Answer) else None for r in self.rollouts]
        asked_B = [rollout.need.text for rollout in self.rollouts]
        joined = Graded.join(self.hits.rows_QK, self.qrels, self.catalog)
        return joined._replace(answers_B=answers_B, asked_B=asked_B, ranker=self.ranker)

    def of(self, places: NDArray[np.integer[Any]]) -> Batch:
        """Some of the rollouts, in the order of `places`, with everything that belongs to them."""
        hits, raw_hits = Found(self.hits, self.raw_hits).of(places)
        return replace(
            self,
            rollouts=[self.rollouts[place] for place in places],
            hits=hits,
            qrels=[self.qrels[place] for place in places],
            raw_hits=raw_hits,
            elsewhere={name: found.of(places) for name, found in self.elsewhere.items()},
        )


@runtime_checkable
class Reward(Protocol):
    """A number per rollout that the trainer maximises. Built as `cls(*, options)`.

    `name` ("nDCG@10") is the same in recipes, logs and tables, and unique among the rewards of a recipe. What a reward
    may declare beyond this is in `rewards.abilities`.
    """

    name: str

    def __call__(self, batch: Batch) -> Floats:
        """(B,) float32, every number finite."""
        ...
