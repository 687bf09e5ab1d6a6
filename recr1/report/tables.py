"""The tables of a report: results, slices, behaviour of the queries, samples, and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recr1.env import copies, repeated, words
from recr1.evaluate.second import second_table
from recr1.evaluate.slices import SMALLEST, by_length, by_relevant, category_field, largest, parted
from recr1.gate.outcome import gate_table
from recr1.judge.difference import difference_cell, mean_cell
from recr1.judge.stats import LEVEL, bootstrap_interval
from recr1.judge.table import Table
from recr1.report.groups import Group, PooledPolicy, comparisons
from recr1.report.run_data import EvaluatedPolicy, RunData, first_rank

RAW = "raw need (floor)"
NONE = "-"  # the cell without a number
RANKS = ("first place", "second place or lower", "nothing relevant")
"""Where the raw need finds the first relevant item, best first."""
SAMPLED_STEPS = 6  # steps of which a completion is shown


def results(group: Group, split: str) -> Iterator[Table]:
    """Floor, policies and ceiling by measures, with intervals; second opinion and gates, if there are any."""
    policies = group.splits[split]
    last = policies[-1]
    systems = [(RAW, last, "floor"), *((one.policy, one, "policy") for one in policies), ("ceiling", last, "ceiling")]
    rows = [
        [name, *(mean_cell(numbers[system]) for numbers in policy.measures.values())]
        for name, policy, system in systems
    ]
    runs = f" and {len(group.runs)} runs" if len(group.runs) > 1 else ""
    note = (
        f"Means over {len(last.first.needs)} needs{runs}, with {LEVEL:.0%} intervals. Ceiling: the best query made of "
        "words of the best items."
    )
    yield Table(f"Results on {split}", ["", *last.first.measures], rows, [note])
    if opinions := {one.policy: one.second for one in policies if one.second}:
        yield second_table(split, opinions)
    if gates := {one.policy: one.gate for one in policies if one.gate}:
        yield gate_table(split, gates, len(last.first.needs))


def rivals(policies: Sequence[PooledPolicy], measure: str) -> Table:
    """The last policy against the raw need and all other policies, with corrected p."""
    last = policies[-1]
    rows = [
        [f"{last.policy} against {other}", difference_cell(test._asdict()), test.tally]
        for other, test in comparisons(policies, measure).items()
    ]
    note = (
        f"Paired over needs, with {LEVEL:.0%} intervals; p is two-sided and corrected for the number of tests (Holm). "
        "One run: bootstrap and randomisation test over needs. Several: over needs and seeds."
    )
    return Table("Paired comparisons", ["", measure, "won/tied/lost"], rows, [note])


def guards(policies: Sequence[PooledPolicy]) -> Table:
    """How the queries behave: signs of a policy that serves a measure and no shopper."""
    last = policies[-1].first
    rows = [[RAW, *_behaviour([(line["text"], line["text"]) for line in last.lines], len(last.lines)), NONE, NONE]]
    for one in (policy.first for policy in policies):
        queries = [(line["text"], line["query"]) for line in one.lines if isinstance(line.get("query"), str)]
        shares = [f"{one.summary[name]:.1%}" for name in ("no_hits", "invalid")]
        rows.append([one.policy, *_behaviour(queries, len(one.lines)), *shares])
    note = (
        "words: mean per query, and of the longest. repeated: share of words that appear earlier in the same query. "
        "copies of the need: share of needs whose query is the need, whatever the case and punctuation. "
        "one query for several needs: share of needs whose query another need has too. All are of the first completion "
        "of each need, in the first run."
    )
    header = [
        "",
        "words",
        "longest",
        "repeated",
        "copies of the need",
        "one query for several needs",
        "found nothing",
        "invalid",
    ]
    return Table(f"How queries behave on {last.split}", header, rows, [note])


def _behaviour(pairs: Sequence[tuple[str, str]], needs: int) -> list[str]:
    """The cells of a row, of the needs that have a query and their queries."""
    if not pairs:
        return [NONE] * 5
    queries, copied = [query for _, query in pairs], sum(copies(*pair) for pair in pairs) / needs
    lengths = [words(query) for query in queries]
    again = sum(map(repeated, queries)) / max(sum(lengths), 1)
    shared = sum(count for count in Counter(queries).values() if count > 1) / needs
    return [f"{np.mean(lengths):.1f}", str(max(lengths)), f"{again:.1%}", f"{copied:.1%}", f"{shared:.1%}"]


def costs(runs: Sequence[RunData]) -> Table:
    """Time and tokens of each run."""
    header = ["run", "steps", "time", "per step", "search", "rewards", "validation", "tokens", "per completion"]
    note = (
        "per step: the median. search, rewards and validation: shares of the run's time. tokens: all that the trainer "
        "read and generated. per completion: mean tokens in the last step."
    )
    return Table("Time and tokens", header, [_cost_row(run) for run in runs], [note])


def _cost_row(run: RunData) -> list[str]:
    total = float(run.facts.get("seconds") or (run.metrics[-1]["time"] if run.metrics else 0.0))
    step = _values(run, "train/time/step")
    tokens, last = _values(run, "train/num_tokens"), _values(run, "train/completions/tokens")
    parts = ("train/time/search", "train/time/rewards", "time/validation")
    return [
        run.name,
        str(run.steps),
        duration(total),
        f"{np.median(step):.2f} s" if step else NONE,
        *(f"{sum(spent) / total:.1%}" if (spent := _values(run, part)) and total else NONE for part in parts),
        f"{tokens[-1]:,.0f}" if tokens else NONE,
        f"{last[-1]:.1f}" if last else NONE,
    ]


def _values(run: RunData, name: str) -> list[float]:
    return [line[name] for line in run.metrics if line.get(name) is not None]


def duration(seconds: float) -> str:
    """Seconds as "4.2 s", "3 min 05 s" or "2 h 07 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def side_by_side(groups: Sequence[Group]) -> Table | None:
    """The recipes side by side, each on its first split; None for a single one."""
    if len(groups) < 2:
        return None
    rows = []
    for group in groups:
        if not group.splits:
            rows.append([group.name, "not evaluated", *[NONE] * 5])
            continue
        split, policies = next(iter(group.splits.items()))
        measure = policies[-1].first.measures[0]
        numbers = policies[-1].measures[measure]
        levels = [f"{numbers[system]['mean']:.3f}" for system in ("floor", "policy", "ceiling")]
        rows.append([group.name, split, measure, *levels, difference_cell(numbers["versus_floor"])])
    runs = [run for group in groups for run in group.runs]
    differ = [name for name in ("catalog", "retriever") if len({run.facts.get(name) for run in runs}) > 1]
    note = f"The runs differ in their {' and '.join(differ)}: compare gains over the raw need, not levels."
    note = note if differ else "All runs searched the same catalog with the same retriever."
    header = ["run", "split", "measure", "raw need", "policy", "ceiling", "gain"]
    return Table("Side by side", header, rows, [note])


