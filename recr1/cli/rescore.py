"""`recr1 rescore`: what a run wrote, under another retriever, measure or catalog, without generating again."""

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
from recr1.rescore import TRAINING, Rescored, Rescorer, draw_curve, read_written, sentences, tables
from recr1.runs import Run, policy_of, write_text, writing
from recr1.runs.provenance import fingerprints, surroundings
from retrievers.progress import ProgressBar
from rewards.measures import Measure, parse_measure


def rescore_run(
    target: str,
    overrides: Sequence[str] = (),
    *,
    measures: Sequence[str] | None = None,
    name: str | None = None,
    as_json: bool = False,
) -> int:
    """Score again what a run wrote, and write the results into `RUN/rescored/<name>/`.

    Args:
        target: The run folder.
        overrides: Values in place of the recipe's: another retriever, task or k.
        measures: Names; those of the recipe's evaluation by default.
        name: What the results are called; by default what was overridden.
        as_json: Print JSON in place of the table.

    Raises:
        UserError: For a run that kept no completions, a measure deeper than k, or nothing to change.
    """
    run = Run.open(target)
    recipe, own = (load_recipe(run.path / "recipe.yaml", given) for given in (overrides, ()))
    if not overrides and measures is None:
        raise UserError("nothing to rescore with: say what is other, such as retriever.type=rank_bm25 --measures R@10")
    parsed = _parsed(measures or recipe.evaluate.measures, recipe.k)
    label = name or _label(overrides, measures)
    if not re.fullmatch(r"[\w.,@=+-]+", label) or label.startswith("."):
        raise UserError(f"--name {label!r}: a folder is called so: use letters, digits and . , @ = + - _")
    written = read_written(run)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    original, notes = _original(run, own, recipe, env)
    rescorer, results = Rescorer(env, parsed, original=original, seed=recipe.seed), []
    with ProgressBar(quiet=as_json) as bar:
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
    _show(results, summary, home, as_json=as_json)
    return 0


def _parsed(names: Sequence[str], k: int) -> list[Measure]:
    try:
        parsed = [parse_measure(name) for name in dict.fromkeys(names)]
        for measure in parsed:
            measure.check_depth(k)
    except ValueError as error:
        raise UserError(f"{error} (k=N on the command line looks deeper)") from error
    return parsed


def _label(overrides: Sequence[str], measures: Sequence[str] | None) -> str:
    """A folder's name that says what was other."""
    said = [*overrides, *(measures or ())]
    return re.sub(r"[^\w.,@=+-]+", "_", ",".join(said)).strip("_.")[:100]


def _original(run: Run, own: Recipe, recipe: Recipe, env: Environment) -> tuple[Environment | None, list[str]]:
    """The run's own environment where the new one is another, with what must be said of it.

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


def _show(results: Sequence[Rescored], summary: dict[str, Any], home: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False)
    for one in tables(summary["results"]):
        console.print(one)
        console.print()
    for note in (*sentences(summary["results"]), *summary["notes"]):
        console.print(note, soft_wrap=True, markup=False)
    console.print(f"written to {home}", soft_wrap=True, markup=False)
