"""Data that are easy to spoil, and the registry of ways to spoil them."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field

from recr1.errors import UserError
from recr1.formats import Plain
from retrievers.base import Catalog
from rewards.base import Need, Qrels


@dataclass
class Data:
    """Items as (id, fields), needs by split as [id, text], and judgements by ids: easy to spoil, and a task."""

    items: list[tuple[str, dict]]
    splits: dict[str, list[list[str]]]
    grades: dict[str, dict[str, int]]
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, task):
        catalog = task.catalog
        fields = [{name: column[row] for name, column in catalog.fields.items()} for row in range(len(catalog))]
        splits = {split: [[n.id, n.text] for n in task.needs(split)] for split in ("train", "validation", "test")}
        grades = {
            need: {catalog.ids[row]: grade for row, grade in task.qrels[need].items()}
            for members in splits.values()
            for need, _ in members
        }
        return cls(list(zip(catalog.ids, fields, strict=True)), splits, grades)

    def spoiled(self, how):
        data = copy.deepcopy(self)
        how(data, random.Random(0))
        return data

    @property
    def needs(self):
        return [need for members in self.splits.values() for need in members]

    def retext(self, change, split=None):
        """Change the text of every need."""
        for need in self.splits[split] if split else self.needs:
            need[1] = change(need[1])

    def refield(self, change, *names):
        """Change fields of every item."""
        for number, (_, fields) in enumerate(self.items):
            for name in names:
                fields[name] = change(fields[name], number)

    @property
    def best(self):
        """Need id -> an item of its highest grade."""
        return {need: max(key, key=key.get) for need, key in self.grades.items()}


class Task:
    """The task of some data."""

    def __init__(self, data):
        columns = {name: [fields[name] for _, fields in data.items] for name in data.items[0][1]}
        shown = [name for name in ("title", "text", "description") if name in columns]
        texts = [" ".join(str(fields[name] or "") for name in shown).strip() for _, fields in data.items]
        rows = {item: row for row, (item, _) in enumerate(data.items)}
        self.catalog = Catalog(list(rows), texts, columns)
        self.qrels = {need: Qrels({rows[i]: g for i, g in key.items()}) for need, key in data.grades.items()}
        self.format, self.counts = Plain(prompt="{need}"), data.counts
        self._needs = {split: [Need(*need) for need in members] for split, members in data.splits.items()}

    def needs(self, split):
        if split not in self._needs:
            raise UserError(f"no split {split!r}")
        return self._needs[split]


FAULTS = {}
"""Name of a case -> (the check, the fault that it must name, its verdict, how data are spoiled)."""


def fault(check, name, verdict):
    def add(spoil):
        FAULTS[spoil.__name__] = (check, name, verdict, spoil)
        return spoil

    return add
