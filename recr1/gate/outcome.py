"""What a gate does: raw needs, all rewritten, those that the gate rewrites, and those that truly gain, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.gate.fit import ROUNDING
from recr1.gate.gate import FILE, Gate
from recr1.judge.difference import bounds_text, mean_cell
from recr1.judge.stats import LEVEL, mean_interval, wilson
from recr1.judge.table import Table
from recr1.runs import Run, policy_mismatch

Values: TypeAlias = Sequence[Any] | NDArray[np.floating]
Places: TypeAlias = Sequence[Any] | NDArray[np.bool_]

SYSTEMS = {"raw": "raw", "always": "always", "gated": "gated", "oracle": "oracle gate"}


def gate_of(run: Run) -> Gate | None:
    """The gate in a run folder, if there is one; raises `UserError` as `Gate.load`."""
    path = run.path / FILE
    return Gate.load(path) if path.exists() else None


def remarks_on_gate(gate: Gate | None, run: Run) -> Iterator[str]:
    """What to know before a run's gate is used, if it has one: that it was fitted on another policy."""
    for why in policy_mismatch((gate.facts.get("origin") if gate else None) or {}, run.facts()):
        yield f"{run.path / FILE} does not belong to this policy: {why} (make it again with recr1 gate {run.path})"


def outcome(
    gates: Sequence[Gate], measure: str, raw_N: Values, policy_SN: Values, own_SN: Places, open_SN: Places, *, seed: int
) -> dict[str, Any]:
    """What `eval.json` has under `gate`: how the gates of S seeds were fitted, and what each of the four systems does.

    `policy_SN` are the values of the seeds of a policy on N needs, `own_SN` where its query is no copy of the need, and
    `open_SN` where the gate of the seed is open.
    """
    facts, closed = gates[0].facts, [gate.facts["closed"] for gate in gates]
    known = {name: facts[name] for name in ("margin", "bound", "confidence")}
    fitted = {name: facts.get(name) for name in ("measure", "split")}
    own = {"threshold": [gate.threshold for gate in gates], "closed": closed[0] if all(closed) else None}
    found = systems(raw_N, policy_SN, own_SN, open_SN, margin=facts["margin"], seed=seed)
    return {"measure": measure, "fitted": fitted, **known, **own, "systems": found}


def systems(
    raw_N: Values, policy_SN: Values, own_SN: Places, open_SN: Places, *, margin: float, seed: int
) -> dict[str, Any]:
    """Of each system the mean with its interval, and shares of all needs: rewritten, harmed by more than the margin.

    `harmed_interval` is of all needs such as these. `kept` is the share of the gain of "always", None where that is no
    gain.
    """
    policy = np.atleast_2d(np.asarray(policy_SN, np.float64))
    own, opened = (np.atleast_2d(np.asarray(places, bool)) for places in (own_SN, open_SN))
    raw = np.broadcast_to(raw_N, policy.shape)
    gained, found = float((policy - raw).mean()), {}
    chosen = {"raw": own & False, "always": own, "gated": opened, "oracle": policy > raw}
    for name, rewrites in chosen.items():
        served = policy if name == "always" else np.where(rewrites, policy, raw)
        found[name] = {
            **mean_interval(served if name != "raw" else raw[:1], seed=seed)._asdict(),
            "rewritten": float(rewrites.mean()),
            "harmed": (harmed := float((served < raw - margin - ROUNDING).mean())),
            "harmed_interval": np.concatenate(wilson(np.array([harmed]), np.array([float(raw.shape[1])]))).tolist(),
            "kept": float((served - raw).mean()) / gained if gained > 0 else None,
        }
    return found


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
        "better. Of all needs: rewritten (not into a copy) and harmed (a drop above "
        f"{first['margin']:g}). gain kept: of the gain of always."
    )
    notes = [note]
    for policy, held in policies.items():
        of = f"{policy}: " if len(policies) > 1 else ""
        opens = ", ".join("never" if least is None else f"{least:+.3f}" for least in held["threshold"])
        said = f"the gate is closed for all needs, as {held['closed']}" if held["closed"] else f"it opens from {opens}"
        fitted = f"fitted on {held['fitted']['split']} to harm at most {held['bound']:.1%} of needs"
        notes.append(f"{of}{said}; {fitted} with {held['confidence']:.0%} confidence.")
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
    low, high = gated["harmed_interval"]
    harm = f"it harms {gated['harmed']:.1%} of these needs ({low:.1%} to {high:.1%} of all such needs, whose bound is "
    harm += f"{held['bound']:.1%}), {always['harmed']:.1%} without it"
    return f"The gate rewrites {gated['rewritten']:.1%} of needs{kept}: {mean}; {harm}."
