"""`recr1 doctor`: is the data, the retriever and the reward fit to train on? No model is loaded."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from time import perf_counter

from recr1.doctor import Finding, PartFailed, Verdict, open_setup, run_checks, worst
from recr1.recipe import Recipe, find_recipe, load_recipe

FAULTS_FOUND = 3
"""The exit status where a check found an error."""
WIDEST = 120


def doctor(
    name: str,
    overrides: Sequence[str] = (),
    *,
    step_seconds: float = 5.0,
    sample: int = 200,
    as_json: bool = False,
) -> int:
    """Examine what a recipe would train on, and print every finding; returns the exit status.

    Args:
        name: A recipe's file or name.
        overrides: Values in place of the recipe's.
        step_seconds: What a training step takes without its search; the latency is compared with it.
        sample: Items, needs or queries that a check looks at, at most.
        as_json: One JSON object in place of lines.
    """
    start = perf_counter()
    path = find_recipe(name)
    recipe = load_recipe(path, overrides)
    findings = []
    for finding in _findings(recipe, step_seconds, sample):
        findings.append(finding)
        if not as_json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()
    verdict, seconds = worst(findings), perf_counter() - start
    if as_json:
        whole = {
            "recipe": str(path),
            "verdict": verdict,
            "seconds": round(seconds, 3),
            "checks": [finding.to_dict() for finding in findings],
        }
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    else:
        sys.stdout.write(_summary(path.name, findings, verdict, seconds))
    return FAULTS_FOUND if verdict == "error" else 0


def _findings(recipe: Recipe, step_seconds: float, sample: int) -> Iterator[Finding]:
    try:
        setup = open_setup(recipe, step_seconds=step_seconds, sample=sample)
    except PartFailed as failed:
        yield Finding("index", "error", f"{failed}; fix this first: nothing else can be checked")
        return
    yield from run_checks(setup)


def _line(finding: Finding) -> str:
    head = f"{finding.verdict:<8} {finding.name:<14} "
    indent, width = " " * len(head), min(shutil.get_terminal_size().columns, WIDEST)
    text = textwrap.fill(finding.message, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)
    return "".join([text, *(f"\n{indent}| {line}".rstrip() for line in finding.shown.splitlines())]) + "\n"


def _summary(name: str, findings: Sequence[Finding], verdict: Verdict, seconds: float) -> str:
    counts = {wanted: sum(finding.verdict == wanted for finding in findings) for wanted in ("error", "warning")}
    summary = (
        ", ".join(f"{count} {word}{'s' * (count > 1)}" for word, count in counts.items() if count) or "no problems"
    )
    advice = ": fix the errors before training" if verdict == "error" else ""
    return f"{name}: {summary} in {len(findings)} checks, {seconds:.1f} s{advice}\n"
