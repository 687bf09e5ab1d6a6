"""The model card of a bundle, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recr1.config.build import build
from recr1.errors import MissingLibrary
from recr1.formats import SLOT
from recr1.judge.difference import Difference, statement
from recr1.recipe import Recipe
from recr1.runs import Run
from rewards.base import Need

TEMPLATES = Path(__file__).with_name("templates")


def card(run: Run, recipe: Recipe, facts: Mapping[str, Any] | None = None) -> str:
    """The card of a run; `facts` are those of its bundle, if there is one.

    Numbers are those of `recr1 eval RUN --split test`, if it was run. What the run does not know, such as the licence
    of its data, is left to the reader to fill in, and the card says so.
    """
    facts = facts or {}
    base = recipe.policy.options.get("model", "")
    values = {
        "facts": facts,
        "name": run.path.resolve().name,
        "base": base if "/" in str(base) and not Path(str(base)).exists() else None,
        "model": base,
        "task": recipe.task.type,
        "retriever": recipe.retriever.type,
        "k": recipe.k,
        "rewards": ", ".join(f"{weight:g} x {of.options.get('measure', of.type)}" for of, weight in recipe.rewards),
        "stages": ", ".join(f"{part.type} ({part.options.get('steps', '?')} steps)" for part in recipe.stages),
        "seed": run.facts().get("seed", 0),
        "data": run.facts().get("data", {}),
        "check": checked_text(facts["check"]) if "check" in facts else [],
        "results": _results(run.path / "eval" / "test" / "trained" / "eval.json"),
        "prompt": _prompt(facts),
    }
    return str(templates(TEMPLATES).get_template("card.md").render(values))


def templates(folder: Path) -> Any:
    """The templates of a folder, for text that is not HTML; raises `MissingLibrary` without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingLibrary("jinja2", "report", "writing a bundle or an export") from error
    how: dict[str, Any] = dict.fromkeys(("trim_blocks", "lstrip_blocks", "keep_trailing_newline"), True)
    made = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, **how)
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return made


def _prompt(facts: Mapping[str, Any]) -> str | None:
    if "format" not in facts:
        return None
    chat = build("format", facts["format"]).render(Need("", SLOT))
    return "\n".join(f"{message['role']}: {message['content']}" for message in chat)


def _results(path: Path) -> list[str]:
    """The gain over the raw need in each measure, a sentence for each; none without an evaluation."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [
        f"{statement('trained', 'the raw need', measure, Difference(**of['versus_floor']))} "
        f"({of['policy']['mean']:.3f}; raw {of['floor']['mean']:.3f}, best query that was found "
        f"{of['ceiling']['mean']:.3f})."
        for measure, of in summary["measures"].items()
    ]


def checked_text(check: Mapping[str, Any]) -> list[str]:
    """What the check of a bundle saw, a sentence for each engine."""
    return [
        f"{engine}: {one['equal']} of {check['needs']} held-out queries equal those of the run, {check['measure']} "
        f"{one['before'] + one['difference']:.3f} ({one['difference']:+.3f}, 95% interval {one['low']:+.3f} to "
        f"{one['high']:+.3f})"
        for engine, one in check.items()
        if isinstance(one, Mapping)
    ]
