"""The tables of a comparison, made of what `compare.json` holds: a report draws the ones that the command printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recr1.evaluate import Table
from recr1.evaluate.report import cell
from recr1.judge.stats import LEVEL

Held = Mapping[str, Any]
"""The content of a `compare.json`, or a part of it."""


def tables_of(held: Held) -> list[Table]:
    """The measures and their tests, what it costs, and the slices; `KeyError` for what `compare.json` cannot be."""
    return [_measured(held), _costs(held), *_sliced(held)]


def _measured(held: Held) -> Table:
    first, main = held["first"], held["main"]
    header = ["", *held["measures"], "won/tied/lost", "effect"]
    rows = []
    for label, policy in held["policies"].items():
        tests = {} if label == first else _tests(held, label)
        cells = [
            cell(policy["measures"][measure], tests[measure]["p_holm"] if tests else None)
            for measure in held["measures"]
        ]
        outcome, effect = _outcome(tests[main], label) if tests else ("", "")
        rows.append([_name(label, policy), *cells, outcome, effect])
    title = f"{held['split']}: {len(held['needs'])} needs, each policy against {first}"
    return Table(title, header, rows, [_note(held), *_own_notes(held["policies"])])


def _tests(held: Held, label: str) -> dict[str, Held]:
    """Measure -> the test of a policy against the first, whichever of the two it is about."""
    pair = {label, held["first"]}
    return {one["measure"]: one for one in held["comparisons"] if {one["policy"], one["against"]} == pair}


def _outcome(test: Held, label: str) -> tuple[str, str]:
    sides = ("wins", "losses") if test["policy"] == label else ("losses", "wins")
    sign = 1 if test["policy"] == label else -1
    effect = "" if test["effect"] is None else f"{sign * test['effect']:+.2f}"
    return f"{test[sides[0]]}/{test['ties']}/{test[sides[1]]}", effect


def _name(label: str, policy: Held) -> str:
    name = f"{label} ({policy['seeds']} seeds)" if policy["seeds"] > 1 else label
    return f"{name} *" if policy["bound"] else name


def _note(held: Held) -> str:
    first = held["first"]
    return (
        f"Means with {LEVEL:.0%} intervals: bootstrap over needs; of several seeds, over needs and seeds. p: of the "
        f"two-sided paired test against {first}, Holm-corrected for all {held['settings']['tests']} tests of this "
        f"comparison. won/tied/lost, effect (Cohen's d): needs against {first} in {held['main']}. *: reads the "
        "answers, a bound and no rival."
    )


def _own_notes(policies: Held) -> Iterator[str]:
    seeing = [f"{label}: {', '.join(policy['sees'])}" for label, policy in policies.items() if policy["sees"]]
    if seeing:
        yield f"What is seen beside the need, {'; '.join(seeing)}."
    yield from (f"{label}: {note}." for label, policy in policies.items() for note in policy["notes"])


def _costs(held: Held) -> Table:
    header = ["", "ms", "tokens read", "tokens written", "words", "invalid", "no hits", "setup s", "setup tokens"]
    rows = []
    for label, policy in held["policies"].items():
        cost, behaviour = policy["cost"], policy["behaviour"]
        rows.append(
            [
                _name(label, policy),
                f"{cost['milliseconds']:.2f}",
                f"{cost['tokens_read']:.1f}",
                f"{cost['tokens_written']:.1f}",
                f"{behaviour['query_words']:.1f}",
                f"{behaviour['invalid']:.1%}",
                f"{behaviour['no_hits']:.1%}",
                f"{cost['setup_seconds']:.1f}",
                str(cost["setup_tokens"]),
            ]
        )
    note = (
        "A query, on this machine, in batches: milliseconds of writing with the searches that are part of it (not the "
        "final one), tokens of language models. setup: once, before the first query; training is not in it."
    )
    return Table("What a query costs", header, rows, [note])


def _sliced(held: Held) -> Iterator[Table]:
    if not held["slices"]:
        return
    labels = list(dict.fromkeys([held["first"], held["subject"]]))
    rows = []
    for part in held["slices"]:
        levels = [cell(part["policies"][label]) for label in labels]
        gained = [_gain(part["differences"][label]) for label in labels[1:]]
        rows.append([f"{part['by']}: {part['name']}", str(part["needs"]), *levels, *gained])
    note = (
        f"{LEVEL:.0%} intervals of each slice alone, over its needs; many slices are looked at, none is tested. "
        "Those of the other policies are in compare.json."
    )
    yield Table(f"{held['main']} by slices", ["slice", "needs", *labels, *(["gain"] * len(labels[1:]))], rows, [note])


def _gain(numbers: Mapping[str, float]) -> str:
    return "{mean:+.3f}\n[{low:+.3f}..{high:+.3f}]".format(**numbers)
