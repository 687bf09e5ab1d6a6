"""Evaluations for people and for tools: tables, before-and-after queries, and the files of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recr1.evaluate import trec
from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.found import first_items
from recr1.evaluate.slices import kept_of
from recr1.runs import write_text, writing
from rewards.base import Graded, Search

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Cells for a terminal and for Markdown alike."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """A Markdown section: title, table, notes."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)
        return "\n\n".join([f"## {self.title}", cells, *self.notes]) + "\n"

    def rich(self) -> RichTable:
        """A rich table, with the notes as its caption."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(
            title=Text(self.title, style="bold"),
            title_justify="left",
            caption=Text("\n".join(self.notes)),
            caption_justify="left",
            box=box.HORIZONTALS,
            show_edge=False,
            pad_edge=False,
            min_width=len(self.title),  # rich breaks a title that is wider than its table
        )
        for name in self.header:
            drawn.add_column(Text(name), overflow="fold")
        for row in self.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        return drawn


def table(evaluations: Sequence[Evaluation]) -> Table:
    """Floor, each policy and ceiling, with intervals and the paired test against the floor.

    A terminal of 80 columns holds two measures. Raises `ValueError` unless all are of the same needs and measures.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        check_same_needs(first, other)
    measures = list(first.values)
    main = measures[0]
    header = ["", *measures, "won/tied/lost", "words", "invalid"]
    rows = [_bound_row("floor", first, "floor")]
    for evaluation in evaluations:
        summary = evaluation.summary
        measured = summary["measures"].values()
        cells = [cell(numbers["policy"], numbers["versus_floor"]["p"]) for numbers in measured]
        outcome = "{wins}/{ties}/{losses}".format(**summary["measures"][main]["versus_floor"])
        rows.append([evaluation.name, *cells, outcome, f"{summary['query_words']:.1f}", f"{summary['invalid']:.1%}"])
    rows.append(_bound_row("ceiling", first, "ceiling"))
    return Table(f"{first.split}: {len(first.needs)} needs", header, rows, _notes(first, main))


def _notes(evaluation: Evaluation, main: str) -> list[str]:
    settings = evaluation.summary["settings"]
    return [
        "floor: the raw need as the query. ceiling: the best of the words of the best items. "
        f"Means over needs with {settings['level']:.0%} bootstrap intervals ({settings['resamples']} resamples). "
        f"p: two-sided paired randomisation test against the floor ({settings['permutations']} permutations). "
        f"won/tied/lost: needs above, at and below the floor in {main}. words: per valid query."
    ]


def _bound_row(label: str, evaluation: Evaluation, system: str) -> list[str]:
    measured = evaluation.summary["measures"].values()
    return [label, *(cell(numbers[system]) for numbers in measured), "", "", ""]


def write(evaluation: Evaluation, folder: str | Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Write an evaluation into a folder and return it; raises `RunError` when it cannot be written.

    - `eval.json`: every number, the settings and the versions;
    - `eval.md`: the table;
    - `per_need.jsonl`: a line a need: text, completion, query, measures of policy, floor and ceiling, relevant ranks;
    - `run.trec` and `qrels.trec`; with several samples a need, `run.1.trec`, `run.2.trec` and so on.

    `origin` says of which policy of a run it is (`recr1.runs.origin_of`); None of a policy without a run.
    """
    out = Path(folder)
    catalog, keys = evaluation.env.task.catalog, [evaluation.env.task.qrels[need.id] for need in evaluation.needs]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "eval.json", json.dumps(evaluation.summary | _kept(origin), indent=2) + "\n")
        write_text(out / "eval.md", table([evaluation]).markdown())
        write_text(out / "per_need.jsonl", "".join(json.dumps(line) + "\n" for line in per_need(evaluation)))
        write_text(out / "qrels.trec", "".join(trec.qrels_lines(evaluation.needs, keys, catalog)))
        for sample in range(evaluation.samples):
            one = slice(sample, None, evaluation.samples)
            hits = evaluation.hits.of(one)
            name = "run.trec" if evaluation.samples == 1 else f"run.{sample + 1}.trec"
            write_text(out / name, "".join(trec.run_lines(evaluation.needs, hits, catalog, evaluation.name)))
    return out


def _kept(origin: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"origin": dict(origin)} if origin else {}


def per_need(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """What `per_need.jsonl` holds: the first completion of each need, and with several all of them under "samples"."""
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


def check_same_needs(first: Evaluation, second: Evaluation) -> None:
    """Raise `ValueError` unless two evaluations are of the same needs and measures, in the same order."""
    same = [n.id for n in first.needs] == [n.id for n in second.needs] and list(first.values) == list(second.values)
    if not same:
        raise ValueError(f"'{first.name}' and '{second.name}' are evaluations of other needs or other measures")


def cell(numbers: dict[str, float], p: float | None = None) -> str:
    """Two lines, 13 characters wide: the mean with its p, and the interval."""
    test = "" if p is None else " p<0.001" if p < 0.001 else f" p={p:.3f}"
    return "{mean:.3f}{test}\n[{low:.3f}-{high:.3f}]".format(test=test, **numbers)


def _plain(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
