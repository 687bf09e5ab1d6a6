"""`recr1 compare`: policies, baselines and bounds in one table, with the tests that say which differences are real."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recr1.cli.swap import read_part, spell_part
from recr1.cli.trained import trained_part
from recr1.compare import ComparedPolicy, Comparison, measured, tables, verdict, verdicts, write
from recr1.config.build import Part, build, check_part, find_class
from recr1.env import open_environment
from recr1.errors import RecipeError, UserError
from recr1.evaluate import Evaluator
from recr1.policies import Policy
from recr1.policies.base import spent_by
from recr1.policies.model_cache import ModelCache, model_cache, models_of
from recr1.recipe import Recipe, find_recipe, load_recipe
from recr1.runs import Run, policy_of, setting_of
from retrievers.options import options_of
from retrievers.progress import ProgressBar

USUAL = ("raw", "keywords", "prf", "untrained", "few_shot", "prompt_search", "best_of_8", "best_item")
"""What is compared where nothing is named, beside the run that is the target."""

_NUMBERED = {"best_of": "n", "few_shot": "shots"}
"""Policies that a number may follow, and the option that it is."""


@dataclass(frozen=True)
class Named:
    """A policy of `--policies`, read but not built."""

    label: str
    spec: str
    parts: tuple[Part, ...]
    """One for each seed."""
    samples: int
    trained: bool
    notes: tuple[str, ...] = ()
    runs: tuple[dict[str, Any], ...] = ()
    """Of which run's policy each part is."""


def compare(
    target: str,
    overrides: Sequence[str] = (),
    *,
    policies: Sequence[str] | None = None,
    split: str = "test",
    measures: Sequence[str] | None = None,
    needs: int | None = None,
    category: str | None = None,
    out: str | None = None,
    as_json: bool = False,
) -> int:
    """Evaluate all policies on the same needs, test what differs, and print and write it.

    Args:
        target: A recipe's file or name, or a run folder, whose policy is then compared too.
        overrides: Values in place of the recipe's.
        policies: How `read_policies` takes them.
        split: Whose needs.
        measures: Names in place of the recipe's; the first is what verdicts are about.
        needs: At most so many, the first ones.
        category: The catalog field to slice by.
        out: A folder for tables and numbers; that of the run, `compare/<split>`, where the target is one.
        as_json: The content of `compare.json` in place of tables.
    """
    folder = Path(target) if Path(target).is_dir() else None
    recipe = load_recipe(Run.open(folder).path / "recipe.yaml" if folder else find_recipe(target), overrides)
    names = measures or recipe.evaluate.measures
    asked = policies or [*USUAL, *([str(folder)] if folder else [])]
    named = read_policies(asked, recipe, names[0])
    with ProgressBar(quiet=as_json) as bar, model_cache() as cache:
        with bar.replaced_by("reading the catalog and building the index"):
            env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
        evaluator = Evaluator(env, split, names, limit=needs, seed=recipe.seed, progress=bar.advance)
        bar.begin("floor and ceiling", len(evaluator.needs))
        evaluator.prepare(bar.advance)
        load = _Loader([part for one in named for part in one.parts], cache)
        entries = [_entry(evaluator, one, bar, load) for one in named]
        bar.begin("tests", 1)
        setting = setting_of(recipe.to_dict(), env.task.catalog.fingerprint)
        comparison = Comparison(entries, category=category, setting=setting)
        comparison.summary  # noqa: B018 - under the bar: tests and slices take their time
        bar.advance(1, 1)
    home = Path(out) if out else folder / "compare" / split if folder else None
    if home:
        write(comparison, home)
    if as_json:
        said = {"verdict": verdict(comparison), "verdicts": verdicts(comparison)}
        sys.stdout.write(json.dumps(comparison.summary | said) + "\n")
    else:
        _show(comparison, home)
    return 0


class _Loader:
    """Builds the policies in their order; weights stay in memory as long as one that is to come is made of them."""

    def __init__(self, parts: Sequence[Part], cache: ModelCache) -> None:
        self._left, self._cache = list(parts), cache

    def __call__(self, part: Part, label: str) -> Policy:
        self._cache.keep_only({model for one in self._left for model in models_of(one.options)})
        self._left.remove(part)
        policy: Policy = build("policy", part, path=label)
        return policy


