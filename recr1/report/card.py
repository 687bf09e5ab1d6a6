"""The run card: what a run was, with which versions and fingerprints, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recr1.report.source import Source
from recr1.report.tables import duration

_FACTS = (
    ("status", "status"),
    ("started", "started"),
    ("ended", "ended"),
    ("seed", "seed"),
    ("world_size", "processes"),
    ("catalog", "catalog fingerprint"),
    ("retriever", "retriever fingerprint"),
    ("git", "git commit"),
    ("platform", "platform"),
    ("command", "command"),
    ("folder", "in folder"),
)


@dataclass(frozen=True)
class Card:
    """A run in facts."""

    name: str
    facts: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    again: str
    """Commands that do it again."""
    recipe: str


def card(source: Source) -> Card:
    """The card of a run."""
    facts = source.facts
    told = [(label, str(facts[key])) for key, label in _FACTS if facts.get(key) is not None]
    if facts.get("seconds"):
        told.insert(min(3, len(told)), ("time", duration(float(facts["seconds"]))))
    told += _policy(facts)
    if source.steps:
        told.append(("steps", str(source.steps)))
    versions: Mapping[str, Any] = facts.get("versions") or {}
    recipe = shlex.quote(str(source.path / "recipe.yaml"))
    folder = shlex.quote(f"{source.path}-again")
    lines = [f"recr1 train {recipe} --out {folder}", f"recr1 eval {folder} --split test"]
    pins = [(name, str(version)) for name, version in versions.items()]
    return Card(source.name, told, pins, "\n".join(lines), source.recipe_text)


def _policy(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    kept = facts.get("policy")
    if not isinstance(kept, dict):
        return []
    chosen = f", chosen on {kept['chosen_on']}" if kept.get("chosen_on") else ", not chosen by any number"
    value = f" ({kept['measure']} {kept['value']:.3f})" if isinstance(kept.get("value"), float) else ""
    return [("policy", f"{kept.get('keep')} of step {kept.get('step')}{value}{chosen}")]
