"""The files of an evaluation: its numbers, a line for each need, and a run and answer keys for other tools.

Every evaluation tool of the field reads TREC files: `need Q0 item rank score tag` and `need 0 item grade`. White space
separates their columns, so white space in an id is written as `%20` (and `%` as `%25`). A need without hits has no
line: run trec_eval with `-c`, so that it counts as 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import recorded
from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.gated import decided
from recr1.evaluate.report import SHOWN, shortened, tables
from recr1.evaluate.second import values_of
from recr1.evaluate.slices import kept_of
from recr1.runs import write_text, writing
from recr1.runs.files import write_lines
from retrievers.base import Catalog, Floats, Hits, Rows
from rewards.base import Graded, Need, Qrels

WIDTH = 120
"""Characters of a title."""


def write(evaluation: Evaluation, folder: str | Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Write an evaluation into a folder and return it; raises `RunError` when it cannot be written.

    - `eval.json`: every number, the settings and the versions;
    - `eval.md`: the table;
    - `per_need.jsonl`: a line for each need: text, completion, query, measures of policy, floor and ceiling, ranks;
    - `run.trec` and `qrels.trec`; with several samples for each need, `run.1.trec`, `run.2.trec` and so on.

    `origin` says which policy of which run it is (`recr1.runs.origin_of`); None without a run.
    """
    out, catalog = Path(folder), evaluation.env.task.catalog
    summary = evaluation.summary | ({"origin": dict(origin)} if origin else {})
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "eval.json", json.dumps(summary, indent=2) + "\n")
        write_text(out / "eval.md", "\n".join(one.markdown() for one in tables([evaluation])))
        write_lines(out / "per_need.jsonl", per_need(evaluation))
        write_text(out / "qrels.trec", "".join(qrels_lines(evaluation.needs, evaluation.qrels, catalog)))
        for sample in range(evaluation.samples):
            hits = evaluation.hits.of(slice(sample, None, evaluation.samples))
            name = "run.trec" if evaluation.samples == 1 else f"run.{sample + 1}.trec"
            write_text(out / name, "".join(run_lines(evaluation.needs, hits, catalog, evaluation.name)))
    return out


def per_need(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The lines of `per_need.jsonl`: the first completion of each need; with several, all of them in "samples"."""
    references, catalog = evaluation.references, evaluation.env.task.catalog
    measured = {measure: evaluation.systems(measure) for measure in evaluation.values}
    floor = Graded.join(references.floor_rows_NK, evaluation.qrels).grades_BK
    slices = kept_of(evaluation.env.task, evaluation.needs)
    second = dict[int, dict[str, Any]]()
    if evaluation.second:
        values, _ = values_of(evaluation, evaluation.second)
        for place, own in enumerate(evaluation.second.places(evaluation.needs)):
            second[own] = {
                measure: {"policy": float(policy[place]), "floor": float(low[place])}
                for measure, (policy, low) in values.items()
            }
    found = decided(evaluation)
    for row, need in enumerate(evaluation.needs):
        own = row * evaluation.samples
        line = {
            "need": need.id,
            "text": need.text,
            **_sample(evaluation, row, 0),
            "found": first_items(catalog, evaluation.hits.rows_QK[own], evaluation.graded.grades_BK[own]),
            "floor": {
                "relevant_ranks": (np.flatnonzero(floor[row] > 0) + 1).tolist(),
                "found": first_items(catalog, references.floor_rows_NK[row], floor[row]),
            },
            "ceiling_query": references.best_queries[row],
            **({"family": need.family} if need.family else {}),
            **({"gold": gold} if (gold := evaluation.qrels[row].gold) is not None else {}),
            **slices[row],
            "measures": {
                measure: {name: float(values[row]) for name, values in systems.items()}
                for measure, systems in measured.items()
            },
            **({"second": second[row]} if row in second else {}),
            **({"gate": found[row]} if found else {}),
        }
        if evaluation.samples > 1:
            line["samples"] = [
                _sample(evaluation, row, place)
                | {measure: float(values[row, place]) for measure, values in evaluation.values.items()}
                for place in range(evaluation.samples)
            ]
        yield line


def _sample(evaluation: Evaluation, need: int, place: int) -> dict[str, Any]:
    action = evaluation.actions[need][place]
    return {
        "completion": evaluation.completions[need][place],
        **recorded(action),
        "relevant_ranks": evaluation.relevant_ranks(need, place),
    }


def first_items(catalog: Catalog, rows_K: Rows, grades_K: NDArray[np.int32]) -> list[dict[str, Any]]:
    """The first items that were found, best first: `id`, `title` (the text if there is none), `relevant`."""
    return [
        {"id": catalog.ids[row], "title": shortened(catalog.title(row), WIDTH), "relevant": grade > 0}
        for row, grade in zip(rows_K[:SHOWN].tolist(), grades_K[:SHOWN].tolist(), strict=False)
        if row >= 0
    ]


def run_lines(needs: Sequence[Need], hits: Hits, catalog: Catalog, tag: str) -> Iterator[str]:
    """The lines of a run; `hits` holds one ranking for each need.

    trec_eval orders by score and breaks ties by id, and ignores the rank. So a score that is not below the one before
    it is lowered to the next smaller float32: every tool then sees our order.
    """
    scores_NK = strictly_falling(hits.scores_QK)
    ids, tag = [escaped(item) for item in catalog.ids], escaped(tag)
    for need, rows_K, scores_K in zip(needs, hits.rows_QK, scores_NK, strict=True):
        topic = escaped(need.id)
        for rank, (row, score) in enumerate(zip(rows_K[rows_K >= 0], scores_K, strict=False), start=1):
            yield f"{topic} Q0 {ids[row]} {rank} {score:.9g} {tag}\n"


def qrels_lines(needs: Sequence[Need], qrels: Sequence[Qrels], catalog: Catalog) -> Iterator[str]:
    """The lines of the answer keys, items in catalog order."""
    for need, key in zip(needs, qrels, strict=True):
        topic = escaped(need.id)
        yield from (f"{topic} 0 {escaped(catalog.ids[row])} {grade}\n" for row, grade in key.items())


def strictly_falling(scores_NK: Floats) -> Floats:
    """The scores, with each that is not below the one before it lowered to the next smaller float32."""
    falling_NK = scores_NK.copy()
    for place in range(1, falling_NK.shape[1]):
        below_N = np.nextafter(falling_NK[:, place - 1], np.float32(-np.inf))
        np.minimum(falling_NK[:, place], below_N, out=falling_NK[:, place])
    return falling_NK


def escaped(name: str) -> str:
    """A name without white space, from which the name can be read back; raises `ValueError` for an empty one."""
    if not name:
        raise ValueError("an id is empty; a TREC file cannot hold it")
    return re.sub(r"[\s%]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
