"""The task of rewriting items: a need is the text of an item, and the answer a new text, paid by what it does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from recr1.config.build import build
from recr1.errors import UserError
from recr1.tasks.behaviour.source import Source
from recr1.tasks.splits import hash_split, share_problem
from retrievers.behaviour.base import History, matrix_of
from retrievers.options import NonNegativeInt, PositiveInt, PositiveShare, checked
from rewards.base import Need, Qrels
from rewards.guards.words import says, words_of
from rewards.rewriting import Held

_SHARES = {"train": 0.65, "validation": 0.15, "test": 0.2}


@checked
class AugmentTask:
    """Items of a source of behaviour: the policy reads the text of one, and writes a better text for it.

    LLM-Rec (arXiv 2307.15780) with the recommender's own ranking as the reward. Items and people are both split: texts
    of training items are judged by the users of the training events, those of validation and test items by the
    held-out users of these splits, so that the source needs `split: users`. An item that nobody of its split took is
    left out and counted. The recipe's retriever must rank with a changed text, as `content` does, of the same `field`.

    Args:
        source: where items and people come from, a part: {type: people, split: users}.
        field: the field of the catalog that is rewritten.
        neighbours: how many titles follow the item's text, one a line: those of the items that are most often taken by
            the same people in training events (cosine).
        truth: a field with lists of words that are true of an item. Those that its text lacks are added to it for the
            ceiling of an evaluation; null for none.
        users: how many people who took an item, and how many who did not, judge a text of it.
        shares: the shares of the items of each split; null for 0.65, 0.15 and 0.2.
        seed: draws the split of items, and people.
        format: prompt and parser, `{type: answer}` by default.
    """

    def __init__(
        self,
        *,
        source: dict[str, Any],
        field: str = "title",
        neighbours: NonNegativeInt = 0,
        truth: str | None = None,
        users: PositiveInt = 30,
        shares: dict[str, PositiveShare] | None = None,
        seed: int = 0,
        format: dict[str, Any] | None = None,
    ) -> None:
        self._source: Source = build("source", source, path="source")
        self.format = build("format", format or {"type": "answer"}, path="task.format")
        self.catalog = self._source.catalog
        for name in filter(None, (field, truth)):
            if name not in self.catalog.fields:
                raise UserError(f"the catalog has no field {name!r}; it has: {', '.join(self.catalog.fields)}")
        texts = [" ".join(text.split()) for text in self.catalog.column(field)]
        learned = matrix_of(self.catalog)
        near = _neighbours(learned, neighbours)
        self.qrels: dict[str, Qrels] = {}
        self._needs: dict[str, list[Need]] = {}
        counts = Counter(self._source.counts)
        items = [Need(item, text) for item, text in zip(self.catalog.ids, texts, strict=True) if words_of(text)]
        counts[f"items left out, no word in their {field}"] = len(texts) - len(items)
        for split, of_split in hash_split(items, shares or _SHARES, seed).items():
            people = [tuple(own) for own in learned.tolil().rows] if split == "train" else self._held_out(split)
            takers: dict[int, list[int]] = defaultdict(list)
            for user, history in enumerate(people):
                for row in dict.fromkeys(history):
                    takers[row].append(user)
            self._needs[split] = []
            for item in of_split:
                row, rng = self.catalog.row(item.id), Random(f"recr1 augment {seed} {item.id}")
                if not (took := takers[row]):
                    counts[f"items left out, taken by nobody of {split}"] += 1
                    continue
                anyone = rng.sample(range(len(people)), min(len(people), users + len(took)))
                others = [user for user in anyone if row not in people[user]][:users]
                holders = rng.sample(took, min(len(took), users))
                self._needs[split].append(Need(item.id, "\n".join([item.text, *(texts[one] for one in near[row])])))
                gold = with_words(item.text, self.catalog.fields[truth][row]) if truth else item.text
                self.qrels[item.id] = Held(row, [people[u] for u in holders], [people[u] for u in others], gold)
        self.counts: Mapping[str, int] = {what: count for what, count in counts.items() if count}

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the shares."""
        problem = share_problem(options["shares"]) if options.get("shares") else None
        return [f"shares: {problem}"] if problem else []

    def needs(self, split: str) -> Sequence[Need]:
        """The items of a split; raises `UserError` for a split that does not exist."""
        if split not in self._needs:
            raise UserError(f"no split {split!r}; it has: {', '.join(self._needs)}")
        return self._needs[split]

    def plain_answers(self, need: Need) -> Mapping[str, str]:
        """The text that the item has: the floor."""
        return {"own text": need.text.partition("\n")[0]}

    def people(self, split: str) -> tuple[list[History], list[Qrels]]:
        """The held-out users of validation or test: the history of each, and what is asked for, with grade 1."""
        pasts = self._source.pasts(split)
        return [past.history for past in pasts], [Qrels(dict.fromkeys(past.targets, 1)) for past in pasts]

    def _held_out(self, split: str) -> list[History]:
        learned, pasts = set(self.catalog.interactions["user"].tolist()), self._source.pasts(split)
        if any(past.user in learned for past in pasts):
            raise UserError(f"the users of {split} also judge in training: give the source split: users")
        return [past.history + past.targets for past in pasts]


def with_words(text: str, words: Sequence[str]) -> str:
    """A text with those of some words that it lacks."""
    return " ".join([text, *(word for word in words if not says(words_of(text), words_of(word)))])


def _neighbours(learned: Any, count: int) -> list[list[int]]:
    """The rows of the items with the highest cosine to each item, by who took them; equal ones in catalog order."""
    if not count:
        return [[]] * learned.shape[1]
    norms_N = np.maximum(np.sqrt(np.asarray(learned.sum(axis=0)).ravel()), 1)
    together = (learned.T @ learned).tocsr()
    near = []
    for row in range(learned.shape[1]):
        own = slice(*together.indptr[row : row + 2])
        rows, cosines = together.indices[own], together.data[own] / norms_N[together.indices[own]]
        near.append([one for one in rows[np.lexsort((rows, -cosines))].tolist() if one != row][:count])
    return near
