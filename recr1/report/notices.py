"""What a reader must know before any number: an accepted leak, alerts, a run that has not ended as planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recr1.report.source import Source
from recr1.runs import policy_mismatch, setting_mismatch

MOST = 5
"""Alerts of one sign that are told one by one."""


class Notice(NamedTuple):
    """A sentence, and how bad it is: "stop" or "warning"."""

    level: str
    title: str
    text: str


def notices(sources: Sequence[Source]) -> list[Notice]:
    """All of all runs, an accepted leak first."""
    several = len(sources) > 1
    found = [
        notice
        for kind in (_leaks, _status, _outdated, _alerts)
        for source in sources
        for notice in kind(source, several)
    ]
    return found


def _leaks(source: Source, several: bool) -> Iterator[Notice]:  # noqa: FBT001 - one of three alike
    splits = source.facts.get("splits")
    accepted = splits.get("accepted", []) if isinstance(splits, dict) else []
    for remark in accepted:
        yield Notice("stop", _titled("Leak accepted", source, several), f"{remark}")


def _status(source: Source, several: bool) -> Iterator[Notice]:  # noqa: FBT001
    status = source.facts["status"]
    if status == "running":
        text = f"Step {source.steps} is the last that was logged. The numbers are of a run that goes on, or was killed."
        yield Notice("warning", _titled("Not finished", source, several), text)
    elif status != "finished":
        why = f" {source.facts['error']}" if source.facts.get("error") else ""
        text = f"The run ended as {status} after step {source.steps}.{why} Go on with it: recr1 train {source.path}"
        yield Notice(
            "stop" if status == "failed" else "warning", _titled(str(status).capitalize(), source, several), text
        )
    stopped = source.facts.get("stopped")
    if isinstance(stopped, dict):
        title = "Stopped by the alarm" if stopped.get("why") == "collapse" else "Ended early"
        level = "stop" if stopped.get("why") == "collapse" else "warning"
        yield Notice(level, _titled(title, source, several), f"After step {stopped.get('step')}: {stopped.get('text')}")


def _outdated(source: Source, several: bool) -> Iterator[Notice]:  # noqa: FBT001
    """Evaluations that are not of the run as it is now."""
    for one in source.judged:
        origin = one.summary.get("origin") or {"catalog": one.summary["settings"].get("catalog")}
        why = [*policy_mismatch(origin, source.facts), *setting_mismatch(origin, source.facts, source.recipe)]
        if why:
            text = f"{one.folder}: {'; '.join(why)}. Write it again: recr1 eval {source.path} --split {one.split}"
            yield Notice("warning", _titled("Evaluation out of date", source, several), text)


def _alerts(source: Source, several: bool) -> Iterator[Notice]:  # noqa: FBT001
    by_sign: dict[str, list[dict[str, object]]] = {}
    for alert in source.alerts:
        by_sign.setdefault(str(alert.get("sign")), []).append(dict(alert))
    for sign, alerts in by_sign.items():
        for alert in alerts[:MOST]:
            level = "stop" if alert.get("level") == "stop" else "warning"
            yield Notice(
                level, _titled(f"Alarm: {sign}", source, several), f"Step {alert['step']}: {alert.get('text')}"
            )
        if len(alerts) > MOST:
            more = f"{len(alerts) - MOST} more of this sign, up to step {alerts[-1]['step']}."
            yield Notice("warning", _titled(f"Alarm: {sign}", source, several), more)


def _titled(title: str, source: Source, several: bool) -> str:  # noqa: FBT001
    return f"{title} ({source.name})" if several else title
