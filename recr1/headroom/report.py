"""Headroom for people: four tables, what follows from them, and the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recr1.headroom.headroom import REACH, Headroom
from recr1.judge.difference import mean_cell
from recr1.judge.table import Table, write_result
from recr1.runs import writing
from recr1.runs.files import write_lines

MANY = 0.5
"""From this share of needs or groups on, advice is given."""
SOME = 0.1  # the same for a share of completions


def tables(headroom: Headroom) -> list[Table]:
    """Levels, how often needs are solved, groups of completions, and the ranks of relevant items."""
    return [_reached(headroom), _solved(headroom), _groups(headroom), _ranks(headroom)]


def _reached(headroom: Headroom) -> Table:
    summary, samples = headroom.summary, headroom.evaluation.samples
    columns = [*summary["measures"].values(), summary["reward"]]
    labels = {"floor": "floor", "mean": "mean", "best": f"best of {samples}", "ceiling": "ceiling"}
    rows = [
        [label, *(mean_cell(column[row]) if row in column else "" for column in columns)]
        for row, label in labels.items()
    ]
    title = f"{summary['policy']} on {summary['split']}: {summary['needs']} needs, {samples} samples each"
    note = f"Means over needs with {summary['settings']['level']:.0%} bootstrap intervals. mean: of all completions."
    return Table(title, ["", *summary["measures"], "reward"], rows, [note])


def _solved(headroom: Headroom) -> Table:
    solved, samples = headroom.summary["solved"], headroom.evaluation.samples
    meanings = {"always": f"by all {samples}", "sometimes": f"by 1 to {samples - 1}", "never": "by none"}
    rows = [[name, meaning, mean_cell(solved[name], spec=".1%")] for name, meaning in meanings.items()]
    note = f"A completion solves its need if {headroom.measure} is at least {solved['at']:g} of the need's ceiling."
    return Table("Needs that are solved", ["", "completions", "share of needs"], rows, [note])


def _groups(headroom: Headroom) -> Table:
    summary, own = headroom.summary, str(headroom.options.group)
    rows = [
        [f"{size} (the recipe)" if size == own else size, mean_cell(one["flat"], spec=".1%"), mean_cell(one["best"])]
        for size, one in summary["groups"].items()
    ]
    note = (
        "equal rewards: the expected share of groups whose rewards are all equal, which teach nothing. Counted over "
        "all groups that the samples hold."
    )
    return Table("Groups", ["group size", "equal rewards", f"best {headroom.measure}"], rows, [note])


def _ranks(headroom: Headroom) -> Table:
    *found, missed = headroom.summary["ranks"]
    names = [str(row["to"]) if row["from"] == row["to"] else f"{row['from']}-{row['to']}" for row in found]
    rows = [
        [name, f"{row['completions']:.1%}", f"{row['needs']:.1%}"]
        for name, row in zip([*names, f"not in {headroom.depth}"], [*found, missed], strict=True)
    ]
    header = ["rank", "share of completions", "share of needs (best completion)"]
    return Table("The first relevant item", header, rows)


def verdicts(headroom: Headroom) -> list[str]:
    """What follows from the numbers, a sentence or two each."""
    return [sentence for part in (_gain, _solvable, _flat, _copies, _deep, _invalid) for sentence in part(headroom)]


def _gain(headroom: Headroom) -> Iterator[str]:
    measure, samples = headroom.measure, headroom.evaluation.samples
    floor, mean, best, ceiling = (bounds["mean"] for bounds in headroom.summary["measures"][measure].values())
    yield (
        f"{measure} is {mean:.3f} on average and {best:.3f} with the best of {samples} samples: {best - mean:+.3f} can "
        f"be learned from queries that the policy already writes. Another {max(ceiling - best, 0):.3f} to the ceiling "
        "needs queries that it does not write yet."
    )
    if best < floor:
        yield (
            f"Even the best of {samples} samples is below the floor of {floor:.3f}: the raw need is a better query "
            "than the policy's. Start with supervised training (a warm start), another prompt or another model."
        )


def _solvable(headroom: Headroom) -> Iterator[str]:
    solved, samples = headroom.summary["solved"], headroom.evaluation.samples
    never, always = solved["never"]["mean"], solved["always"]["mean"]
    if never:
        advice = (
            "most needs give no example of success. Start with supervised training (a warm start), or reward less "
            "(a deeper or smoother measure)"
            if never >= MANY
            else "the policy can learn them only from similar needs"
        )
        yield f"{never:.0%} of needs are never solved in {samples} samples: {advice}."
    if solved["unsolvable"]:
        yield (
            f"{solved['unsolvable']:.0%} of needs have a ceiling of 0: not even queries from their answer key "
            "find anything relevant. See `recr1 doctor`."
        )
    if always:
        advice = ": use harder needs" if always >= MANY else ""
        yield f"{always:.0%} of needs are always solved; little can be learned from them{advice}."


def _flat(headroom: Headroom) -> Iterator[str]:
    groups, own = headroom.summary["groups"], headroom.options.group
    if own and str(own) not in groups:
        yield f"The recipe's group size is {own}, which needs at least {own} samples: use --samples {own}."
    elif own:
        flat, largest = groups[str(own)]["flat"]["mean"], list(groups)[-1]
        larger = int(largest) > own and flat > SOME
        more = f" (groups of {largest}: {groups[largest]['flat']['mean']:.0%})" if larger else ""
        advice = ": use dynamic sampling or larger groups" if flat >= MANY else ""
        yield f"{flat:.0%} of the recipe's groups of {own} would have equal rewards and teach nothing{more}{advice}."


def _copies(headroom: Headroom) -> Iterator[str]:
    copied = headroom.summary["query_copies_need"]
    if copied >= SOME:
        advice = (
            ": sample at a higher temperature, or begin with an sft stage on pairs of the type searched or edits"
            if copied >= MANY
            else ""
        )
        yield f"{copied:.0%} of completions search the words of their need and nothing else{advice}."


def _deep(headroom: Headroom) -> Iterator[str]:
    depth = headroom.summary["depth"]
    now, suggested, group, paid = depth["now"], depth["suggested"], depth["group"], depth["groups"]
    if suggested is None:
        yield f"No completion found anything relevant in {headroom.depth} items: a deeper reward does not help."
        return
    here = f"The rewards use {now} items, within which {paid[str(now)]:.0%} of groups of {group} find something"
    if suggested > now:
        yield (
            f"{here} relevant; within {suggested} it is {paid[str(suggested)]:.0%}. A reward of depth k = {suggested} "
            f"would reward {REACH:.0%} of the groups that any depth up to {headroom.depth} rewards."
        )
    else:
        yield f"{here} relevant: that is deep enough (k = {suggested} would do)."


def _invalid(headroom: Headroom) -> Iterator[str]:
    summary = headroom.summary
    if summary["invalid"] >= SOME:
        reason, share = max(summary["invalid_reasons"].items(), key=lambda item: item[1])
        yield (
            f"{summary['invalid']:.0%} of completions are invalid, most often '{reason}' ({share:.0%}): a simpler "
            "format or a warm start saves the steps in which training would only learn the format."
        )
    if summary["no_hits"] >= SOME:
        yield f"{summary['no_hits']:.0%} of completions are a query that matches nothing."


def write(headroom: Headroom, folder: str | Path) -> Path:
    """Write `headroom.json` (every number), `headroom.md` and `per_need.jsonl` into a folder and return it.

    Raises `RunError` when it cannot be written.
    """
    out = Path(folder)
    write_result(out, "headroom", headroom.summary, tables(headroom), verdicts(headroom))
    with writing(out):
        write_lines(out / "per_need.jsonl", headroom.per_need())
    return out
