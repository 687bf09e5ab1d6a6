"""What a gate does: raw needs, all rewritten, those that the gate rewrites, and those that truly gain, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.gate.fit import ROUNDING
from recr1.gate.gate import FILE, Gate
from recr1.judge.difference import bounds_text, mean_cell
from recr1.judge.stats import LEVEL, Doubles, mean_interval
from recr1.judge.table import Table
from recr1.runs import Run, policy_mismatch

SYSTEMS = {"raw": "raw", "always": "always", "gated": "gated", "oracle": "oracle gate"}


def gate_of(run: Run) -> Gate | None:
    """The gate in a run folder, if there is one; raises `UserError` as `Gate.load`."""
    path = run.path / FILE
    return Gate.load(path) if path.exists() else None


def remarks_on_gate(gate: Gate, run: Run) -> Iterator[str]:
    """What to know before a run's gate is used: that it was fitted on another policy."""
    for why in policy_mismatch(gate.facts.get("origin") or {}, run.facts()):
        yield f"{run.path / FILE} does not belong to this policy: {why} (make it again with recr1 gate {run.path})"


def outcome(
    gate: Gate, measure: str, raw_N: Doubles, policy_SN: Doubles, open_SN: NDArray[np.bool_], *, seed: int
) -> dict[str, Any]:
    """What `eval.json` has under `gate`: of each system its mean with interval, and shares of all needs.

    `policy_SN` are the values of the S seeds of a policy on N needs, and `open_SN` which of them its gate lets through.
    `kept` is the share of the gain of "always"; None where there is none.
    """
    policy_SN, open_SN = np.atleast_2d(policy_SN), np.atleast_2d(open_SN)
    raw_SN = np.broadcast_to(raw_N, policy_SN.shape)
    everywhere_SN = np.ones(policy_SN.shape, bool)
    chosen = {"raw": ~everywhere_SN, "always": everywhere_SN, "gated": open_SN, "oracle": policy_SN > raw_SN}
    gained, systems = float((policy_SN - raw_SN).mean()), {}
    for name, rewrites in chosen.items():
        served_SN = np.where(rewrites, policy_SN, raw_SN)
        harmed_SN = served_SN < raw_SN - gate.facts["margin"] - ROUNDING
        systems[name] = {
            **mean_interval(served_SN if name != "raw" else raw_SN[:1], seed=seed)._asdict(),
            "rewritten": float(rewrites.mean()),
            "harmed": float(harmed_SN.mean()),
            "kept": float((served_SN - raw_SN).mean()) / gained if gained > 0 else None,
        }
    known = ("margin", "bound", "confidence", "threshold", "closed")
    fitted = {"measure": gate.facts.get("measure"), "split": gate.facts.get("split")}
    return {"measure": measure, "fitted": fitted, **{name: gate.facts[name] for name in known}, "systems": systems}


def gate_table(split: str, policies: Mapping[str, Mapping[str, Any]], needs: int) -> Table:
    """The four systems of each policy that has a gate, from `gate` of `eval.json`."""
    rows = []
    for policy, held in policies.items():
        for name, label in SYSTEMS.items():
            one = held["systems"][name]
            kept = "-" if one["kept"] is None else f"{one['kept']:.1%}"
            shares = [f"{one['rewritten']:.1%}", f"{one['harmed']:.1%}", kept]
            rows.append([f"{policy}: {label}" if len(policies) > 1 else label, mean_cell(one), *shares])
    first = next(iter(policies.values()))
    note = (
        f"Means with {LEVEL:.0%} intervals. always: every query is the policy's. gated: only where the gate predicts "
        "enough gain; elsewhere, and where the query is invalid, the raw need. oracle gate: where the query is truly "
        f"better. harmed: share of all needs with a drop above {first['margin']:g}. gain kept: share of the gain of "
        "always."
    )
    notes = [note]
    for policy, held in policies.items():
        of = f"{policy}: " if len(policies) > 1 else ""
        said = f"closed for all needs: {held['closed']}" if held["closed"] else f"opens from {held['threshold']:+.3f}"
        fitted = f"fitted on {held['fitted']['split']} to harm at most {held['bound']:.1%} of needs"
        notes.append(f"{of}the gate {said}; {fitted} with {held['confidence']:.0%} confidence.")
        if held["measure"] != held["fitted"]["measure"]:
            notes.append(f"{of}it was fitted on {held['fitted']['measure']}, not on {held['measure']}.")
    title = f"Gate on {split}, {needs:,} needs"
    return Table(title, ["", first["measure"], "rewritten", "harmed", "gain kept"], rows, notes)


def sentence(held: Mapping[str, Any]) -> str:
    """What the gate does, in words."""
    if held["closed"]:
        return f"The gate is closed for all needs: {held['closed']}."
    gated, always = held["systems"]["gated"], held["systems"]["always"]
    kept = "" if gated["kept"] is None else f" and keeps {gated['kept']:.1%} of the gain"
    interval = f"{LEVEL:.0%} interval {bounds_text(gated['low'], gated['high'], '.3f')}"
    mean = f"{held['measure']} {gated['mean']:.3f} ({interval})"
    harm = f"it harms {gated['harmed']:.1%} of needs, {always['harmed']:.1%} without it (bound {held['bound']:.1%})"
    return f"The gate rewrites {gated['rewritten']:.1%} of needs{kept}: {mean}; {harm}."
