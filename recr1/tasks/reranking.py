"""The task of re-ranking: the needs of another task, each with candidates that the policy reads and puts in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.base import HasTextFields, Task, splits_of
from recr1.tasks.splits import unit_hash
from retrievers.abilities import max_k_of
from retrievers.base import Retriever
from retrievers.options import PositiveInt, checked
from rewards.base import Candidate, Need

_QUERIES = 512
"""Needs in one search."""


@checked
class RerankingTask:
    """The needs of another task with up to 40 candidates each, which the policy reads and puts in order.

    Catalog, splits and answer keys are those of the other task; its format is not used. Candidates are the judged items
    of a need, or the first that a retriever finds for the text of the need. Their order is drawn by `seed` for each
    need, so that a place says nothing. A need with fewer than two candidates, or without a relevant one, is left out
    and counted. The answer key stays whole: a measure also counts relevant items that are no candidates; the ceiling
    says what can be reached.

    Nothing is searched for an answer. The recipe's `retriever` orders the candidates for the floor, and `k` is how many
    places of a list are measured.

    Args:
        task: the other task, as a recipe writes it.
        candidates: "judged", or a retriever as a recipe writes it: {type: bm25}.
        count: candidates of a need, at most. Of more judged items these are drawn by `seed`, and the need is counted.
        field: the field of the catalog that the policy reads of an item; null for its title, or its text without one.
        words: words of it, at most.
        seed: draws the order, and the candidates of a need with more judged items.
        format: prompt and parser, `{type: ranking}` by default.
    """

    nested: ClassVar[Mapping[str, str]] = {"candidates": "retriever"}

    def __init__(
        self,
        *,
        task: dict[str, Any],
        candidates: Literal["judged"] | dict[str, Any] = "judged",
        count: Annotated[int, Ge(2), Le(40)] = 20,
        field: str | None = None,
        words: PositiveInt = 30,
        seed: int = 0,
        format: dict[str, Any] | None = None,
    ) -> None:
        inner: Task = build("task", task, path="task")
        self.format = build("format", format or {"type": "ranking"}, path="task.format")
        self.catalog, self.qrels = inner.catalog, inner.qrels
        if isinstance(inner, HasTextFields):
            self.text_fields = inner.text_fields
        if field is not None and field != "texts" and field not in inner.catalog.fields:
            raise UserError(f"field: the catalog has no field '{field}' (fields: {', '.join(inner.catalog.fields)})")
        self._column = inner.catalog.column(field) if field else None
        self._words, self._seed, self._count = words, seed, count
        self._inner, counts = inner, Counter[str](inner.counts)
        retriever: Retriever | None = None
        if isinstance(candidates, Mapping):
            retriever = build("retriever", candidates, inner.catalog, path="candidates")
            if (most := max_k_of(retriever)) is not None and most < count:
                raise UserError(f"count: must be at most {most}, what the retriever finds at most, got {count}")
        self._needs = {
            split: tuple(self._with_candidates(needs, retriever, counts)) for split, needs in splits_of(inner).items()
        }
        self.counts: Mapping[str, int] = {what: count for what, count in counts.items() if count}
        for split, needs in self._needs.items():
            if not needs:
                raise UserError(
                    f"the split '{split}' is empty: no need has two candidates and a relevant one among them; raise "
                    "count, or take other candidates"
                )

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split with their candidates; raises `UserError` for a split that does not exist."""
        return self._needs[split] if split in self._needs else self._inner.needs(split)

    def _with_candidates(
        self, needs: Sequence[Need], retriever: Retriever | None, counts: Counter[str]
    ) -> Iterator[Need]:
        for need, rows in self._rows(needs, retriever):
            drawn = sorted(rows, key=lambda row: unit_hash(self._seed, f"{need.id}\0{self.catalog.ids[row]}"))
            counts["needs with more judged items than candidates"] += len(drawn) > self._count
            shown = drawn[: self._count]
            if len(shown) < 2:
                counts["needs left out, fewer than two candidates"] += 1
            elif not any(self.qrels[need.id].get(row, 0) > 0 for row in shown):
                counts["needs left out, no relevant candidate"] += 1
            else:
                candidates = tuple(Candidate(row, self._text(row)) for row in shown)
                yield Need(need.id, need.text, need.history, candidates)

    def _rows(self, needs: Sequence[Need], retriever: Retriever | None) -> Iterator[tuple[Need, Sequence[int]]]:
        if retriever is None:
            yield from ((need, list(self.qrels[need.id])) for need in needs)
            return
        for start in range(0, len(needs), _QUERIES):
            block = needs[start : start + _QUERIES]
            hits = retriever.search([need.text for need in block], self._count)
            yield from ((need, rows[rows >= 0].tolist()) for need, rows in zip(block, hits.rows_QK, strict=True))

    def _text(self, row: int) -> str:
        text = self.catalog.title(row) if self._column is None else self._column[row]
        return " ".join(text.split()[: self._words]) or self.catalog.ids[row]
