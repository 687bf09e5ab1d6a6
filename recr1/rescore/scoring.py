"""Completions that are there already, through the environment's own step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recr1.env import Environment, chat_with
from recr1.errors import RunError
from recr1.evaluate import References, find_references
from recr1.evaluate.references import AGAIN, Progress
from recr1.judge.stats import Doubles
from recr1.rescore.written import Written
from retrievers.errors import MissingAnswers
from rewards.base import Need
from rewards.measures import Measure

CHUNK = 512
"""Completions of a search."""


@dataclass(frozen=True)
class Scored:
    """What B completions find in an environment, beside its floor and ceiling."""

    values: Mapping[str, Doubles]
    """Measure -> (B,)."""
    floor: Mapping[str, Doubles]
    """Measure -> (B,) of the raw need of each."""
    ceiling: Mapping[str, Doubles]
    """Measure -> (B,) of the best query for the need of each."""
    rewards: Doubles
    """(B,) the weighted reward of the recipe."""
    outcomes: Sequence[str]
    """(B,) how each ended: "ok", "no_hits" or "invalid"."""
    first_relevant: Sequence[int | None]
    """(B,) the place of the first relevant item."""


@dataclass(frozen=True)
class Bounds:
    """Floor and ceiling in one environment, searched once for all that was written for the same needs."""

    references: References
    row_of: Mapping[str, int]
    """Need -> its row in the references."""

    def rows(self, needs: Sequence[str]) -> NDArray[np.intp]:
        """(B,) the row of each need."""
        return np.array([self.row_of[need] for need in needs], np.intp)


def find_bounds(
    needs: Sequence[str], env: Environment, measures: Sequence[Measure], progress: Progress | None = None
) -> Bounds:
    """Floor and ceiling of some needs, each once; a need that the task does not have is left out.

    Raises `RunError` when it has none of them.
    """
    named = [need for name in dict.fromkeys(needs) if (need := _need(env, name))]
    if not named:
        raise RunError(f"the task has none of the needs that were kept, such as {needs[0]!r}: is it another task?")
    row_of = {need.id: row for row, need in enumerate(named)}
    return Bounds(find_references(env, named, measures, progress), row_of)


def score(
    written: Written,
    env: Environment,
    measures: Sequence[Measure],
    bounds: Bounds,
    progress: Progress | None = None,
) -> Scored:
    """Parse and search what was written; every need must be one of the environment's task.

    Args:
        written: At least one completion.
        env: Its format reads the completions.
        measures: None looks deeper than the environment's k.
        bounds: Of all of its needs.
        progress: Called with the completions done and all completions.

    Raises:
        KeyError: For a need that the task does not have.
        MissingAnswers: When the retriever has no answer to some query, though it was asked again.
    """
    needs = [env.need(need) for need in written.needs]
    rows_B = bounds.rows(written.needs)
    values: dict[str, list[NDArray[np.floating]]] = {measure.name: [] for measure in measures}
    rewards, outcomes, first = [], [], []
    for start in range(0, len(needs), CHUNK):
        chunk = needs[start : start + CHUNK]
        texts = written.completions[start : start + CHUNK]
        chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(chunk), texts, strict=True)]
        step = env.step(chunk, chats, again=AGAIN)
        if step.faults:
            raise MissingAnswers(step.batch.hits, step.faults)
        for measure in measures:
            values[measure.name].append(measure.of(step.batch.graded))
        rewards.append(step.rewards)
        outcomes += step.outcomes
        first += [_first(row) for row in step.batch.graded.grades_BK > 0]
        if progress:
            progress(start + len(chunk), len(needs))
    return Scored(
        values={name: np.concatenate(parts).astype(np.float64) for name, parts in values.items()},
        floor={name: bound[rows_B].astype(np.float64) for name, bound in bounds.references.floor.items()},
        ceiling={name: bound[rows_B].astype(np.float64) for name, bound in bounds.references.ceiling.items()},
        rewards=np.concatenate(rewards).astype(np.float64),
        outcomes=outcomes,
        first_relevant=first,
    )


def _need(env: Environment, name: str) -> Need | None:
    try:
        return env.need(name)
    except KeyError:
        return None


def _first(relevant_K: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(relevant_K)) + 1 if relevant_K.any() else None
