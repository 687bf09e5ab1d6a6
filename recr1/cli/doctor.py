"""`recr1 doctor`: can you train on this data, retriever and reward, and with --policy, this model?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero, add_json, add_recipe, at_least
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.doctor import Finding, Setup, Verdict
    from recr1.recipe import Recipe


def add(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    text = "seconds of a training step without its search, to compare the latency with (default: 5)"
    parser.add_argument("--step", metavar="S", type=above_zero, default=5.0, help=text)
    text = "the most items, needs or queries that a check looks at (default: 200)"
    parser.add_argument("--sample", metavar="N", type=at_least(10), default=200, help=text)
    text = "load the policy too, and check what only the model can tell; takes two training steps and more"
    parser.add_argument("--policy", action="store_true", help=text)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Examine what a recipe would train on, and print every finding; returns the exit status, 3 if one is an error."""
    from recr1.config.shipped import find_recipe
    from recr1.doctor import Finding, PartFailed, open_setup, run_checks, worst
    from recr1.recipe import load_recipe

    start = perf_counter()
    path = find_recipe(args.recipe)
    recipe = load_recipe(path, args.overrides)
    found: Iterable[Finding]
    try:
        setup = open_setup(recipe, step_seconds=args.step, sample=args.sample)
        found = chain(run_checks(setup), _of_policy(setup, recipe)) if args.policy else run_checks(setup)
    except PartFailed as failed:
        found = [Finding("index", "error", f"{failed}; fix this first: nothing else can be checked")]
    findings = []
    for finding in found:
        findings.append(finding)
        if not args.json:
            say(_line(finding))
    verdict, seconds = worst(findings), perf_counter() - start
    if args.json:
        whole = {
            "recipe": str(path),
            "verdict": verdict,
            "seconds": round(seconds, 3),
            "checks": [finding.to_dict() for finding in findings],
        }
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    else:
        say(_summary(path.name, findings, verdict, seconds))
    return 3 if verdict == "error" else 0


def _of_policy(setup: Setup, recipe: Recipe) -> Iterable[Finding]:
    from recr1.cli.train import stop_on_sigterm
    from recr1.doctor import PartFailed
    from recr1.doctor.policy import PolicySetup, run_policy_checks

    for missing in recipe.missing_libraries():
        raise missing
    stop_on_sigterm()  # else the process of a training step, and its folder, would stay behind
    opened = PolicySetup(setup, recipe)
    if opened.checkable:
        with suppress(PartFailed):  # a check says it
            _ = opened.policy  # a model that is not there is a mistake of the recipe
    return run_policy_checks(opened)


def _line(finding: Finding) -> str:
    head = f"{finding.verdict:<8} {finding.name:<14} "
    shown = (f"{' ' * len(head)}| {line}".rstrip() for line in finding.shown.splitlines())
    return "\n".join([head + finding.message, *shown])


def _summary(name: str, findings: Sequence[Finding], verdict: Verdict, seconds: float) -> str:
    counts = {wanted: sum(finding.verdict == wanted for finding in findings) for wanted in ("error", "warning")}
    listed = [f"{count} {word}{'s' * (count > 1)}" for word, count in counts.items() if count]
    advice = ": fix the errors before training" if verdict == "error" else ""
    checks = f"{len(findings)} check{'s' * (len(findings) > 1)}"
    return f"{name}: {', '.join(listed) or 'no problems'} in {checks}, {seconds:.1f} s{advice}"
