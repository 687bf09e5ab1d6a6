"""The tables of a report: what was reached, how the queries behave, what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recr1.env import repeated, words
from recr1.judge.difference import difference_cell, mean_cell
from recr1.judge.stats import LEVEL
from recr1.judge.table import Table
from recr1.report.pool import Group, Pooled
from recr1.report.source import Source
from recr1.report.verdict import comparisons

RAW = "raw need (floor)"
NONE = "-"
"""Stands where there is no number."""


def results(group: Group, split: str) -> Table:
    """Floor, policies and ceiling by measures, with intervals."""
    policies = group.splits[split]
    last = policies[-1]
    rows = [[RAW, *_levels(last, "floor")]]
    rows += [[policy.policy, *_levels(policy, "policy")] for policy in policies]
    rows.append(["ceiling", *_levels(last, "ceiling")])
    pooled = f" Means of {len(group.runs)} runs." if len(group.runs) > 1 else ""
    note = (
        f"Means over {len(last.first.needs)} needs, with {LEVEL:.0%} bootstrap intervals.{pooled} Ceiling: the best "
        "that the words of the best items find."
    )
    return Table(f"Results on {split}", ["", *last.first.measures], rows, [note])


def _levels(policy: Pooled, system: str) -> list[str]:
    return [mean_cell(numbers[system]) for numbers in policy.measures.values()]


def rivals(policies: Sequence[Pooled], measure: str) -> Table:
    """The last policy against the raw need and all other policies, with corrected p."""
    last = policies[-1]
    rows = [
        [f"{last.policy} against {other}", difference_cell(test._asdict()), test.tally]
        for other, test in comparisons(policies, measure).items()
    ]
    header = ["", measure, "won/tied/lost"]
    note = (
        f"Paired over needs, with {LEVEL:.0%} intervals; p is two-sided and corrected for the number of tests (Holm). "
        "One run: bootstrap and randomisation test over needs. Several: over needs and seeds."
    )
    return Table("Paired comparisons", header, rows, [note])


def guards(policies: Sequence[Pooled]) -> Table:
    """How the queries behave: what a policy does that pleases a measure and no shopper."""
    last = policies[-1].first
    raw = _behaviour([line["text"] for line in last.lines], last.lines)
    rows = [[RAW, *raw, NONE, NONE]]
    for policy in policies:
        one = policy.first
        queries = [line["query"] for line in one.lines if isinstance(line.get("query"), str)]
        shares = [f"{one.summary[name]:.1%}" for name in ("no_hits", "invalid")]
        rows.append([policy.policy, *_behaviour(queries, one.lines), *shares])
    note = (
        "words: mean per query, and of the longest. repeated: share of words that stand in the same query already. one "
        "query for several needs: share of needs whose query another need got as well. The first completion of each "
        "need is counted, of the first run."
    )
    header = ["", "words", "longest", "repeated", "one query for several needs", "found nothing", "invalid"]
    return Table(f"How queries behave on {last.split}", header, rows, [note])


def _behaviour(queries: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> list[str]:
    if not queries:
        return [NONE] * 4
    lengths = [words(query) for query in queries]
    again = sum(map(repeated, queries)) / max(sum(lengths), 1)
    counts: dict[str, int] = {}
    for query in queries:
        counts[query] = counts.get(query, 0) + 1
    shared = sum(count for count in counts.values() if count > 1) / len(lines)
    return [f"{np.mean(lengths):.1f}", str(max(lengths)), f"{again:.1%}", f"{shared:.1%}"]


def costs(sources: Sequence[Source]) -> Table:
    """Time and tokens of each run."""
    header = ["run", "steps", "time", "per step", "search", "rewards", "validation", "tokens", "per completion"]
    note = (
        "per step: the median. search, rewards and validation: shares of the time of the run. tokens: all that the "
        "trainer has read and written. per completion: mean tokens in the last step."
    )
    return Table("Time and tokens", header, [_cost_row(source) for source in sources], [note])


def _cost_row(source: Source) -> list[str]:
    total = float(source.facts.get("seconds") or (source.metrics[-1]["time"] if source.metrics else 0.0))
    step = _values(source, "train/time/step")
    tokens, last = _values(source, "train/num_tokens"), _values(source, "train/completions/tokens")
    parts = ("train/time/search", "train/time/rewards", "time/validation")
    return [
        source.name,
        str(source.steps),
        duration(total),
        f"{np.median(step):.2f} s" if step else NONE,
        *(f"{sum(spent) / total:.1%}" if (spent := _values(source, part)) and total else NONE for part in parts),
        f"{tokens[-1]:,.0f}" if tokens else NONE,
        f"{last[-1]:.1f}" if last else NONE,
    ]


def _values(source: Source, name: str) -> list[float]:
    return [line[name] for line in source.metrics if line.get(name) is not None]


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def side_by_side(groups: Sequence[Group]) -> Table | None:
    """The recipes beside one another, each by its first split; None of a single one."""
    if len(groups) < 2:
        return None
    return Table(
        "Side by side",
        ["run", "split", "measure", "raw need", "policy", "ceiling", "gain"],
        list(_sides(groups)),
        _unlike(groups),
    )


def _sides(groups: Sequence[Group]) -> Iterator[list[str]]:
    for group in groups:
        if not group.splits:
            yield [group.name, "not evaluated", *[NONE] * 5]
            continue
        split, policies = next(iter(group.splits.items()))
        measure = policies[-1].first.measures[0]
        numbers = policies[-1].measures[measure]
        gain = difference_cell(numbers["versus_floor"])
        levels = [f"{numbers[system]['mean']:.3f}" for system in ("floor", "policy", "ceiling")]
        yield [group.name, split, measure, *levels, gain]


def _unlike(groups: Sequence[Group]) -> list[str]:
    runs = [run for group in groups for run in group.runs]
    differ = [name for name in ("catalog", "retriever") if len({run.facts.get(name) for run in runs}) > 1]
    if not differ:
        return ["All runs searched the same catalog with the same retriever."]
    return [f"The runs differ in their {' and '.join(differ)}: levels do not compare, gains over the raw need do."]
