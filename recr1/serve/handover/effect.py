"""What a form of rewrites is worth: on judged needs of the table, searched as the bundle's recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recr1.env import Environment, open_environment
from recr1.errors import UserError
from recr1.evaluate.evaluator import read_measures
from recr1.evaluate.references import AGAIN, CHUNK
from recr1.judge.difference import RAW_NEED, difference_cell, mean_cell, paired_test, statement
from recr1.judge.stats import Doubles, mean_interval
from recr1.judge.table import Table as Shown
from recr1.serve.bundle import Bundle
from recr1.serve.table import Table
from recr1.tasks.base import needs_of
from retrievers.progress import ProgressBar
from rewards.base import Need
from rewards.measures import Measure

EXPORTED, REWRITES = "what is exported", "the rewrite itself"


@dataclass(frozen=True)
class Judged:
    """Needs of a split that the table has, with their rewrites."""

    env: Environment
    split: str
    measure: Measure
    seed: int
    needs: Sequence[Need]
    rewrites: Sequence[str]
    """(N,) the raw need where the table does not rewrite."""

    @property
    def raw(self) -> list[str]:
        """(N,) the texts of the needs."""
        return [need.text for need in self.needs]

    @cached_property
    def raw_values(self) -> Doubles:
        """(N,) the measure of the needs as they are."""
        return self.values(self.raw)

    def values(self, queries: Sequence[str], places: Sequence[int] | None = None) -> Doubles:
        """The measure of queries; each is of the need of its place, or of the need at these places."""
        needs = self.needs if places is None else [self.needs[place] for place in places]
        found = []
        with ProgressBar() as bar:
            bar.begin("searching", len(queries))
            for start in range(0, len(queries), CHUNK):
                rows_QK = self.env.search(queries[start : start + CHUNK], again=AGAIN).rows_QK
                keys = [self.env.task.qrels[need.id] for need in needs[start : start + CHUNK]]
                found.append(self.measure(rows_QK, keys, self.env.task.catalog))
                bar.advance(start + len(keys), len(queries))
        return np.concatenate(found).astype(np.float64) if found else np.empty(0)


def open_judged(bundle: Bundle, table: Table, split: str = "validation") -> tuple[Judged | None, str]:
    """The needs of a split that the table has; or None, and a sentence that says why nothing can be measured."""
    try:
        recipe = bundle.recipe
        env = open_environment(recipe.task, recipe.retriever, (), recipe.k)
        measure = read_measures(recipe.evaluate.measures, recipe.k)[0]
        needs, lacking = needs_of(env.task, split)
    except UserError as error:
        return None, f"not measured: the data of the bundle's recipe is not at hand: {str(error).splitlines()[0]}"
    found = [(need, entry) for need in needs if (entry := table.get(need.text))]
    if not found:
        none = f"none of the {len(needs)} needs of the split {split} is in the table"
        why = lacking or f"{none}: put them among the queries of 'recr1 rewrite'"
        return None, f"not measured: {why}"
    rewrites = [entry.rewrite if entry.used else need.text for need, entry in found]
    return Judged(env, split, measure, recipe.seed, [need for need, _ in found], rewrites), ""


def effect(judged: Judged, exported: Sequence[str] | None) -> tuple[Shown, list[str], dict[str, Any]]:
    """A table, sentences and numbers of raw needs, what is exported of the rewrites, and these on the same needs."""
    seed, name, raw = judged.seed, judged.measure.name, judged.raw_values
    texts = judged.rewrites if exported is None else exported
    touched = sum(text != need for text, need in zip(texts, judged.raw, strict=True))
    queries = {**({} if exported is None else {EXPORTED: exported}), REWRITES: judged.rewrites}
    values = {RAW_NEED: raw} | {system: judged.values(of) for system, of in queries.items()}
    levels = {system: mean_interval(of[np.newaxis], seed=seed)._asdict() for system, of in values.items()}
    tests = {system: paired_test(values[system], raw, seed=seed) for system in queries}
    against = {system: {"versus_raw": test._asdict()} for system, test in tests.items()}
    facts: dict[str, Any] = {"split": judged.split, "measure": name, "needs": len(raw), "touched": touched}
    facts |= {system: level | against.get(system, {}) for system, level in levels.items()}
    rows = [[RAW_NEED, mean_cell(levels[RAW_NEED]), "", ""]]
    rows += [[at, mean_cell(levels[at]), difference_cell(one._asdict()), one.tally] for at, one in tests.items()]
    lines = [f"it changes {touched:,} of {len(raw):,} judged needs of the split {judged.split}"]
    lines += [statement(system, RAW_NEED, name, test) for system, test in tests.items()]
    header = ["search", name, "against the raw need", "won/tied/lost"]
    return Shown(f"Effect on {len(raw):,} needs", header, rows), lines, facts
