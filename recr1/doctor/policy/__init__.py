"""`recr1 doctor --policy`: checks of a recipe's policy that need its model, each from PolicySetup to Finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from recr1.doctor.base import Finding, PartFailed, catching
from recr1.doctor.policy.opened import PolicySetup
from recr1.doctor.policy.reading import answer_format, context, template, tokens
from recr1.doctor.policy.training import agreement, step
from recr1.doctor.policy.writing import batch, completions, finite
from recr1.errors import UserError

__all__ = ["POLICY_CHECKS", "PolicySetup", "run_policy_checks"]

POLICY_CHECKS: Mapping[str, Callable[[PolicySetup], Finding]] = {
    check.__name__: check
    for check in (context, template, tokens, answer_format, finite, batch, completions, agreement, step)
}
"""Every check of a policy by its name, in the order in which they run."""
DECIDE = ("tokens", "finite")
"""Checks whose errors make what a model writes meaningless: none is made after them."""


def run_policy_checks(opened: PolicySetup) -> Iterator[Finding]:
    """Yield each finding as it is made; one line for a policy that is no model."""
    kind = opened.recipe.policy.type
    if not opened.checkable:
        what = f"not checked: policy.type {kind!r} is not a model of transformers, which --policy is about"
        yield Finding("policy", "warning", what, {})
        return
    for name, check in POLICY_CHECKS.items():
        try:
            with catching(f"the check {name}"):
                found = check(opened)
        except (PartFailed, UserError) as failed:
            found = Finding(name, "error", str(failed))
        last = (found.verdict == "error" and name in DECIDE) or not opened.probes
        yield replace(found, message=f"{found.message}; no check was made after this one") if last else found
        if last:
            return
