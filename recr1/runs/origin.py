"""Of which policy of which run a result is, kept beside the result, so that one that is out of date can be told.

A run that goes on keeps its folder and its name while its policy becomes another one, and a command can be given
another task, retriever or k than the run has. What a result came from is compared with what the run is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recr1.runs.run import Run

SETTING = ("task", "retriever", "k")
"""Keys of a recipe without which a number on needs means nothing."""

IDENTITY = ("started", "seed")
"""Facts of a run that no other run has both of, whatever its folder is called."""


def policy_of(run: Run) -> dict[str, Any]:
    """Which policy a run leaves now: its name, seed, when it started, and the step of the policy that it keeps."""
    facts = run.facts()
    return {"run": run.path.resolve().name, **{name: facts.get(name) for name in IDENTITY}, "step": _step(facts)}


def of_run(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether a result is of this run; two that started in the same second differ in their seeds."""
    return all(origin.get(name) == facts.get(name) for name in IDENTITY)


def setting_of(recipe: Mapping[str, Any], catalog: str) -> dict[str, Any]:
    """What a result was made with: task, retriever and k of a resolved recipe, and the fingerprint of the catalog."""
    return {name: recipe.get(name) for name in SETTING} | {"catalog": catalog}


def origin_of(run: Run, recipe: Mapping[str, Any], catalog: str) -> dict[str, Any]:
    """What a result of a run holds as `origin`.

    Args:
        run: Whose policy it is of.
        recipe: The resolved recipe that it was made with, with the overrides of the command.
        catalog: The fingerprint of the catalog that was searched.
    """
    return policy_of(run) | setting_of(recipe, catalog)


def other_policy(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """In words, why a result is not of the policy that a run leaves now; nothing where that is not known."""
    step = origin.get("step")
    if not origin.get("started"):
        return
    if not of_run(origin, facts):
        was, now = (", ".join(f"{name} {of.get(name)}" for name in IDENTITY) for of in (origin, facts))
        yield f"it is of another run ({was}; this one: {now})"
    elif None not in (step, _step(facts)) and step != _step(facts):
        yield f"it is of the policy of step {step}, and the run now keeps that of step {_step(facts)}"


def other_setting(origin: Mapping[str, Any], facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """In words, what else than the run's own a result was made with; nothing where that is not known."""
    unlike = [name for name in SETTING if origin.get(name) is not None and origin[name] != recipe.get(name)]
    if unlike:
        yield f"it was made with another {' and another '.join(unlike)} than the run's"
    elif None not in (origin.get("catalog"), facts.get("catalog")) and origin["catalog"] != facts["catalog"]:
        yield "it was made with another catalog than the run's, under the same name"


def _step(facts: Mapping[str, Any]) -> int | None:
    kept = facts.get("policy")
    return kept.get("step") if isinstance(kept, dict) else None