def slices(policy: PooledPolicy, measure: str, category: str | None = None) -> Table | None:
    """The gain over the raw need by length, relevant items, head and tail, category, and what the raw need finds.

    None if there are fewer than two slices. `category` is the catalog field to slice by, of those that the evaluation
    saved; None takes a usual name.
    """
    rows = []
    floors, values = policy.values(measure, "floor"), policy.values(measure)
    for by, names in _criteria(policy.first, category):
        for part in parted(by, names):
            if len(part.rows) < len(names):
                floor, own = floors[part.rows], values[part.rows]
                gain = mean_cell(bootstrap_interval(own - floor, seed=policy.seed)._asdict(), spec="+.3f")
                rows.append([f"{by}: {part.name}", str(len(floor)), f"{floor.mean():.3f}", f"{own.mean():.3f}", gain])
    if len(rows) < 2:
        return None
    note = (
        f"Mean gain in {measure} over the raw need with its {LEVEL:.0%} bootstrap interval; slices are not tested, and "
        f"those of fewer than {SMALLEST} needs are left out. head and tail: whether the most frequent relevant item of "
        "the need is above the median in interactions (popularity) or in training needs (training). Needs with a low "
        "value of the raw need can gain most, also by chance alone."
    )
    header = ["slice", "needs", "raw need", "policy", "gain"]
    return Table(f"Slices of {policy.first.split}: {policy.policy}", header, rows, [note])


def check_category(runs: Sequence[RunData], category: str | None) -> None:
    """Raises `UserError` for a field that no evaluation of the runs saved."""
    if category is not None:
        kept = {name for run in runs for one in run.evaluated for name in _fields(one)}
        category_field(sorted(kept), category, "what the evaluations saved (write them again with recr1 eval)")


def _criteria(evaluated: EvaluatedPolicy, category: str | None) -> Iterator[tuple[str, list[str]]]:
    """Each criterion: its name, and the slice of each need."""
    lines = evaluated.lines
    yield by_length([line["text"] for line in lines])
    if evaluated.relevant:
        yield by_relevant([evaluated.relevant[need] for need in evaluated.needs])
    for by in lines[0].get("popularity", {}) if lines else ():
        yield by, [line["popularity"][by] for line in lines]
    fields = _fields(evaluated)
    field = category_field(fields, category if category in fields else None, "the evaluation")
    if field:
        yield field, largest([line["fields"][field] for line in lines])
    if any("floor" in line for line in lines):
        ranks = [first_rank(line.get("floor", {})) for line in lines]
        yield "raw need", [RANKS[2] if rank is None else RANKS[rank > 1] for rank in ranks]


def _fields(evaluated: EvaluatedPolicy) -> list[str]:
    return list(evaluated.lines[0].get("fields", {})) if evaluated.lines else []


def samples(runs: Sequence[RunData]) -> Table | None:
    """Completions of training, of each run; None without logged rollouts."""
    rows = []
    for run in runs:
        for line in _median_rollouts(run):
            query = line.get("query", line.get("answer", f"({line.get('invalid')})"))
            rank = line.get("first_relevant") or "none"
            rows.append([run.name, *map(str, (line["step"], line["need"], query, f"{line['reward']:.3f}", rank))])
    if not rows:
        return None
    header, first = ["run", "step", "need", "query", "reward", "first relevant"], int(len(runs) == 1)
    note = "The completion with the median reward of its step."
    return Table("Completions during training", header[first:], [row[first:] for row in rows], [note])


def _median_rollouts(run: RunData) -> Iterator[Mapping[str, Any]]:
    """The rollout with the median reward, at some steps."""
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for line in run.rollouts:
        if line.get("reward") is not None:
            by_step.setdefault(int(line["step"]), []).append(line)
    steps = sorted(by_step)
    places = np.linspace(0, len(steps) - 1, min(SAMPLED_STEPS, len(steps))).round().astype(int)
    for step in (steps[place] for place in places):
        ordered = sorted(by_step[step], key=lambda line: float(line["reward"]))
        yield ordered[len(ordered) // 2]
