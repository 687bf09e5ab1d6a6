"""The files of an evaluation: numbers, a line for each need, and TREC files.

TREC files are read by every evaluation tool of the field: `need Q0 item rank score tag` and `need 0 item grade`. White
space separates their columns, so that white space in an id is written as `%20` (and `%` as `%25`). A need without hits
has no line: run trec_eval with `-c`, so that it counts as 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.report import first_items, table
from recr1.evaluate.slices import kept_of
from recr1.runs import write_text, writing
from retrievers.base import Catalog, Floats, Hits
from rewards.base import Graded, Need, Qrels, Search


def write(evaluation: Evaluation, folder: str | Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Write an evaluation into a folder and return it; raises `RunError` when it cannot be written.

    - `eval.json`: every number, the settings and the versions;
    - `eval.md`: the table;
    - `per_need.jsonl`: a line for each need: text, completion, query, measures of policy, floor and ceiling, ranks;
    - `run.trec` and `qrels.trec`; with several samples for each need, `run.1.trec`, `run.2.trec` and so on.

    `origin` says which policy of which run it is (`recr1.runs.origin_of`); None without a run.
    """
    out = Path(folder)
    catalog, keys = evaluation.env.task.catalog, [evaluation.env.task.qrels[need.id] for need in evaluation.needs]
    summary = evaluation.summary | ({"origin": dict(origin)} if origin else {})
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "eval.json", json.dumps(summary, indent=2) + "\n")
        write_text(out / "eval.md", table([evaluation]).markdown())
        write_text(out / "per_need.jsonl", "".join(json.dumps(line) + "\n" for line in per_need(evaluation)))
        write_text(out / "qrels.trec", "".join(qrels_lines(evaluation.needs, keys, catalog)))
        for sample in range(evaluation.samples):
            one = slice(sample, None, evaluation.samples)
            hits = evaluation.hits.of(one)
            name = "run.trec" if evaluation.samples == 1 else f"run.{sample + 1}.trec"
            write_text(out / name, "".join(run_lines(evaluation.needs, hits, catalog, evaluation.name)))
    return out


def per_need(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The lines of `per_need.jsonl`: the first completion of each need; with several, all of them in "samples"."""
    references = evaluation.references
    policy = {measure: evaluation.per_need(measure) for measure in evaluation.values}
    catalog, keys = evaluation.env.task.catalog, [evaluation.env.task.qrels[need.id] for need in evaluation.needs]
    floor = Graded.join(references.floor_rows_NK, keys).grades_BK
    slices = kept_of(evaluation.env.task, evaluation.needs)
    for row, need in enumerate(evaluation.needs):
        own = row * evaluation.samples
        line = {
            "need": need.id,
            "text": need.text,
            **_sample(evaluation, row, 0),
            "found": first_items(catalog, evaluation.hits.rows_QK[own], evaluation.graded.grades_BK[own]),
            "floor": {
                "relevant_ranks": [int(place) + 1 for place in np.flatnonzero(floor[row] > 0)],
                "found": first_items(catalog, references.floor_rows_NK[row], floor[row]),
            },
            "ceiling_query": references.best_queries[row],
            **slices[row],
            "measures": {
                measure: {
                    "policy": float(policy[measure][row]),
                    "floor": float(references.floor[measure][row]),
                    "ceiling": float(references.ceiling[measure][row]),
                }
                for measure in evaluation.values
            },
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
        **({"query": action.query} if isinstance(action, Search) else {"invalid": action.reason}),
        "relevant_ranks": evaluation.relevant_ranks(need, place),
    }


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
