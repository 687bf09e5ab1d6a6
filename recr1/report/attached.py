"""Results of other commands in the run folders (comparisons, swap tests, rescored results), and if they are up to date.

Each result is shown under the run in whose folder it is. Results of several runs are never pooled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from recr1.compare.report import tables as compare_tables
from recr1.errors import RunError
from recr1.judge.table import Table
from recr1.report import figures
from recr1.report.figures import Figure
from recr1.report.groups import Group
from recr1.report.run_data import RunData, SavedResult
from recr1.rescore import TRAINING, sentences
from recr1.rescore import tables as rescore_tables
from recr1.runs import policy_mismatch, same_run, setting_mismatch
from recr1.swap import swap_tables

COMPARED = (
    "All policies are tested against the first row, on the same needs. Read the interval before the mean: p of 0.05 or "
    "more means that these needs show no difference, not that there is none. A star marks a policy that reads the "
    "answers: it is a bound. The second table has the cost of a query."
)
SWAPPED = (
    "The policies wrote their queries once, for their own engine (first column), and every engine searched them. "
    "Compare policies within a column, and gains between columns; levels of two engines do not compare. A gain that "
    "remains on other engines is about shopping; a gain that disappears is about one engine."
)
RESCORED = (
    "The same completions, scored again; nothing was generated. before: with the run's own engine and catalog. change: "
    "after minus before on the same needs. Floor and ceiling were searched again too."
)


class Attached(NamedTuple):
    """A result of another command."""

    run: str
    file: str  # its path, below the run folder
    title: str
    says: Sequence[str]  # its sentences, the verdict first
    reading: str  # how to read it
    stale: Sequence[str]
    """Why it is out of date; empty if it is not, or if that is not known."""
    tables: Sequence[Table]
    figure: Figure | None = None
    folded: Sequence[Table] = ()
    """More tables, which the page hides at first."""


def compared(group: Group, name: str) -> list[Attached]:
    """The comparisons in the folders of a group; within `figures.style()`."""
    return _all(group, lambda run: run.compared, partial(_comparison, group, name))


def swapped(group: Group) -> list[Attached]:
    """The swap tests in the folders of a group."""
    return _all(group, lambda run: run.swapped, _swap)


def rescored(group: Group) -> list[Attached]:
    """The rescored results in the folders of a group."""
    return _all(group, lambda run: run.rescored, _rescore)


def to_compare(group: Group) -> str:
    """The command that compares the policies of a group with cheaper ones."""
    paths = [str(run.path) for run in group.runs]
    seeds = f" --policies raw,keywords,untrained,prompt_search,best_of_8,trained={'+'.join(paths)}"
    return f"recr1 compare {paths[0]}{seeds if len(paths) > 1 else ''}"


def _all(
    group: Group, saved: Callable[[RunData], Sequence[SavedResult]], read: Callable[[RunData, SavedResult], Attached]
) -> list[Attached]:
    found = []
    for run in group.runs:
        for one in saved(run):
            try:
                found.append(read(run, one))
            except (KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
                what = f"{run.path / one.file} cannot be read: {type(error).__name__}: {error}"
                raise RunError(f"{what} (write it again, or remove it)") from error
    return found


def _comparison(group: Group, name: str, run: RunData, saved: SavedResult) -> Attached:
    content = saved.content
    of = [one for policy in content["policies"].values() for one in policy.get("runs", ())]
    own = [one for one in of if same_run(one, run.facts)]
    stale = [why for one in own for why in policy_mismatch(one, run.facts)]
    if of and not own:
        stale.append(f"it is not about this run, but about {', '.join(str(one.get('run')) for one in of)}")
    setting = content.get("setting") or {"catalog": content["settings"]["catalog"]}
    stale += setting_mismatch(setting, run.facts, run.recipe)
    says = [content["verdict"]]
    inside = [run.name for run in group.runs if any(same_run(one, run.facts) for one in of)]
    if 0 < len(inside) < len(group.runs):
        only = f"This is only about {' and '.join(inside)}."
        says.append(f"{only} For all {len(group.runs)} seeds: {to_compare(group)}")
    shown = compare_tables(content)
    return Attached(
        run.name,
        saved.file,
        f"Compared on {content['split']}",
        says,
        COMPARED,
        list(dict.fromkeys(stale)),
        shown[:2],
        figures.compared(content, f"{name}-{group.runs.index(run)}-{run.compared.index(saved)}"),
        folded=shown[2:],
    )


def _swap(run: RunData, saved: SavedResult) -> Attached:
    content = saved.content
    first = next(iter(content["retrievers"][content["own"]]["policies"].values()))
    origin = content.get("origin") or {"catalog": first["settings"]["catalog"]}
    return Attached(
        run.name,
        saved.file,
        f"On other retrievers, {first['split']}",
        content.get("verdict", ()),
        SWAPPED,
        [*policy_mismatch(origin, run.facts), *setting_mismatch(origin, run.facts, run.recipe)],
        swap_tables(content),
    )


def _rescore(run: RunData, saved: SavedResult) -> Attached:
    overrides, results, notes = (saved.content[key] for key in ("overrides", "results", "notes"))
    now = {
        f"{one.split}/{one.policy}": sum(len(line.get("samples", [line])) for line in one.lines)
        for one in run.evaluated
    }
    now[TRAINING] = len(run.rollouts)
    stale = [*policy_mismatch(saved.content.get("origin") or {}, run.facts)]
    for name, one in results.items():  # were completions added or removed since?
        then = one["completions"] + one["missing"]
        if now.get(name, 0) != then:
            stale.append(f"it is of {then} completions of '{name}', and the run has {now.get(name, 0)} now")
    return Attached(
        run.name,
        saved.file,
        f"Rescored with {' '.join(overrides) or 'other measures'}",
        [*sentences(results), *notes],
        RESCORED,
        stale,
        rescore_tables(results),
    )