def _entry(evaluator: Evaluator, named: Named, bar: ProgressBar, load: _Loader) -> ComparedPolicy:
    makers: list[Callable[[], Any]] = []
    for part in named.parts:

        def make(part: Part = part) -> Any:
            # It moves while the policy is loaded and while it finds examples or a prompt, then counts needs.
            bar.begin(named.label, None)
            policy = load(part, named.label)
            bar.note(lambda: _tokens(policy))
            return policy

        makers.append(make)
    return measured(
        evaluator,
        makers,
        named.label,
        named.spec,
        samples=named.samples,
        trained=named.trained,
        notes=named.notes,
        runs=named.runs,
    )


def _tokens(policy: Policy) -> str:
    written = spent_by(policy).written
    return f"{written:,} tokens written" if written else ""


def read_policies(texts: Sequence[str], recipe: Recipe, measure: str) -> list[Named]:
    """The policies of `--policies`; raises `UserError` with every mistake.

    Each is `[LABEL=]POLICY[:SAMPLES]`. POLICY is "raw", "untrained" (the recipe's), a run folder, several with "+"
    between them (seeds of one way of training), or a type with options in brackets; `best_of_8` is `best_of(n=8)`.
    SAMPLES completions per need are averaged; without it the one completion is greedy.

    Args:
        texts: What stands between the commas.
        recipe: Whose policy the ones are made of that need one, and whose task runs are compared on.
        measure: What a bound raises that needs one.
    """
    named = [_read(text, recipe, measure) for text in texts]
    problems = []
    for one in named:
        for part in one.parts:
            problems += [str(problem) for problem in check_part("policy", part.to_dict(), one.label)]
            if not problems:
                ask = getattr(find_class("policy", part.type), "missing_libraries", None)
                problems += [f"{one.label}: {missing}" for missing in (ask(part.options) if ask else ())]
    labels = [one.label for one in named]
    problems += [
        f"{label}: stands there twice; name one LABEL=..." for label in sorted(set(labels)) if labels.count(label) > 1
    ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)), "--policies")
    return named


def _read(text: str, recipe: Recipe, measure: str) -> Named:
    label, spec = _labelled(text)
    sampled = re.fullmatch(r"(.+):([1-9][0-9]{0,3})", spec, re.DOTALL)
    plain, samples = (sampled[1], int(sampled[2])) if sampled else (spec, 0)
    folders = [Path(piece.strip()).expanduser() for piece in plain.split("+")]
    if all(folder.is_dir() for folder in folders):
        parts, notes, runs = zip(*(_of_run(folder, recipe) for folder in folders), strict=True)
        shown = label or "+".join(folder.resolve().name for folder in folders) + spec[len(plain) :]
        return Named(shown, text, parts, samples, trained=True, notes=tuple(dict.fromkeys(sum(notes, ()))), runs=runs)
    return Named(label or spec, text, (_of_type(plain, recipe, measure),), samples, trained=False)


def _labelled(text: str) -> tuple[str, str]:
    """`LABEL=POLICY` apart; no label where the "=" is one of an option."""
    found = re.fullmatch(r"\s*([\w .@-]+?)\s*=\s*(.+)", text, re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", text.strip())


def _of_type(text: str, recipe: Recipe, measure: str) -> Part:
    if text == "raw":
        return Part("echo")
    if text == "untrained":
        return recipe.policy
    numbered = re.fullmatch(r"(best_of|few_shot)_([0-9]{1,4})", text)
    part = Part(numbered[1], {_NUMBERED[numbered[1]]: int(numbered[2])}) if numbered else read_part(text)
    try:
        known = options_of(find_class("policy", part.type))
    except UserError as error:
        raise UserError(f"--policies: {text!r} is no policy, and no run folder: {error}") from error
    given = {"policy": recipe.policy.to_dict(), "measure": measure}
    return Part(part.type, {**{name: value for name, value in given.items() if name in known}, **part.options})


def _of_run(folder: Path, recipe: Recipe) -> tuple[Part, tuple[str, ...], dict[str, Any]]:
    """The policy that a run trained, what is other than in the recipe that it is compared under, and which it is."""
    run = Run.open(folder)
    own = load_recipe(run.path / "recipe.yaml")
    other = [name for name in ("task", "retriever") if getattr(own, name) != getattr(recipe, name)]
    notes = tuple(f"trained with another {name}, {spell_part(getattr(own, name))}" for name in other)
    return trained_part(run, own.policy), notes, policy_of(run)


def _show(comparison: Comparison, home: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables(comparison):
        console.print(table)
        console.print()
    for sentence in verdicts(comparison).values():
        console.print(f"- {sentence}", soft_wrap=True, markup=False)
    console.print(f"\n{verdict(comparison)}", soft_wrap=True, markup=False, style="bold")
    if home:
        console.print(f"written to {home}", soft_wrap=True)
