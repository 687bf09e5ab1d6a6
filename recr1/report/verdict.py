"""The verdict of a report: is the gain real, and what does the answer rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recr1.judge.difference import RAW_NEED, Difference, Tone, paired_tests, statement
from recr1.report.pool import Group, Pooled
from recr1.report.source import Source


@dataclass(frozen=True)
class Verdict:
    """The result of a group of runs."""

    tone: Tone
    sentence: str
    remarks: Sequence[str] = ()
    """Each seed, what the numbers rest on, and what to run next."""


def verdict(group: Group) -> Verdict:
    """From held-out needs if there are any, else from the validation during training, else what to run."""
    if not group.splits:
        return _unevaluated(group)
    split, policies = next(iter(group.splits.items()))
    last, measure = policies[-1], policies[-1].first.measures[0]
    tests = comparisons(policies, measure)
    said = "; ".join(statement(last.policy, other, measure, test) for other, test in tests.items())
    where = f"held-out needs of '{split}'" if split == "test" else f"needs of '{split}'"
    runs = f", {len(group.runs)} runs" if len(group.runs) > 1 else ""
    return Verdict(tests[RAW_NEED].tone, f"On {where}{runs}, {said}.", [*_remarks(group, last, measure, split)])


def comparisons(policies: Sequence[Pooled], measure: str) -> dict[str, Difference]:
    """The last policy against the raw need and against each other policy, with corrected p (Holm)."""
    last = policies[-1]
    rivals = {RAW_NEED: last.by_run(measure, "floor")}
    rivals |= {other.policy: other.by_run(measure) for other in policies[:-1] if other.first.needs == last.first.needs}
    return paired_tests(last.by_run(measure), rivals, seed=last.seed)


def _remarks(group: Group, last: Pooled, measure: str, split: str) -> Iterator[str]:
    if len(group.runs) > 1:
        gains = last.gains(measure)
        yield (
            f"The gain over the raw need is {min(gains):+.3f} to {max(gains):+.3f} over the {len(gains)} runs. "
            "Intervals and p are over needs and seeds."
        )
    if split != "test":
        chose = "The checkpoint may have been chosen on these needs. " * (split == "validation")
        yield f"{chose}For held-out needs: recr1 eval {group.runs[0].path} --split test"
    if _corrected(last, group):
        yield "p values are corrected for the number of tests (Holm)."


def _corrected(last: Pooled, group: Group) -> bool:
    return any(len(policies) > 1 for policies in group.splits.values() if last in policies)


def _unevaluated(group: Group) -> Verdict:
    run = group.runs[0]
    todo = [f"Not evaluated yet. For the verdict: recr1 eval {one.path} --split test" for one in group.runs]
    if len(group.runs) > 1 and all(one.judged for one in group.runs):
        todo = ["The runs were not evaluated with the same policies on the same needs, so they are not pooled."]
    seen = last_validation(run)
    if seen is None:
        return Verdict("open", f"There is no result yet: {run.name} has no evaluation and no validation.", todo)
    sentence = (
        f"During training, {seen['measure']} was {seen['value']:.3f} on the {seen['split']} needs after step "
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
