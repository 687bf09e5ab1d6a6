"""A comparison for people and for tools: the tables, the verdict and the files.

The tables are made from the content of `compare.json`, so that a report shows those that the command printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recr1.compare.comparison import Comparison
from recr1.compare.policies import ComparedPolicy
from recr1.evaluate.answers import ratings_table
from recr1.evaluate.evaluation import valid_note
from recr1.evaluate.second import second_table
from recr1.gate.outcome import gate_table
from recr1.judge.difference import CONCLUSIONS, RAW_NEED, Tone, difference_cell, listed, mean_cell, statement
from recr1.judge.stats import LEVEL
from recr1.judge.table import Table
from recr1.runs import write_text, writing

Held = Mapping[str, Any]
"""The content of `compare.json`, or a part of it."""


def tables(held: Held) -> list[Table]:
    """The measures with their tests, second opinion, gates, costs and slices, from `compare.json`.

    Raises `KeyError` if a key is missing.
    """
    opinions = held.get("second_opinion")
    second = [second_table(held["split"], opinions)] if opinions else []
    gates = [gate_table(held["split"], held["gates"], len(held["needs"]))] if held.get("gates") else []
    ratings = {name: policy["ratings"] for name, policy in held["policies"].items() if "ratings" in policy}
    errors = [ratings_table(held["split"], ratings)] if ratings else []
    return [_measured(held), *errors, *second, *gates, _costs(held), *_sliced(held)]


def _measured(held: Held) -> Table:
    first, main = held["first"], held["main"]
    rows, notes = [], []
    for label, policy in held["policies"].items():
        tests = {
            one["measure"]: one for one in held["comparisons"] if (one["policy"], one["against"]) == (label, first)
        }
        p = {measure: test["p_holm"] for measure, test in tests.items()}
        cells = [mean_cell(policy["measures"][measure], p.get(measure)) for measure in held["measures"]]
        rows.append([_name(label, policy), *cells, *(_outcome(tests[main]) if tests else ("", ""))])
        notes += [f"{label}: {note}." for note in policy["notes"]]
    seeing = [f"{label}: {', '.join(policy['sees'])}" for label, policy in held["policies"].items() if policy["sees"]]
    note = (
        f"Means with {LEVEL:.0%} intervals: bootstrap over needs; with several seeds, over needs and seeds. p: "
        f"two-sided paired test against {first}, corrected (Holm) for all {held['settings']['tests']} tests of this "
        f"comparison. won/tied/lost, effect (Cohen's d): needs against {first} in {main}. *: reads the answers; an "
        "upper bound, not a rival."
    )
    inputs = [f"Input beside the need: {'; '.join(seeing)}."] if seeing else []
    title = f"{held['split']}: {len(held['needs'])} needs, each policy against {first}"
    return Table(title, ["", *held["measures"], "won/tied/lost", "effect"], rows, [note, *inputs, *notes])


def _outcome(test: Held) -> tuple[str, str]:
    effect = "" if test["effect"] is None else f"{test['effect']:+.2f}"
    return f"{test['wins']}/{test['ties']}/{test['losses']}", effect


def _name(label: str, policy: Held) -> str:
    name = f"{label} ({policy['seeds']} seeds)" if policy["seeds"] > 1 else label
    return f"{name} *" if policy["bound"] else name


def _costs(held: Held) -> Table:
    header = ["", "ms", "tokens read", "tokens written", "words", "invalid", "no hits", "setup s", "setup tokens"]
    rows = []
    for label, policy in held["policies"].items():
        cost, behaviour = policy["cost"], policy["behaviour"]
        query = [f"{cost['milliseconds']:.2f}", f"{cost['tokens_read']:.1f}", f"{cost['tokens_written']:.1f}"]
        query += [f"{behaviour['query_words']:.1f}", f"{behaviour['invalid']:.1%}", f"{behaviour['no_hits']:.1%}"]
        rows.append([_name(label, policy), *query, f"{cost['setup_seconds']:.1f}", str(cost["setup_tokens"])])
    note = (
        "Per query, on this machine, in batches: milliseconds to write it, with the searches that the policy itself "
        "makes (not the final one), and tokens of language models. setup: once, before the first query; without "
        "training."
    )
    said = valid_note({_name(label, one): one["behaviour"] for label, one in held["policies"].items()})
    return Table("What a query costs", header, rows, [note, *said])


def _sliced(held: Held) -> Iterator[Table]:
    if not held["slices"]:
        return
    labels = list(dict.fromkeys([held["first"], held["subject"]]))
    rows = []
    for part in held["slices"]:
        levels = [mean_cell(part["policies"][label]) for label in labels]
        gained = [difference_cell(part["differences"][label]) for label in labels[1:]]
        rows.append([f"{part['by']}: {part['name']}", str(part["needs"]), *levels, *gained])
    note = (
        f"{LEVEL:.0%} intervals over the needs of each slice; slices are not tested. Those of the other policies "
        "are in compare.json."
    )
    yield Table(f"{held['main']} by slices", ["slice", "needs", *labels, *(["gain"] * len(labels[1:]))], rows, [note])


def verdict(comparison: Comparison) -> str:
    """The sentence about the trained policy; without one, about the best of the rivals."""
    return _sentence(comparison, comparison.subject)


def verdicts(comparison: Comparison) -> dict[str, str]:
    """A sentence for each policy but the first, which all are compared with, and the upper bounds."""
    return {one.label: _sentence(comparison, one) for one in comparison.policies[1:] if not one.bound}


def _sentence(comparison: Comparison, policy: ComparedPolicy) -> str:
    first = comparison.policies[0]
    if policy is first:
        return f"{policy.label}: there is no policy to compare it with."

    rivals = [one for one in comparison.policies if one is not policy]
    tests = {one.label: comparison.pair(comparison.main, policy.label, one.label).corrected for one in rivals}
    by_tone: dict[Tone, list[str]] = {"good": [], "open": [], "bad": []}
    for one in rivals[1:]:
        by_tone[tests[one.label].tone].append(f"{one.label} (which reads the answers)" if one.bound else one.label)
    links: dict[Tone, str] = {"good": "than", "bad": "than", "open": "from"}
    rest = [f"{CONCLUSIONS[tone]} {links[tone]} {listed(names)}" for tone, names in by_tone.items() if names]
    against = RAW_NEED if first.label == "raw" else first.label
    return "; ".join([statement(policy.label, against, comparison.main, tests[first.label]), *rest]) + "."


def write(comparison: Comparison, folder: str | Path) -> Path:
    """Write `compare.json` (every number, with the values of each need) and `compare.md` into a folder and return it.

    Raises `RunError` when it cannot be written.
    """
    out, main, sentences = Path(folder), verdict(comparison), verdicts(comparison)
    summary = comparison.summary | {"verdict": main, "verdicts": sentences}
    said = "\n".join(f"- {sentence}" for sentence in sentences.values())
    drawn = "\n".join(table.markdown() for table in tables(summary))
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "compare.json", json.dumps(summary) + "\n")
        write_text(out / "compare.md", f"# Comparison\n\n**{main}**\n\n{drawn}\n## In words\n\n{said}\n")
    return out
