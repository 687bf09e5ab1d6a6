"""Needs about an item of a person that are answered in text: what tasks about ratings, reviews and titles share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.source import Past, Review, Source
from recr1.tasks.splits import unit_hash, without_leaks
from retrievers.options import PositiveInt, checked
from rewards.base import Need, Qrels


@checked
class AnsweredTask(ABC):
    """A need for each item that a person takes next. A subclass says what is asked, and what the right answer is.

    The text of a need is one of three templates. Two are used by turns; the third asks the same in other words, and is
    there to be evaluated on by a policy that never saw it (`task.template=held_out`).
    """

    templates: ClassVar[tuple[str, str, str]]
    """With {past} for the last items and their ratings, {item} for the item, {review} and {stars}; the last is held."""
    lacking: ClassVar[str] = "it has no reviews: choose a source with reviews"
    """Why there may be no answer at all."""

    def __init__(
        self,
        *,
        source: dict[str, Any],
        template: Literal["seen", "held_out"] = "seen",
        last: PositiveInt = 4,
        fields: list[str] | None = None,
        words: PositiveInt = 12,
        format: dict[str, Any] | None = None,
    ) -> None:
        self._source: Source = build("source", source, path="source")
        self.catalog, self.text_fields = self._source.catalog, self._source.text_fields
        self._template, self._last, self._words = template, last, words
        for name in fields or ():
            if name != "texts" and name not in self.catalog.fields:
                raise UserError(f"fields: the catalog has no field '{name}' (fields: {', '.join(self.catalog.fields)})")
        self._columns = [self.catalog.texts if name == "texts" else self.catalog.fields[name] for name in fields or ()]
        self.format = build("format", format or self.usual_format(), path="task.format")
        self.qrels: dict[str, Qrels] = {}
        self._pasts: dict[str, tuple[Past, int]] = {}
        left_out = Counter(self._source.counts)
        made = {split: list(self._made(split, left_out)) for split in SPLITS if self._has(split)}
        self._needs: Mapping[str, Sequence[Need]] = without_leaks(made)
        left_out["needs left out, the same text in a later split"] = sum(
            len(needs) - len(self._needs[split]) for split, needs in made.items()
        )
        self.counts: Mapping[str, int] = {what: count for what, count in left_out.items() if count}
        if not any(self._needs.values()):
            raise UserError(f"source: no need has an answer, as {self.lacking}")

    def usual_format(self) -> dict[str, Any]:
        """The format by default."""
        return {"type": "answer"}

    def _has(self, split: str) -> bool:
        try:
            return bool(self._source.pasts(split))
        except UserError:
            return False

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split; raises `UserError` for a split that the source does not have."""
        if split not in self._needs:
            self._source.pasts(split)  # says which there are
        return self._needs[split]

    def plain_answers(self, need: Need) -> Mapping[str, str]:
        """What can be answered without a model, the floor first."""
        past, row = self._pasts[need.id]
        return self.plain(past, row)

    @abstractmethod
    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The right answer about an item of a rating and a review; None where there is none."""

    @abstractmethod
    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """What can be answered about an item without a model, the floor first."""

    def _made(self, split: str, left_out: Counter[str]) -> Iterator[Need]:
        for past in self._source.pasts(split):
            for place, (row, value) in enumerate(zip(past.targets, past.target_values, strict=True)):
                review = self._source.reviews.get((past.user, row))
                gold = self.gold(past, row, value, review)
                if gold is None:
                    left_out["needs left out, no answer in the data"] += 1
                    continue
                need = Need(f"{past.id}.{place}", "", past.history)
                text = self._text(need.id, past, row, value, review)
                self.qrels[need.id] = Qrels({row: 1}, gold=gold)
                self._pasts[need.id] = past, row
                yield Need(need.id, text, past.history)

    def _text(self, name: str, past: Past, row: int, value: float, review: Review | None) -> str:
        template = self.templates[2 if self._template == "held_out" else int(unit_hash(0, name) < 0.5)]
        pairs = list(zip(past.history, past.values, strict=True))[-self._last :]
        before = "\n".join(f"{stars:g} {self.shown(one)}" for one, stars in pairs)
        parts = {
            "past": before,
            "item": self.shown(row),
            "review": review.text if review else "",
            "stars": f"{value:g}",
        }
        return template.format_map(parts)  # what an item or a review says is not searched for slots

    def shown(self, row: int) -> str:
        """What the policy reads of an item: its fields, or its title."""
        if not self._columns:
            return " ".join(self.catalog.title(row).split()[: self._words])
        cells = (column[row] for column in self._columns)
        texts = (" ".join(map(str, cell)) if isinstance(cell, list | tuple) else str(cell) for cell in cells)
        return " ".join(" ".join(texts).split()[: self._words])

    @cached_property
    def train_reviews(self) -> list[Review]:
        """The reviews of events to learn from, and of training needs."""
        events = self.catalog.interactions
        assert events is not None
        pairs = zip(events["user"].tolist(), events["row"].tolist(), strict=True)
        asked = ((past.user, row) for past in self._source.pasts("train") for row in past.targets)
        return [self._source.reviews[pair] for pair in (*pairs, *asked) if pair in self._source.reviews]
