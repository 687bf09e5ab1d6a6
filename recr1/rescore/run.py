"""Rescoring a run folder: recipes before and after, and the files of the results."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recr1.env import Environment, open_environment
from recr1.errors import MissingLibrary, UserError
from recr1.evaluate.evaluation import read_measures
from recr1.judge.table import write_result
from recr1.recipe import Recipe, load_recipe
from recr1.rescore.result import Rescored, Rescorer, draw_curve, sentences, tables
from recr1.rescore.written import TRAINING, read_written
from recr1.runs import Run, policy_of, write_text, writing
from recr1.runs.provenance import fingerprints, surroundings
from retrievers.progress import ProgressBar

FINGERPRINTS = ("catalog", "retriever", "other_retrievers")
"""What `run.json` holds of the data and engines of a run."""


def rescore(
    run: Run, overrides: Sequence[str], measures: Sequence[str] | None, name: str | None, bar: ProgressBar
) -> tuple[dict[str, Any], Path]:
    """Score the completions of a run again, and write the results into `RUN/rescored/<name>/`.

    Args:
        run: The run.
        overrides: Changes to the recipe: another retriever, task or k.
        measures: Names; None for those of the recipe's evaluation.
        name: The name of the results; None makes one from the overrides.
        bar: Shows the progress.

    Returns:
        The content of `rescore.json`, and the folder.

    Raises:
        UserError: For a run without completions, a measure with a cutoff above k, or nothing to change.
    """
    recipe, own = (load_recipe(run.path / "recipe.yaml", given) for given in (overrides, ()))
    if not overrides and measures is None:
        raise UserError("nothing to rescore with: say what changes, such as retriever.type=rank_bm25 --measures R@10")
    parsed = read_measures(measures or recipe.evaluate.measures, recipe.k)
    label = name or _label(overrides, measures)
    if not re.fullmatch(r"[\w.,@=+-]+", label) or label.startswith("."):
        raise UserError(f"--name {label!r}: it names a folder: use letters, digits and . , @ = + - _")
    written = read_written(run)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    original, notes = _original(run, own, recipe, env)
    rescorer, results = Rescorer(env, parsed, original=original, seed=recipe.seed), []
    bar.begin("floor and ceiling", len({need for one in written for need in one.needs}))
    rescorer.prepare(written, bar.advance)
    for one in written:
        bar.begin(one.name, len(one))
        scored = rescorer(one, bar.advance)
        if scored:
            results.append(scored)
        else:
            notes.append(f"'{one.name}' is left out: the task has none of its needs.")
    home = run.path / "rescored" / label
    summary = {
        "run": {name: value for name, value in run.facts().items() if name in FINGERPRINTS},
        "fingerprints": fingerprints(env, recipe.retriever.to_dict()),
        "notes": [*notes, *_drifted(results)],
        "origin": policy_of(run),
        "overrides": list(overrides),
        "results": {one.written.name: one.summary for one in results},
        **surroundings(),
    }
    _write(home, recipe, results, summary)
    return summary, home


def _label(overrides: Sequence[str], measures: Sequence[str] | None) -> str:
    """The name of a folder that says what was changed."""
    changes = [*overrides, *(measures or ())]
    return re.sub(r"[^\w.,@=+-]+", "_", ",".join(changes)).strip("_.")[:100]


def _original(run: Run, own: Recipe, recipe: Recipe, env: Environment) -> tuple[Environment | None, list[str]]:
    """The run's own environment if the new one differs, and notes on it.

    The completions are parsed with the run's format, unless the format is changed.
    """
    facts, notes = run.facts(), []
    if (own.task, own.retriever) == (recipe.task, recipe.retriever):
        changed = _changed(facts, fingerprints(env, recipe.retriever.to_dict()))
        if changed:
            notes.append(f"The {changed} of this recipe has changed since the run: 'before' is what the run saved.")
        return None, notes
    deep = max(own.k, recipe.k)
    then = open_environment(own.task, own.retriever, (), deep)
    if own.task.options.get("format") == recipe.task.options.get("format"):
        env.format = then.format
    changed = _changed(facts, fingerprints(then, own.retriever.to_dict()))
    if changed:
        notes.append(f"The {changed} of the run has changed since: 'before' is what the run saved.")
        return None, notes
    return then, notes


def _changed(facts: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [name for name, value in now.items() if facts.get(name) not in (None, value)]
    return " and the ".join(name.replace("_", " ") for name in changed)


def _drifted(results: Sequence[Rescored]) -> list[str]:
    return [
        f"{one.differ} of {len(one.written)} completions of '{one.written.name}' now get other values than those "
        "saved: the engine or the data has changed."
        for one in results
        if one.original and one.differ
    ]


def _write(home: Path, recipe: Recipe, results: Sequence[Rescored], summary: dict[str, Any]) -> None:
    said = [*sentences(summary["results"]), *summary["notes"]]
    write_result(home, "rescore", summary, tables(summary["results"]), said)
    with writing(home):
        recipe.dump(home / "recipe.yaml")
        lines = [{"of": one.written.name, **line} for one in results for line in one.lines()]
        write_text(home / "completions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        for one in results:
            if one.written.name == TRAINING:
                curve = list(one.curve())
                write_text(home / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in curve))
                try:
                    draw_curve(curve, one.measures[0], home / "curve.png")
                except MissingLibrary as error:
                    sys.stderr.write(f"no picture: {error}\n")
