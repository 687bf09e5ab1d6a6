"""The policies of a comparison: how the command line lists them, and how they are built and measured in turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recr1.compare.policy import ComparedPolicy, measured
from recr1.config.build import Part, build, check_part, find_class, options_of_part
from recr1.config.spelling import read_part, spell_part
from recr1.errors import RecipeError, UserError
from recr1.evaluate import Evaluator
from recr1.policies import Policy
from recr1.policies.base import spent_by
from recr1.policies.model_cache import ModelCache, models_of
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run, policy_of
from recr1.runs.files import runs_here
from recr1.runs.find import trained_part
from retrievers.progress import ProgressBar

USUAL = ("raw", "keywords", "prf", "untrained", "few_shot", "prompt_search", "best_of_8", "best_item")
"""What is compared by default; a run that is the target comes last."""

_NUMBERED = {"best_of": "n", "few_shot": "shots"}
"""Policies that a number may follow, and the option that it is."""


@dataclass(frozen=True)
class ListedPolicy:
    """A policy of `--policies`, read but not built."""

    label: str
    spec: str
    parts: tuple[Part, ...]
    """One for each seed."""
    samples: int
    trained: bool
    notes: tuple[str, ...] = ()
    runs: tuple[dict[str, Any], ...] = ()
    """Facts of the run that each part comes from."""


def read_policies(texts: Sequence[str], recipe: Recipe, measure: str) -> list[ListedPolicy]:
    """The policies of `--policies`; raises `UserError` with every mistake.

    Each is `[LABEL=]POLICY[:SAMPLES]`. POLICY is "raw", "untrained" (the recipe's), a run folder, several with "+"
    between them (seeds of one recipe), or a type with options in brackets; `best_of_8` is `best_of(n=8)`.
    SAMPLES completions per need are averaged; without it the one completion is greedy.

    Args:
        texts: The list, split at its commas.
        recipe: Its policy is used by those that are made of a policy; its task is what all are compared on.
        measure: What an upper bound optimizes.
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
        f"{label}: is listed twice; call one of them LABEL=..."
        for label in sorted(set(labels))
        if labels.count(label) > 1
    ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)), "--policies")
    return named


def _read(text: str, recipe: Recipe, measure: str) -> ListedPolicy:
    label, spec = _labelled(text)
    sampled = re.fullmatch(r"(.+):([1-9][0-9]{0,3})", spec, re.DOTALL)
    plain, samples = (sampled[1], int(sampled[2])) if sampled else (spec, 0)
    folders = [Path(piece.strip()).expanduser() for piece in plain.split("+")]
    if all(folder.is_dir() for folder in folders):
        parts, notes, runs = zip(*(_of_run(folder, recipe) for folder in folders), strict=True)
        shown = label or "+".join(folder.resolve().name for folder in folders) + spec[len(plain) :]
        return ListedPolicy(
            shown, text, parts, samples, trained=True, notes=tuple(dict.fromkeys(sum(notes, ()))), runs=runs
        )
    return ListedPolicy(label or spec, text, (_of_type(plain, recipe, measure),), samples, trained=False)


def _labelled(text: str) -> tuple[str, str]:
    """The label and the policy of `LABEL=POLICY`; no label if the "=" is inside of brackets."""
    found = re.fullmatch(r"\s*([\w .@-]+?)\s*=\s*(.+)", text, re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", text.strip())


def _of_type(text: str, recipe: Recipe, measure: str) -> Part:
    if text == "raw":
        return Part("echo")
    if text == "untrained":
        return recipe.policy
    if "/" in text and "(" not in text:
        listed = ", ".join(runs_here(Path(text).parent)) or "none"
        raise UserError(f"--policies: there is no run folder {text!r} (runs here: {listed})")
    numbered = re.fullmatch(r"(best_of|few_shot)_([0-9]{1,4})", text)
    part = Part(numbered[1], {_NUMBERED[numbered[1]]: int(numbered[2])}) if numbered else read_part(text)
    try:
        known = options_of_part("policy", part.type)
    except UserError as error:
        raise UserError(f"--policies: there is no policy or run folder {text!r}: {error}") from error
    given = {"policy": recipe.policy.to_dict(), "measure": measure}
    return Part(part.type, {**{name: value for name, value in given.items() if name in known}, **part.options})


def _of_run(folder: Path, recipe: Recipe) -> tuple[Part, tuple[str, ...], dict[str, Any]]:
    """The policy that a run trained, how its recipe differs from the one of the comparison, and facts of the run."""
    run = Run.open(folder)
    own = load_recipe(run.path / "recipe.yaml")
    other = [name for name in ("task", "retriever") if getattr(own, name) != getattr(recipe, name)]
    notes = tuple(f"trained with another {name}, {spell_part(getattr(own, name))}" for name in other)
    return trained_part(run, own.policy), notes, policy_of(run)


class PolicyLoader:
    """Builds policies in their order; weights stay in memory while a later policy needs them."""

    def __init__(self, parts: Sequence[Part], cache: ModelCache) -> None:
        self._left, self._cache = list(parts), cache

    def __call__(self, part: Part, label: str) -> Policy:
        """The policy of the next part; `label` is how messages call it."""
        self._cache.keep_only({model for one in self._left for model in models_of(one.options)})
        self._left.remove(part)
        policy: Policy = build("policy", part, path=label)
        return policy


def measure_listed(evaluator: Evaluator, listed: ListedPolicy, bar: ProgressBar, load: PolicyLoader) -> ComparedPolicy:
    """Build a policy and evaluate it, once for each seed."""
    makers: list[Callable[[], Any]] = []
    for part in listed.parts:

        def make(part: Part = part) -> Any:
            # It moves while the policy is loaded and while it finds examples or a prompt, then counts needs.
            bar.begin(listed.label, None)
            policy = load(part, listed.label)
            bar.note(lambda: _tokens(policy))
            return policy

        makers.append(make)
    return measured(
        evaluator,
        makers,
        listed.label,
        listed.spec,
        samples=listed.samples,
        trained=listed.trained,
        notes=listed.notes,
        runs=listed.runs,
    )


def _tokens(policy: Policy) -> str:
    written = spent_by(policy).written
    return f"{written:,} tokens written" if written else ""
