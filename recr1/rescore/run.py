"""Rescoring a run folder: with which recipe, against what, and where the results are written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recr1.env import Environment, open_environment
from recr1.errors import MissingLibrary, UserError
from recr1.recipe import Recipe, load_recipe
from recr1.rescore.result import Rescored, Rescorer, draw_curve, sentences, tables
from recr1.rescore.written import TRAINING, read_written
from recr1.runs import Run, policy_of, write_text, writing
from recr1.runs.provenance import fingerprints, surroundings
from retrievers.progress import ProgressBar
from rewards.measures import Measure, parse_measure


def rescore(
    run: Run, overrides: Sequence[str], measures: Sequence[str] | None, name: str | None, bar: ProgressBar
) -> tuple[dict[str, Any], Path]:
    """Score again what a run wrote, and write the results into `RUN/rescored/<name>/`.

    Args:
        run: The run.
        overrides: Values in place of the recipe's: another retriever, task or k.
        measures: Names; None for those of the recipe's evaluation.
        name: What the results are called; None for what was overridden.
        bar: Shows how far it is.

    Returns:
        The content of `rescore.json`, and the folder.

    Raises:
        UserError: For a run that kept no completions, a measure deeper than k, or nothing to change.
    """
    recipe, own = (load_recipe(run.path / "recipe.yaml", given) for given in (overrides, ()))
    if not overrides and measures is None:
        raise UserError("nothing to rescore with: say what changes, such as retriever.type=rank_bm25 --measures R@10")
    parsed = _parsed(measures or recipe.evaluate.measures, recipe.k)
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
        "run": _prints(run.facts()),
        "fingerprints": fingerprints(env, recipe.retriever.to_dict()),
        "notes": [*notes, *_drifted(results)],
        "origin": policy_of(run),
        "overrides": list(overrides),
        "results": {one.written.name: one.summary for one in results},
        **surroundings(),
    }
    _write(home, recipe, results, summary)
    return summary, home


def _parsed(names: Sequence[str], k: int) -> list[Measure]:
    try:
        parsed = [parse_measure(name) for name in dict.fromkeys(names)]
        for measure in parsed:
            measure.check_depth(k)
    except ValueError as error:
        raise UserError(f"{error} (k=N on the command line looks deeper)") from error
    return parsed


def _label(overrides: Sequence[str], measures: Sequence[str] | None) -> str:
    """The name of a folder that says what was changed."""
    said = [*overrides, *(measures or ())]
    return re.sub(r"[^\w.,@=+-]+", "_", ",".join(said)).strip("_.")[:100]


def _original(run: Run, own: Recipe, recipe: Recipe, env: Environment) -> tuple[Environment | None, list[str]]:
    """The run's own environment if the new one differs, and notes on it.

    The completions are read as they were then, unless the format is what changed.
    """
    facts, notes = run.facts(), []
    if (own.task, own.retriever) == (recipe.task, recipe.retriever):
        changed = _changed(facts, fingerprints(env, recipe.retriever.to_dict()))
        if changed:
            notes.append(f"The {changed} of this recipe is not what it was in the run: before is what the run kept.")
        return None, notes
    deep = max(own.k, recipe.k)
    then = open_environment(own.task, own.retriever, (), deep)
    if own.task.options.get("format") == recipe.task.options.get("format"):
        env.format = then.format
    changed = _changed(facts, fingerprints(then, own.retriever.to_dict()))
    if changed:
        notes.append(f"The {changed} of the run is not here any more: before is what the run kept.")
        return None, notes
    return then, notes


def _prints(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts.get(name) for name in ("catalog", "retriever", "other_retrievers") if name in facts}


def _changed(facts: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [name for name, value in now.items() if facts.get(name) not in (None, value)]
    return " and the ".join(name.replace("_", " ") for name in changed)


def _drifted(results: Sequence[Rescored]) -> list[str]:
    return [
        f"{one.differ} of {len(one.written)} completions of '{one.written.name}' do not get the values that were kept: "
        "the engine or the data is not what it was."
        for one in results
        if one.original and one.differ
    ]


def _write(home: Path, recipe: Recipe, results: Sequence[Rescored], summary: dict[str, Any]) -> None:
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        recipe.dump(home / "recipe.yaml")
        write_text(home / "rescore.json", json.dumps(summary, indent=2) + "\n")
        notes = "".join(f"\n{note}\n" for note in (*sentences(summary["results"]), *summary["notes"]))
        write_text(home / "rescore.md", "\n".join(one.markdown() for one in tables(summary["results"])) + notes)
        lines = [{"of": one.written.name, **line} for one in results for line in one.lines()]
        write_text(home / "completions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        for one in results:
            if one.written.name == TRAINING:
                curve = list(one.curve())
                write_text(home / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in curve))
                _draw(curve, one.measures[0], home / "curve.png")


def _draw(curve: Sequence[dict[str, float]], measure: str, out: Path) -> None:
    try:
        draw_curve(curve, measure, out)
    except MissingLibrary as error:
        sys.stderr.write(f"no picture: {error}\n")
