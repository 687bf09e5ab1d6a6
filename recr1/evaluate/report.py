"""Evaluations for people: the table, the verdict, and examples before and after training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import written
from recr1.evaluate.answers import families, families_table, rating_errors, ratings_table
from recr1.evaluate.evaluation import Evaluation, valid_note
from recr1.evaluate.reindex import reindex_table, reindexed
from recr1.evaluate.second import second_table, sentence
from recr1.gate.outcome import gate_table
from recr1.gate.outcome import sentence as gate_sentence
from recr1.judge.difference import RAW_NEED, Difference, mean_cell, paired_tests, statement
from recr1.judge.table import Table
from recr1.tasks.base import plain_answers

BOUNDS_NOTE = "floor: the raw need as the query. ceiling: the best of several queries written with the answer key."
CANDIDATES_NOTE = (
    "floor: the candidates as a search for the raw need orders them. order shown: as the policy reads them, which is "
    "random. ceiling: by grade."
)
SHOWN = 3
"""How many of the first items are shown."""


def table(evaluations: Sequence[Evaluation]) -> Table:
    """Floor, each policy and ceiling, with intervals and the paired test against the floor.

    Raises `ValueError` unless all are of the same needs and measures.
    """
    check_same_needs(evaluations)
    first = evaluations[0]
    main, measured = next(iter(first.values)), first.summary["measures"].values()
    more = {"shown": "order shown"} if first.references.shown else {name: name for name in first.references.plain}
    bounds = {"floor": "floor", **more, "ceiling": "ceiling"}
    *floors, ceiling = (
        [label, *(mean_cell(one[name]) for one in measured), "", "", ""] for name, label in bounds.items()
    )
    rows = []
    for evaluation in evaluations:
        summary = evaluation.summary
        cells = [mean_cell(one["policy"], one["versus_floor"]["p"]) for one in summary["measures"].values()]
        outcome = Difference(**summary["measures"][main]["versus_floor"]).tally
        rows.append([evaluation.name, *cells, outcome, f"{summary['query_words']:.1f}", f"{summary['invalid']:.1%}"])
    settings = first.settings
    note = (
        f"{_bounds_note(first)} "
        f"Means over needs with {settings['level']:.0%} bootstrap intervals ({settings['resamples']} resamples). "
        f"p: two-sided paired randomisation test against the floor ({settings['permutations']} permutations). "
        f"won/tied/lost: needs above, at and below the floor in {main}. words: per valid query."
    )
    header = ["", *first.values, "won/tied/lost", "words", "invalid"]
    notes = [note, *valid_note({one.name: one.summary for one in evaluations})]
    return Table(f"{first.split}: {len(first.needs)} needs", header, [*floors, *rows, ceiling], notes)


def _floor_name(evaluation: Evaluation) -> str:
    """What the floor is, for a sentence."""
    if all(key.gold is None for key in evaluation.qrels):
        return RAW_NEED
    names = {next(iter(plain_answers(evaluation.env.task, need)), RAW_NEED) for need in evaluation.needs}
    return f"the {names.pop()}" if len(names) == 1 else "what needs no model"


def _bounds_note(evaluation: Evaluation) -> str:
    if all(key.gold is not None for key in evaluation.qrels):
        return f"floor: {_floor_name(evaluation)}. ceiling: the gold answer."
    return CANDIDATES_NOTE if evaluation.references.shown else BOUNDS_NOTE


def tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """The table, and where there is a second opinion, what is gained on it; and where there are gates, what they do."""
    first = evaluations[0]
    opinions = {one.name: one.summary["second_opinion"] for one in evaluations if one.second}
    gates = {one.name: one.summary["gate"] for one in evaluations if one.gate}
    return [
        table(evaluations),
        *_beside(evaluations),
        *([second_table(first.split, opinions)] if opinions else []),
        *([gate_table(first.split, gates, len(first.needs))] if gates else []),
        *([reindex_table(first.split, _reindexed(evaluations))] if first.rewrites else []),
    ]


def _reindexed(evaluations: Sequence[Evaluation]) -> Mapping[str, Any]:
    """All together; of one, what its summary has, as every system costs an index of the catalog."""
    return reindexed(evaluations) if len(evaluations) > 1 else evaluations[0].summary["reindexed"]


def _beside(evaluations: Sequence[Evaluation]) -> Iterator[Table]:
    """Errors of ratings of all policies, and the families of each."""
    ratings: dict[str, Mapping[str, float]] = {}
    for one in evaluations:
        ratings |= {one.name if name == "policy" else name: of for name, of in rating_errors(one).items()}
    if ratings:
        yield ratings_table(evaluations[0].split, ratings)
    for one in evaluations:
        if found := families(one):
            yield families_table(f"{one.split}, {one.name}", found)


def verdict(evaluations: Sequence[Evaluation]) -> list[str]:
    """The last policy against the raw need and against each other policy, in the first measure; a sentence each.

    With a second opinion, its gain on that is one more, and so is what its gate does.
    """
    *others, last = evaluations
    measure = next(iter(last.values))
    rivals: dict[str, NDArray[np.floating]] = {_floor_name(last): last.references.floor[measure]}
    rivals |= {other.name: other.per_need(measure) for other in others}
    tests = paired_tests(last.per_need(measure), rivals, seed=last.seed)
    said = [f"{statement(last.name, name, measure, test)}." for name, test in tests.items()]
    said += [sentence(last.name, last.summary["second_opinion"])] if last.second else []
    return [*said, *([gate_sentence(last.summary["gate"])] if last.gate else [])]


def check_same_needs(evaluations: Sequence[Evaluation]) -> None:
    """Raise `ValueError` unless all evaluations are of the same needs and measures, in the same order."""
    first = evaluations[0]
    for other in evaluations[1:]:
        if [n.id for n in first.needs] != [n.id for n in other.needs] or list(first.values) != list(other.values):
            raise ValueError(f"'{first.name}' and '{other.name}' were evaluated on different needs or measures")


def examples(before: Evaluation, after: Evaluation, n: int = 5, width: int = 100) -> str:
    """Needs with the queries before and after, their ranks and what they found, as lines of at most `width` for items.

    They show losses as well as gains: the needs are sorted by the change in the first measure (ties in the order of the
    data), and n are taken at even distances: the largest gain first, the largest loss last, typical ones in between.
    Of each need it is the first completion. Raises `ValueError` unless both are of the same needs and measures.
    """
    check_same_needs([before, after])
    measure = next(iter(after.values))
    change = after.values[measure][:, 0] - before.values[measure][:, 0]
    order = np.argsort(-change, kind="stable")
    places = np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)
    margin = max(len(label) for label in ("need", before.name, after.name)) + 2
    blocks = []
    for need in order[places].tolist():
        lines = [f"{'need':<{margin}}{after.needs[need].text}"]
        for one in (before, after):
            action, ranks = one.actions[need][0], one.relevant_ranks(need)
            query = written(action, one.completions[need][0]) or f"(invalid: {getattr(action, 'reason', '')})"
            at = f"first relevant at {ranks[0]}" if ranks else "nothing relevant"
            gold = one.qrels[need].gold
            at = at if gold is None else f"gold: {gold}"
            lines.append(f"{one.name:<{margin}}{query}")
            lines.append(f"{'':<{margin}}{measure} {one.values[measure][need, 0]:.2f}, {at}")
            lines += [shortened(f"{'':<{margin}}  {title}", width) for title in titles_of(one, need, SHOWN)]
        blocks.append("\n".join(lines))
    note = "The needs are taken at even distances, from the largest gain to the largest loss. *: a relevant item."
    return "\n\n".join([*blocks, note])


def titles_of(evaluation: Evaluation, need: int, count: int) -> list[str]:
    """The first items that the first completion of a need found, each with its rank and, if relevant, a star."""
    rows_K = evaluation.hits.rows_QK[need * evaluation.samples, :count]
    relevant = set(evaluation.relevant_ranks(need))
    named = (evaluation.env.task.catalog.title(row) for row in rows_K.tolist() if row >= 0)
    return [f"{rank}{'*' if rank in relevant else ' '} {text}" for rank, text in enumerate(named, start=1)]


def shortened(line: str, width: int) -> str:
    """A line of at most this many characters."""
    return line if len(line) <= width else f"{line[: width - 3]}..."
