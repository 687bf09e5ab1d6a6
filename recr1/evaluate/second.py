"""The second opinion: what a policy gains on labels that never paid it, beside its gain on those that did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import UserError, shown
from recr1.judge.difference import Difference, bounds_text, difference_cell, mean_cell, paired_test
from recr1.judge.stats import LEVEL, ratio_interval
from recr1.judge.table import Table
from recr1.judgements.base import Judgement
from recr1.judgements.formats import read_all
from recr1.tasks.base import Task, splits_of
from retrievers.store import expanded
from rewards.base import Graded, Need, Qrels
from rewards.measures import parse_measure
from rewards.measures.unjudged import Judged

if TYPE_CHECKING:
    from recr1.evaluate.evaluation import Evaluation

FEW = 0.5
"""A second opinion on a smaller share of the needs, or of the items shown, is said to be small."""
UNEVEN = 0.1
"""A difference of the shares that were judged of what policy and raw need show, above which it is said."""
STRANGE = "judgements of queries that are none of these needs, left out"

Pair: TypeAlias = tuple[NDArray[np.floating], NDArray[np.floating]]
"""The values of policy and floor on N needs, (N,) or (S, N)."""
Values: TypeAlias = Mapping[str, Pair]


@dataclass(frozen=True)
class SecondOpinion:
    """Judgements that no reward has seen."""

    file: str
    qrels: Mapping[str, Qrels]
    """Need id -> its answer key, which has a positive grade."""
    counts: Mapping[str, int]

    def places(self, needs: Sequence[Need]) -> list[int]:
        """The places of the needs that it has an opinion on."""
        return [place for place, need in enumerate(needs) if need.id in self.qrels]


def read_second(file: str, task: Task, needs: Sequence[Need]) -> SecondOpinion:
    """The second opinion on some needs, from a file in any format that `recr1 judgements` reads.

    A query is a need with the same text, or in a file without texts the same id. What is left out is counted. Raises
    `UserError` for several judges, for grades that are no integers, and if nothing is about these needs and items.
    """
    path = Path(expanded(file))
    found = read_all([path]).merged(option=f"recr1 judgements convert {file} --out NEW --source")
    catalog, rows, counts = task.catalog, found.graded(), Counter(found.counts)
    by_text = all(row.text for row in rows)
    named: dict[str, list[str]] = {}
    for need in needs:
        named.setdefault(_plain(need.text) if by_text else need.id, []).append(need.id)
    answers: dict[str, dict[int, int]] = {}
    for row in rows:
        known = named.get(_plain(row.text or "") if by_text else row.query)
        counts[STRANGE] += known is None
        if known is None or row.item is None or row.item not in catalog:
            counts["judgements of items that are not in the catalog, left out"] += known is not None
            continue
        grade = row.grade or 0.0
        if not grade.is_integer():
            pair = f"{shown(row.item)} for {shown(row.text or row.query)}"
            remedy = f"round with recr1 judgements convert {file} --round nearest --out NEW"
            raise UserError(f"{path}: the grade of {pair} is {grade:g}, and measures need integers: {remedy}")
        counts["judgements with a grade below 0, counted as 0"] += grade < 0
        for need_id in known:
            answers.setdefault(need_id, {})[catalog.row(row.item)] = max(int(grade), 0)
    keys = {need: Qrels(key) for need, key in answers.items()}
    counts["needs without a positive grade, left out"] = sum(not key.positives for key in keys.values())
    kept = {need: key for need, key in keys.items() if key.positives}
    if not kept:
        raise UserError(
            f"{path}: no positive grade for any of the {len(needs):,} needs ({_why(task, rows, named, counts)}"
        )
    return SecondOpinion(file, kept, +counts)


def _why(task: Task, rows: Sequence[Judgement], named: Mapping[str, Any], counts: Counter[str]) -> str:
    """Why no judgement could be used: what was left out, and how names look on both sides."""
    said = [f"{what}: {count:,}" for what, count in (+counts).items()]
    if rows and counts[STRANGE] == len(rows):
        said.append(
            f"queries such as {shown(rows[0].text or rows[0].query)} there, and {shown(next(iter(named)))} here"
        )
    elif rows:
        said.append(f"items such as {shown(rows[0].item)} there, and {shown(task.catalog.ids[0])} here")
    remedy = "name queries by the texts or ids of the needs, or leave it out with evaluate.second_opinion=null"
    return f"{'; '.join(said)}): {remedy}"


def described(file: str | None, task: Task) -> list[str]:
    """How many needs of each split a second opinion judges, as a line; none without one. Raises as `read_second`."""
    if file is None:
        return []
    splits = splits_of(task)
    second = read_second(file, task, [need for needs in splits.values() for need in needs])
    judged = (f"{len(second.places(needs))} of {len(needs)} of {split}" for split, needs in splits.items())
    return [f"second opinion: {file} judges needs: {', '.join(judged)}"]


def _plain(text: str) -> str:
    return " ".join(text.split())


def values_of(evaluation: Evaluation, second: SecondOpinion) -> tuple[dict[str, Pair], list[str]]:
    """The values on the second labels, (N,) of the needs in both; and the measures that cannot be had from them."""
    places = second.places(evaluation.needs)
    keys, catalog = [second.qrels[evaluation.needs[place].id] for place in places], evaluation.env.task.catalog
    rows_NSK = evaluation.hits.rows_QK.reshape(len(evaluation.needs), evaluation.samples, -1)[places]
    repeated = [key for key in keys for _ in range(evaluation.samples)]
    policy = Graded.join(rows_NSK.reshape(len(repeated), -1), repeated, catalog)
    floor = Graded.join(evaluation.references.floor_rows_NK[places], keys, catalog)
    values, lost = dict[str, Pair](), list[str]()
    for name in [*evaluation.values, _judged(evaluation).name]:
        measure = parse_measure(name)
        try:
            measure.check_data(catalog, second.qrels)
            means = measure.of(policy).reshape(len(places), -1).mean(axis=1, dtype=np.float64)
            values[name] = (means, measure.of(floor).astype(np.float64))
        except ValueError as error:
            lost.append(f"{name} is not known on the second labels: {error}")
    return values, lost


def _judged(evaluation: Evaluation) -> Judged:
    return Judged(parse_measure(next(iter(evaluation.values))).cutoff)


def opinion(evaluations: Sequence[Evaluation], second: SecondOpinion) -> dict[str, Any]:
    """What `eval.json` has under `second_opinion`: both gains with their ratio, coverage, and what to know of them.

    The evaluations are of the seeds of one policy on the same needs.
    """
    first = evaluations[0]
    places, judged = second.places(first.needs), _judged(first).name
    values, lost = zip(*(values_of(one, second) for one in evaluations), strict=True)
    policy, floor = (float(np.mean([of_seed[judged][system] for of_seed in values])) for system in (0, 1))
    paid, unpaid = dict[str, Pair](), dict[str, Pair]()
    for measure in first.values:
        if measure in values[0]:
            own_SN = np.array([one.per_need(measure)[places] for one in evaluations])
            paid[measure] = (own_SN, first.references.floor[measure][places])
            unpaid[measure] = (np.array([of_seed[measure][0] for of_seed in values]), values[0][measure][1])
    held = {
        "file": second.file,
        "needs": len(places),
        "of": len(first.needs),
        judged: {"policy": policy, "floor": floor},
        "counts": dict(second.counts),
        "measures": gains(paid, unpaid, seed=first.seed),
    }
    remarks = [*_remarks(held, judged), *lost[0]]
    lowest = min(int(key.grades_J.min()) for key in second.qrels.values())
    if lowest > 0:
        remarks.append(f"Its lowest grade is {lowest}: every item that it judged counts as relevant.")
    if all(dict(key) == dict(first.env.task.qrels[need]) for need, key in second.qrels.items()):
        remarks.append("Its grades are those of the task: this is no second opinion.")
    return held | {"remarks": remarks}


def gains(paid: Values, second: Values, *, seed: int) -> dict[str, dict[str, Any]]:
    """Measure -> the gain over the floor on either labels, and their ratio; None where the second is not above 0."""
    found: dict[str, dict[str, Any]] = {}
    for name in second:
        both = {"paid": paid[name], "second": second[name]}
        tests = {labels: paired_test(*values, seed=seed)._asdict() for labels, values in both.items()}
        means = [
            np.atleast_2d(policy).mean(axis=0) - np.atleast_2d(floor).mean(axis=0) for policy, floor in both.values()
        ]
        ratio = ratio_interval(means[0], means[1], seed=seed) if tests["second"]["low"] > 0 else None
        found[name] = {**tests, "inflation": ratio._asdict() if ratio else None}
    return found


def _remarks(held: Mapping[str, Any], judged: str) -> Iterator[str]:
    """What makes a second opinion small or unfair."""
    policy, floor = held[judged]["policy"], held[judged]["floor"]
    if held["needs"] < FEW * held["of"]:
        yield f"It covers {held['needs']:,} of {held['of']:,} needs: the others may be different."
    if policy < FEW:
        yield f"It has judged {policy:.0%} of what the policy shows ({judged}); the rest counts as irrelevant."
    if abs(floor - policy) > UNEVEN:
        shares = f"{floor:.0%} of what the raw need shows and {policy:.0%} of what the policy shows ({judged})"
        way = "too low" if floor > policy else "too high"
        yield f"It has judged {shares}: its gain may be {way}. Let it judge what both show."


def sentence(policy: str, held: Mapping[str, Any]) -> str:
    """The first measure in words: how many times the gain that paid is the gain on the second labels."""
    measure, one = next(iter(held["measures"].items()))
    paid, second = (Difference(**one[labels]) for labels in ("paid", "second"))
    start = f"Second opinion: {policy} gains {paid.difference:+.3f} {measure} on the labels that paid"
    said = f"{second.difference:+.3f} on the second labels"
    interval = f"{LEVEL:.0%} interval {bounds_text(second.low, second.high)}"
    if ratio := one["inflation"]:
        bounds = bounds_text(ratio["low"], ratio["high"], ".2f")
        return f"{start} and {said}: {ratio['mean']:.2f} times as much ({LEVEL:.0%} interval {bounds})."
    if paid.low <= 0:
        return f"{start} and {said} ({interval}): there is no clear gain on either."
    found = "a loss" if second.high < 0 else "not clearly above 0"
    return f"{start}, but {said} ({interval}), {found}: there is no ratio, and the gain may be the judge's alone."


def second_table(split: str, policies: Mapping[str, Mapping[str, Any]]) -> Table:
    """Both gains and their ratio, a row for each policy and measure, from `second_opinion` of `eval.json`."""
    rows = []
    for policy, held in policies.items():
        for measure, one in held["measures"].items():
            ratio = mean_cell(one["inflation"], spec=".2f") if one["inflation"] else "-"
            rows.append([policy, measure, difference_cell(one["paid"]), difference_cell(one["second"]), ratio])
    first = next(iter(policies.values()))
    note = (
        f"Gains over the raw need on the needs that both labels judge, with {LEVEL:.0%} intervals and paired tests. "
        "paid: the task's labels. second: labels that never paid. inflation: the first gain divided by the second, "
        "with a paired bootstrap interval; - where the second is not clearly above 0."
    )
    said = "; ".join(f"{what}: {count:,}" for what, count in first["counts"].items())
    notes = [note, *([f"{first['file']}: {said}."] if said else [])]
    for policy, held in policies.items():
        for remark in held["remarks"]:
            common = all(remark in other["remarks"] for other in policies.values())
            notes.append(remark if common else f"{policy}: {remark}")
    title = f"Second opinion on {split}: {first['file']}, {first['needs']:,} of {first['of']:,} needs"
    return Table(title, ["", "measure", "paid", "second", "inflation"], rows, list(dict.fromkeys(notes)))
