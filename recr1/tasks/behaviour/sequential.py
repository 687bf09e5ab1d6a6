"""The tasks of what comes next: a need is what a user took before, and the next item or basket answers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from recr1.choosing import title_key
from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.source import Past, Source
from recr1.tasks.judged import JudgedTask
from recr1.tasks.tables import count_texts
from retrievers.abilities import max_k_of, reads_histories
from retrievers.base import Retriever
from retrievers.options import PositiveInt, checked
from rewards.base import Candidate, Need

_PROMPT = (
    "A user took these items, the oldest first:\n\n{need}\n\nWrite the query for a search engine that finds what they "
    "take next. Answer with the query alone, on one line."
)


@checked
@dataclass(kw_only=True, eq=False)
class SequentialTask(JudgedTask):
    """What a user takes next: the items of their next basket are relevant, all with grade 1.

    The text of a need is the titles of the last items, oldest first, one on each line; its history has the rows of all.
    Items that a user has already are neither asked for nor found, as no shop suggests them again, unless `repeats`. The
    answer is a query for an engine of texts, a history for a recommender (format `history`), or, with `candidates`, a
    list of these (`ranking`) or one of them (`pick_one`).

    With candidates, one item of the next basket, drawn by `seed`, is to be found among items that the user does not
    have, and only it is relevant. Their order is drawn for each need, so that a place says nothing, and no two have the
    same title. Needs without a new item, without two candidates, or with the text of a need of a later split are left
    out and counted.
    """

    nested: ClassVar[Mapping[str, str]] = {"distractors": "retriever"}
    usual: ClassVar[Mapping[str, Any]] = {"type": "plain", "prompt": _PROMPT}

    source: dict[str, Any]
    """Where behaviour comes from: {type: people}, or {type: interactions, path: FOLDER}."""
    last: PositiveInt = 10
    """Items that the text of a need shows."""
    candidates: Annotated[int, Ge(2), Le(40)] | None = None
    """Candidates of a need; null to search the whole catalog."""
    distractors: Literal["random"] | dict[str, Any] = "random"
    """The other candidates: drawn from all items by `seed`, or the first that a retriever finds for the need."""
    repeats: bool = False
    """Ask for items that the user has too, and let searches find them."""
    max_needs: PositiveInt | None = None
    """Keep at most this many needs of each split, chosen by hash; null for all."""
    seed: int = 0
    """Draws candidates and their order, and needs where there are more than `max_needs`."""
    format: dict[str, Any] | None = None  # type: ignore[assignment]
    """Prompt and parser; null for `{type: plain}`, with candidates `{type: ranking}`."""

    def __post_init__(self) -> None:
        usual = {"type": "ranking"} if self.candidates and self.usual["type"] == "plain" else self.usual
        self.format = build("format", self.format or usual, path="task.format")
        self.behaviour: Source = build("source", self.source, path="source")
        self.catalog, self.text_fields = self.behaviour.catalog, self.behaviour.text_fields
        self.hides_history = not self.repeats
        self._retriever: Retriever | None = None
        if isinstance(self.distractors, Mapping):
            self._retriever = build("retriever", self.distractors, self.catalog, path="distractors")
        counts, needs = Counter[str](self.behaviour.counts), dict[str, Need]()
        self.pasts: dict[str, Past] = {}
        judged: dict[str, dict[str, dict[int, int]]] = {}
        for split in SPLITS:
            judged[split] = {}
            for past in self.behaviour.all_pasts.get(split, ()):
                need, key = self._need(past, counts)
                if need is not None:
                    needs[need.id], self.pasts[need.id], judged[split][need.id] = need, past, key
        count_texts(needs, counts)
        judged = {split: keys for split, keys in judged.items() if keys}
        if not judged:
            why = "; ".join(f"{what}: {count:,}" for what, count in counts.items() if count)
            raise UserError(f"source: no user has a history and something new after it, so there is no need ({why})")
        paths = {split: Path(str(self.source.get("path", self.source["type"]))) for split in judged}
        self.settle(judged, needs, paths, counts, seed=self.seed, max_needs=self.max_needs)
        kept = set(self.qrels)
        self.pasts = {name: past for name, past in self.pasts.items() if name in kept}

    @property
    def group_of(self) -> dict[str, str]:
        """The group of people that each need's person is in, for an audit; "" for none."""
        return {name: self.behaviour.groups[past.user] for name, past in self.pasts.items()}

    def _need(self, past: Past, counts: Counter[str]) -> tuple[Need | None, dict[int, int]]:
        """The need of a past and its answer key; None where it is left out."""
        taken = set() if self.repeats else set(past.history)
        wanted = [row for row in past.targets if row not in taken]
        counts["targets left out, the user has them"] += len(past.targets) - len(wanted)
        if not past.history or not wanted:
            why = "nothing new after the history" if past.history else "no history"
            counts[f"needs left out, {why}"] += 1
            return None, {}
        text = "\n".join(map(self.catalog.title, past.history[-self.last :]))
        need = Need(past.id, text, past.history)
        if self.candidates is None:
            return need, dict.fromkeys(wanted, 1)
        rng = Random(f"{self.seed} {past.id}")
        true = rng.choice(wanted)
        rows = [true, *self._others(need, true, {*past.history, *past.targets}, rng)]
        if len(rows) < 2:
            counts["needs left out, fewer than two candidates"] += 1
            return None, {}
        counts["needs with fewer candidates, for want of items"] += len(rows) < self.candidates
        rng.shuffle(rows)
        shown = tuple(Candidate(row, self.catalog.title(row)) for row in rows)
        return Need(past.id, text, past.history, shown), {true: 1}

    def _others(self, need: Need, true: int, taken: set[int], rng: Random) -> list[int]:
        """Candidates besides the true one, none of them taken, all with different titles."""
        assert self.candidates is not None
        size = len(self.catalog)
        if self._retriever is not None:
            query = need.history if reads_histories(self._retriever) else need.text
            depth = min(size, self.candidates + len(taken), max_k_of(self._retriever) or size)
            rows: Sequence[int] = self._retriever.search([query], depth).rows_QK[0].tolist()
        else:
            rows = rng.sample(range(size), min(size, 2 * (self.candidates + len(taken)) + 20))
        titles, found = {title_key(self.catalog.title(true))}, list[int]()
        for row in rows:
            title = title_key(self.catalog.title(row)) if row >= 0 else ""
            if row >= 0 and row not in taken and title not in titles and len(found) < self.candidates - 1:
                titles.add(title)
                found.append(row)
        return found


@checked
@dataclass(kw_only=True, eq=False)
class PickOneTask(SequentialTask):
    """What a user takes next, among candidates of which one is true: the task of LLaRA and RSLLM.

    It is the task `sequential` with 20 candidates and the format `pick_one`. `Success@1` is the share of all answers
    that are right; an answer that is no candidate is invalid, and wrong. The literature (arXiv 2312.02445, 2412.16933)
    divides by valid answers only, and reports validity beside: evaluations print that too.
    """

    usual: ClassVar[Mapping[str, Any]] = {"type": "pick_one"}

    candidates: Annotated[int, Ge(2), Le(40)] | None = 20
    """Candidates of a need, the true one included."""

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        return ["candidates: must be an integer >= 2, got null"] if options.get("candidates", 20) is None else []
