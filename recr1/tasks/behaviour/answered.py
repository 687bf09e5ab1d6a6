"""Needs about an item of a person that are answered in text: what tasks about ratings, reviews and titles share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.source import Past, Review, Source
from recr1.tasks.splits import unit_hash, without_leaks
from retrievers.options import PositiveInt
from rewards.base import Need, Qrels


@dataclass(kw_only=True, eq=False)
class AnsweredTask(ABC):
    """A need for each item that a person takes next. A subclass says what is asked, and what the right answer is.

    The text of a need is one of three templates. Two are used by turns; the third asks the same in other words, and is
    there to be evaluated on by a policy that never saw it (`task.template=held_out`).
    """

    templates: ClassVar[tuple[str, str, str]]
    """With {past} for the last items and their ratings, {item} for the item, {review} and {stars}; the last is held."""
    lacking: ClassVar[str]
    """Why there may be no answer at all."""

    source: dict[str, Any]
    """Where behaviour comes from, a part: {type: people}."""
    template: Literal["seen", "held_out"] = "seen"
    """Two prompt templates by turns, or a third one."""
    fields: list[str] | None = None
    """Fields of the catalog that the policy reads of an item; null for its title. Without any text, it reads the id."""
    words: PositiveInt = 12
    """Words of an item, at most."""
    format: dict[str, Any] | None = None
    """Prompt and parser, `{type: answer}` by default."""

    def __post_init__(self) -> None:
        self._source: Source = build("source", self.source, path="source")
        self.catalog, self.text_fields = self._source.catalog, self._source.text_fields
        for name in self.fields or ():
            if name != "texts" and name not in self.catalog.fields:
                raise UserError(f"fields: the catalog has no field '{name}' (fields: {', '.join(self.catalog.fields)})")
        self._columns = [
            self.catalog.texts if one == "texts" else self.catalog.fields[one] for one in self.fields or ()
        ]
        self.format = build("format", self.format or self.usual_format(), path="task.format")
        self.qrels: dict[str, Qrels] = {}
        self._pasts: dict[str, tuple[Past, int]] = {}
        left_out = Counter(self._source.counts)
        made = {split: list(self._made(split, left_out)) for split in SPLITS if self._source.all_pasts.get(split)}
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

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split; raises `UserError` for a split that the source does not have."""
        if split not in self._needs:
            self._source.pasts(split)  # says which there are
        return self._needs[split]

    def plain_answers(self, need: Need) -> Mapping[str, str]:
        """What can be answered without a model, the floor first."""
        return self.plain(*self._pasts[need.id])

    @abstractmethod
    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The right answer about an item of a rating and a review; None where there is none."""

    @abstractmethod
    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """What can be answered about an item without a model, the floor first."""

    def shown_past(self, past: Past) -> str:
        """What the policy reads of a person's past."""
        return ""

    def _made(self, split: str, left_out: Counter[str]) -> Iterator[Need]:
        for past in self._source.pasts(split):
            for place, (row, value) in enumerate(zip(past.targets, past.target_values, strict=True)):
                review = self._source.reviews.get((past.user, row))
                gold = self.gold(past, row, value, review)
                if gold is None:
                    left_out["needs left out, no answer in the data"] += 1
                    continue
                name = f"{past.id}.{place}"
                template = self.templates[2 if self.template == "held_out" else int(unit_hash(0, name) < 0.5)]
                said = {"review": review.text if review else "", "stars": f"{value:g}"}
                # What an item or a review says is not searched for slots.
                text = template.format_map({**said, "past": self.shown_past(past), "item": self.shown(row)})
                self.qrels[name] = Qrels({row: 1}, gold=gold)
                self._pasts[name] = past, row
                yield Need(name, text, past.history)

    def shown(self, row: int) -> str:
        """What the policy reads of an item: its fields, or its title, or its id where these are empty."""
        text = " ".join(_text(column[row]) for column in self._columns) or self.catalog.title(row)
        return " ".join(text.split()[: self.words]) or self.catalog.ids[row]


@dataclass(kw_only=True, eq=False)
class PastTask(AnsweredTask):
    """A task whose policy reads the last items of a person, with their ratings."""

    last: PositiveInt = 4
    """How many of the person's last items are shown, with their ratings."""

    def shown_past(self, past: Past) -> str:
        """A line for each item, its rating first."""
        pairs = list(zip(past.history, past.values, strict=True))[-self.last :]
        return "\n".join(f"{stars:g} {self.shown(one)}" for one, stars in pairs)


def _text(cell: Any) -> str:
    if isinstance(cell, list | tuple):
        return " ".join(map(str, cell))
    return "" if cell is None or cell != cell else str(cell)  # noqa: PLR0124 - NaN
