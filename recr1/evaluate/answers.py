"""What an evaluation says beside its measures: errors of ratings, and each family of a task `mixed` for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recr1.env import answer_metrics
from recr1.judge.table import Table
from recr1.tasks.base import plain_answers
from rewards.base import Answer, Invalid, Qrels
from rewards.measures import parse_measure
from rewards.measures.answers import GoldMeasure, RatingCloseness, number_of

if TYPE_CHECKING:
    from recr1.evaluate.evaluation import Evaluation


def rating_errors(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Who rates ("policy", "global mean") -> RMSE, MAE and entropy of the answers; empty where no rating is measured.

    A completion that is not a number has the largest error that the scale allows, as in `RatingCloseness`. In a mixed
    task a gold answer that is a number is only a rating where `RatingCloseness` is the measure of its family.
    """
    keys, task = evaluation.qrels, evaluation.env.task
    measures = {name: parse_measure(name) for name in (*evaluation.values, *(key.measure for key in keys)) if name}
    scales = {name: one.high - one.low for name, one in measures.items() if isinstance(one, RatingCloseness)}
    closeness, ratings = RatingCloseness(), {*scales, None}
    rated = [row for row, key in enumerate(keys) if closeness.applies(key) and key.measure in ratings]
    if not rated or not scales:
        return {}
    given: dict[str, list[tuple[str | None, float]]] = {}
    for row in rated:
        gold = float(str(keys[row].gold))
        for name, text in plain_answers(task, evaluation.needs[row]).items():
            given.setdefault(name, []).append((text, gold))
        for action in evaluation.actions[row]:
            given.setdefault("policy", []).append((action.text if isinstance(action, Answer) else None, gold))
    widest = next(iter(scales.values()))
    return {name: _errors(answers, widest) for name, answers in given.items()}


def _errors(answers: Sequence[tuple[str | None, float]], widest: float) -> dict[str, float]:
    numbers = [(None if text is None else number_of(text), gold) for text, gold in answers]
    errors = np.array([widest if number is None else abs(number - gold) for number, gold in numbers])
    return {
        "RMSE": float(np.sqrt((errors**2).mean())),
        "MAE": float(errors.mean()),
        "entropy": answer_metrics([text for text, _ in answers if text is not None]).get("answer/entropy", 0.0),
    }


def ratings_table(split: str, ratings: Mapping[str, Mapping[str, float]]) -> Table:
    """The errors of ratings, the best last."""
    rows = [
        [name, *(f"{of[column]:.3f}" for column in ("RMSE", "MAE", "entropy"))]
        for name, of in sorted(ratings.items(), key=lambda one: -one[1]["RMSE"])
    ]
    note = (
        "An answer that is not a number has the largest error of the scale. entropy: bits of the distribution of the "
        "answers; 0 is always the same one."
    )
    return Table(f"{split}: errors of ratings", ["", "RMSE", "MAE", "entropy"], rows, [note])


def families(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Each family of a mixed task: needs, share of invalid completions, and its measures as `systems` has them.

    Of the measures these are the ones that say something of the family: that of a rating is 0 for a title, and left
    out. Empty where needs have no family.
    """
    found: dict[str, dict[str, Any]] = {}
    for family in sorted({need.family for need in evaluation.needs} - {""}):
        rows = np.array([row for row, need in enumerate(evaluation.needs) if need.family == family], np.intp)
        keys = [evaluation.qrels[row] for row in rows]
        actions = [action for row in rows for action in evaluation.actions[row]]
        found[family] = {
            "needs": len(rows),
            "invalid": sum(isinstance(action, Invalid) for action in actions) / len(actions),
            "answers": answer_metrics([action.text for action in actions if isinstance(action, Answer)]),
            "measures": {
                name: {system: float(values[rows].mean()) for system, values in evaluation.systems(name).items()}
                for name in evaluation.values
                if _says_something(name, keys)
            },
        }
    return found


def _says_something(name: str, keys: Sequence[Qrels]) -> bool:
    measure = parse_measure(name)
    if isinstance(measure, GoldMeasure):
        return any(measure.applies(key) for key in keys)
    return measure.symbol == "Own" or any(key.gold is None for key in keys)


def families_table(split: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each family and measure."""
    rows = []
    for family, of in found.items():
        for name, means in of["measures"].items():
            shown = [f"{means[system]:.3f}" for system in ("floor", "policy", "ceiling")]
            entropy = f"{of['answers']['answer/entropy']:.2f}" if of["answers"] else "-"
            rows.append([f"{family}: {name}", str(of["needs"]), *shown, f"{of['invalid']:.1%}", entropy])
    header = ["family", "needs", "floor", "policy", "ceiling", "invalid", "entropy"]
    return Table(
        f"{split}: each family for itself", header, rows, ["entropy: bits of the distribution of the answers."]
    )
