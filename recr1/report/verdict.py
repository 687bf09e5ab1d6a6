"""The verdict: is the gain real, in a sentence that says how large it is, how sure, and against what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recr1.judge.phrases import Tone, clause, tone_of
from recr1.judge.stats import Comparison, compare, holm
from recr1.report.pool import Group, Pooled
from recr1.report.source import Source


@dataclass(frozen=True)
class Against:
    """The policy against another on the same needs."""

    other: str
    test: Comparison
    p: float
    """Of the paired randomisation test, after Holm's correction over all comparisons of a verdict."""

    @property
    def tone(self) -> Tone:
        """Whether the difference is real, and which way."""
        return tone_of(self.test.difference, self.p)


@dataclass(frozen=True)
class Verdict:
    """What a group of runs has reached."""

    tone: Tone
    sentence: str
    remarks: Sequence[str] = ()
    """What the sentence does not say: the seeds apart, what it rests on, what to run next."""


def verdict(group: Group) -> Verdict:
    """Of held-out needs where there are any, else of the validation while it trained, else what to run."""
    if not group.splits:
        return _unevaluated(group)
    split, policies = next(iter(group.splits.items()))
    last, measure = policies[-1], policies[-1].first.measures[0]
    against = comparisons(policies, measure)
    sentence = f"{_subject(last, group)} is {', '.join(_clauses(against, measure))}, on {_needs(last, split)}."
    return Verdict(against[0].tone, sentence, [*_remarks(group, last, measure, split)])


def comparisons(policies: Sequence[Pooled], measure: str) -> list[Against]:
    """The last policy against the raw need, and against each other policy; p after Holm's correction."""
    last = policies[-1]
    rivals = {"the raw need": last.values(measure, "floor")}
    rivals |= {_named(other): other.values(measure) for other in policies[:-1] if other.first.needs == last.first.needs}
    tests = {name: compare(last.values(measure), values, seed=last.seed) for name, values in rivals.items()}
    corrected = holm([test.p for test in tests.values()])
    return [Against(name, test, p) for (name, test), p in zip(tests.items(), corrected.tolist(), strict=True)]


def _clauses(against: Sequence[Against], measure: str) -> Iterator[str]:
    for one in against:
        yield clause(one.other, measure, (one.test.difference, one.test.low, one.test.high), one.p)


def _subject(last: Pooled, group: Group) -> str:
    name = _named(last)
    runs = f" (mean of {len(group.runs)} runs)" if len(group.runs) > 1 else ""
    return f"{name[0].upper()}{name[1:]}{runs}"


def _named(policy: Pooled) -> str:
    known = policy.policy in ("trained", "untrained")
    return f"the {policy.policy} policy" if known else f"the policy '{policy.policy}'"


def _needs(last: Pooled, split: str) -> str:
    return f"{len(last.first.needs)} {'held-out ' * (split == 'test')}needs of '{split}'"


def _remarks(group: Group, last: Pooled, measure: str, split: str) -> Iterator[str]:
    if len(group.runs) > 1:
        gains = last.gains(measure)
        yield (
            f"The gain over the raw need is {min(gains):+.3f} to {max(gains):+.3f} over the {len(gains)} runs. The "
            "interval is over needs: it says how far other needs would move the mean, and not other seeds."
        )
    if split != "test":
        chose = "These needs may have chosen the checkpoint. " * (split == "validation")
        yield f"{chose}For needs that chose nothing: recr1 eval {group.runs[0].path} --split test"
    if _corrected(last, group):
        yield "p values are corrected for the number of comparisons (Holm)."


def _corrected(last: Pooled, group: Group) -> bool:
    return any(len(policies) > 1 for policies in group.splits.values() if last in policies)


def _unevaluated(group: Group) -> Verdict:
    run = group.runs[0]
    todo = [f"Not evaluated yet. For the verdict: recr1 eval {one.path} --split test" for one in group.runs]
    if len(group.runs) > 1 and all(one.judged for one in group.runs):
        todo = ["The runs were not evaluated with the same policies on the same needs, and are not pooled."]
    seen = last_validation(run)
    if seen is None:
        return Verdict("open", f"Nothing can be said yet: {run.name} holds no evaluation and no validation.", todo)
    sentence = (
        f"While it trained, {seen['measure']} was {seen['value']:.3f} on the {seen['split']} needs after step "
        f"{seen['step']} (raw need {seen['floor']:.3f}, ceiling {seen['ceiling']:.3f}): an indication, not a result."
    )
    return Verdict("open", sentence, todo)


def last_validation(run: Source) -> dict[str, Any] | None:
    """The last validation of a run: split, measure, step, value, floor and ceiling; None without one."""
    for line in reversed(run.metrics):
        for name, value in line.items():
            parts = name.split("/")
            bounds = [line.get(f"{name}/{bound}") for bound in ("floor", "ceiling")]
            if parts[0] == "eval" and len(parts) == 3 and None not in (value, *bounds):
                _, split, measure = parts
                whole = {"split": split, "measure": measure, "step": line["step"], "value": value}
                return whole | dict(zip(("floor", "ceiling"), bounds, strict=True))
    return None
