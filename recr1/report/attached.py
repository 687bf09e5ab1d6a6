"""What other commands wrote into the run folders: comparisons, swap tests and rescored results, and if they still hold.

Each result stands under the run in whose folder it is. Results of several runs are never pooled: what is about several
seeds says so itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recr1.compare.report import tables_of as compare_tables
from recr1.errors import RunError
from recr1.judge.table import Table
from recr1.report import figures
from recr1.report.drawing import Figure
from recr1.report.pool import Group
from recr1.report.source import Kept, Source
from recr1.rescore import TRAINING, sentences
from recr1.rescore.result import tables_of as rescore_tables
from recr1.runs import policy_mismatch, same_run, setting_mismatch
from recr1.swap import swap_tables_of

COMPARED = (
    "The first row is what all others are tested against, on the same needs. Read the interval before the mean; a p of "
    "0.05 or more means that these needs show no difference, not that there is none. A star marks what reads the "
    "answers: a bound, and no rival. The second table says what a query of each costs."
)
SWAPPED = (
    "The policies wrote once, for their own engine (first column), and every engine searched what they wrote. Read "
    "down a column, then along the gains: levels of two engines do not compare, gains do. A gain that is kept is "
    "about shopping; one that is gone was about one engine."
)
RESCORED = (
    "The same completions, scored again; nothing was generated. before is with the run's own engine and catalog, "
    "change is after minus before on the same needs, and floor and ceiling were searched again too."
)


@dataclass(frozen=True)
class Attached:
    """A result of another command."""

    run: str
    file: str
    """Where it is, below the folder of that run."""
    title: str
    says: Sequence[str]
    """Its own sentences, the verdict first."""
    reading: str
    """How to read it."""
    stale: Sequence[str]
    """Why it is not of the run as it is now; nothing where it is, or where that is not known."""
    tables: Sequence[Table]
    figure: Figure | None = None
    folded: Sequence[Table] = ()
    """Tables for those who want to know more."""

    @property
    def all_tables(self) -> Sequence[Table]:
        """Those that are shown, and those that are folded."""
        return [*self.tables, *self.folded]


def compared(group: Group, name: str) -> list[Attached]:
    """The comparisons that lie in the folders of a group; within `drawing.style()`."""
    return [one for run in group.runs for one in _each(run, run.compared, _comparison(group, name))]


def swapped(group: Group) -> list[Attached]:
    """The swap tests that lie in the folders of a group."""
    return [one for run in group.runs for one in _each(run, run.swapped, _swap)]


def rescored(group: Group) -> list[Attached]:
    """The rescored results that lie in the folders of a group."""
    return [one for run in group.runs for one in _each(run, run.rescored, _rescore)]


def to_compare(group: Group) -> str:
    """The command that puts the policies of a group beside cheaper ones."""
    first, *others = (run.path for run in group.runs)
    if not others:
        return f"recr1 compare {first}"
    seeds = "+".join(str(path) for path in (first, *others))
    return f"recr1 compare {first} --policies raw,keywords,untrained,prompt_search,best_of_8,trained={seeds}"


def _each(run: Source, kept: Sequence[Kept], read: Callable[[Source, Kept], Attached]) -> Iterator[Attached]:
    for one in kept:
        try:
            yield read(run, one)
        except (KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
            what = f"{run.path / one.file} is not as recr1 writes it: {type(error).__name__}: {error}"
            raise RunError(f"{what} (write it again, or remove it)") from error


def _comparison(group: Group, name: str) -> Callable[[Source, Kept], Attached]:
    def read(run: Source, kept: Kept) -> Attached:
        held = kept.held
        of = [one for policy in held["policies"].values() for one in policy.get("runs", ())]
        own = [one for one in of if same_run(one, run.facts)]
        stale = [why for one in own for why in policy_mismatch(one, run.facts)]
        if of and not own:
            stale.append(f"it holds no policy of this run, but of {', '.join(str(one.get('run')) for one in of)}")
        stale += setting_mismatch(_setting(held), run.facts, run.recipe)
        shown = compare_tables(held)
        place = f"{name}-{group.runs.index(run)}-{run.compared.index(kept)}"
        return Attached(
            run.name,
            kept.file,
            f"Compared on {held['split']}",
            [held["verdict"], *_coverage(group, of)],
            COMPARED,
            list(dict.fromkeys(stale)),
            shown[:2],
            figures.compared(held, place),
            folded=shown[2:],
        )

    return read


def _setting(held: Mapping[str, Any]) -> Mapping[str, Any]:
    return held.get("setting") or {"catalog": held["settings"]["catalog"]}


def _coverage(group: Group, of: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Which of several seeds a comparison is about."""
    inside = [run.name for run in group.runs if any(same_run(one, run.facts) for one in of)]
    if len(group.runs) > 1 and 0 < len(inside) < len(group.runs):
        yield f"This is about {' and '.join(inside)} alone. For all {len(group.runs)} seeds: {to_compare(group)}"


def _swap(run: Source, kept: Kept) -> Attached:
    held = kept.held
    first = next(iter(held["retrievers"][held["own"]]["policies"].values()))
    origin = held.get("origin") or {"catalog": first["settings"]["catalog"]}
    return Attached(
        run.name,
        kept.file,
        f"On other retrievers, {first['split']}",
        held.get("verdict", ()),
        SWAPPED,
        [*policy_mismatch(origin, run.facts), *setting_mismatch(origin, run.facts, run.recipe)],
        swap_tables_of(held),
    )


def _rescore(run: Source, kept: Kept) -> Attached:
    held = kept.held
    other = " ".join(held["overrides"]) or "other measures"
    return Attached(
        run.name,
        kept.file,
        f"Rescored with {other}",
        [*sentences(held["results"]), *held["notes"]],
        RESCORED,
        [*policy_mismatch(held.get("origin") or {}, run.facts), *_written_since(run, held["results"])],
        rescore_tables(held["results"]),
    )


def _written_since(run: Source, results: Mapping[str, Any]) -> Iterator[str]:
    """What was written, or is gone, since results were scored again."""
    now = {
        f"{one.split}/{one.policy}": sum(len(line.get("samples", [line])) for line in one.lines) for one in run.judged
    }
    now[TRAINING] = len(run.rollouts)
    for name, one in results.items():
        then = one["completions"] + one["missing"]
        if now.get(name, 0) != then:
            yield f"it is of {then} completions of '{name}', and the run holds {now.get(name, 0)} now"
