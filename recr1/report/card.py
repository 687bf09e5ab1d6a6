"""The run card (facts, versions, how to repeat a run), and notices: what to know before reading any number."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from recr1.report.run_data import RunData
from recr1.report.tables import duration
from recr1.runs import policy_mismatch, setting_mismatch
from recr1.runs.recording import changed_logs

_FACTS = {
    **{name: name for name in ("status", "started", "ended", "seed")},
    "world_size": "processes",
    "catalog": "catalog fingerprint",
    "retriever": "retriever fingerprint",
    "git": "git commit",
    **{name: name for name in ("platform", "command")},
    "folder": "in folder",
}
MOST = 5  # alerts of one sign that are listed


class Card(NamedTuple):
    """The facts of a run."""

    name: str
    facts: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    again: str  # commands that repeat it
    recipe: str


class Notice(NamedTuple):
    """A sentence and its level: "stop" or "warning"."""

    level: str
    title: str
    text: str


def card(run: RunData) -> Card:
    """The card of a run."""
    facts = run.facts
    shown = [(label, str(facts[key])) for key, label in _FACTS.items() if facts.get(key) is not None]
    if facts.get("seconds"):
        shown.insert(min(3, len(shown)), ("time", duration(float(facts["seconds"]))))
    kept = facts.get("policy")
    if isinstance(kept, dict):
        value = f" ({kept['measure']} {kept['value']:.3f})" if isinstance(kept.get("value"), float) else ""
        chosen = f"chosen on {kept['chosen_on']}" if kept.get("chosen_on") else "not chosen by any number"
        shown.append(("policy", f"{kept.get('keep')} of step {kept.get('step')}{value}, {chosen}"))
    if run.steps:
        shown.append(("steps", str(run.steps)))
    if facts.get("data"):
        shown.append(("data", "; ".join(f"{what}: {count}" for what, count in facts["data"].items())))
    versions = [(name, str(version)) for name, version in (facts.get("versions") or {}).items()]
    folder = shlex.quote(f"{run.path}-again")
    train = f"recr1 train {shlex.quote(str(run.path / 'recipe.yaml'))} --out {folder}"
    return Card(run.name, shown, versions, f"{train}\nrecr1 eval {folder} --split test", run.recipe_text)


def notices(runs: Sequence[RunData]) -> list[Notice]:
    """The notices of all runs, accepted leaks first."""
    found = []
    for kind in (_leaks, _status, _outdated, _alerts):
        for run in runs:
            name = f" ({run.name})" if len(runs) > 1 else ""
            found += [notice._replace(title=f"{notice.title}{name}") for notice in kind(run)]
    return found


def _leaks(run: RunData) -> Iterator[Notice]:
    splits = run.facts.get("splits")
    for leak in splits.get("accepted", []) if isinstance(splits, dict) else []:
        yield Notice("stop", "Leak accepted", f"{leak}")


def _status(run: RunData) -> Iterator[Notice]:
    status = run.facts["status"]
    if status == "running":
        text = f"The last logged step is {run.steps}. The run is still training, or was killed."
        yield Notice("warning", "Not finished", text)
    elif status != "finished":
        why = f" {run.facts['error']}" if run.facts.get("error") else ""
        text = f"The run ended as {status} after step {run.steps}.{why} Resume it with: recr1 train {run.path}"
        yield Notice("stop" if status == "failed" else "warning", str(status).capitalize(), text)
    for changed in changed_logs(run.path, run.facts):
        yield Notice("stop", "A log has changed", f"{changed}. What this report shows of it may be incomplete.")
    stopped = run.facts.get("stopped")
    if isinstance(stopped, dict):
        collapsed = stopped.get("why") == "collapse"
        title, level = ("Stopped by the alarm", "stop") if collapsed else ("Ended early", "warning")
        yield Notice(level, title, f"After step {stopped.get('step')}: {stopped.get('text')}")


def _outdated(run: RunData) -> Iterator[Notice]:
    """Evaluations that are not of the run as it is now."""
    for one in run.evaluated:
        origin = one.summary.get("origin") or {"catalog": one.summary["settings"].get("catalog")}
        why = [*policy_mismatch(origin, run.facts), *setting_mismatch(origin, run.facts, run.recipe)]
        if why:
            text = f"{one.folder}: {'; '.join(why)}. Write it again: recr1 eval {run.path} --split {one.split}"
            yield Notice("warning", "Evaluation out of date", text)


def _alerts(run: RunData) -> Iterator[Notice]:
    by_sign: dict[str, list[Mapping[str, Any]]] = {}
    for alert in run.alerts:
        by_sign.setdefault(str(alert.get("sign")), []).append(alert)
    for sign, alerts in by_sign.items():
        for alert in alerts[:MOST]:
            level = "stop" if alert.get("level") == "stop" else "warning"
            yield Notice(level, f"Alarm: {sign}", f"Step {alert['step']}: {alert.get('text')}")
        if len(alerts) > MOST:
            more = f"{len(alerts) - MOST} more of this sign, up to step {alerts[-1]['step']}."
            yield Notice("warning", f"Alarm: {sign}", more)
