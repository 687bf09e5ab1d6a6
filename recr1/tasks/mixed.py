"""The task that is several tasks: their needs in one batch, each with the format and the measure of its family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from annotated_types import MinLen

from recr1.config.build import build, check_part
from recr1.errors import UserError, shown
from recr1.formats import FitsEngine, Format, parsed
from recr1.tasks.base import SPLITS, HasCanary, HasGroups, HasTextFields, HidesHistory, Task, plain_answers, splits_of
from retrievers.options import PositiveFloat, checked, did_you_mean
from rewards.base import Action, Chat, Invalid, Need, Qrels
from rewards.measures import measure_option


class MixedFormat:
    """Renders and parses each need as the format of its family does."""

    def __init__(self, formats: Mapping[str, Format]) -> None:
        self.formats = formats

    def with_syntax(self, syntax: Mapping[str, str]) -> MixedFormat:
        """The same for an engine: each format that depends on it is fitted."""
        fitted = {
            name: one.with_syntax(syntax) if isinstance(one, FitsEngine) else one for name, one in self.formats.items()
        }
        return MixedFormat(fitted)

    def render(self, need: Need) -> Chat:
        """The prompt of the need's family; raises `UserError` for a need of none."""
        return self._of(need).render(need)

    def parse(self, completion: str) -> Action:
        """`Invalid`: without a need there is no family."""
        return Invalid("no family")

    def parse_for(self, need: Need, completion: str) -> Action:
        """What a completion means in the need's family."""
        return parsed(self._of(need), need, completion)

    def _of(self, need: Need) -> Format:
        if need.family not in self.formats:
            families = ", ".join(self.formats)
            raise UserError(f"need '{need.id}' has no family of this task ({families}): pairs of a file have none")
        return self.formats[need.family]


@checked
class MixedTask:
    """Several tasks on one catalog, for one policy. The id of a need is that of its task with the name before it.

    The name is the need's family: the reward `of_family` pays one family, `Own@k` measures each by its own measure, and
    an evaluation says each family for itself. Needs are mixed evenly, so that the first needs of a split are of every
    family. Families of users either all hide what a user has from searches, or none does.

    Args:
        tasks: name -> task, as a recipe writes it.
        share: name -> how many training needs of this family in proportion to the others; the longer families are cut.
            Null keeps all training needs. Needs of validation and test are all kept.
        measures: name -> the measure of the family, such as RougeL or nDCG@10, for `Own@k`.
    """

    def __init__(
        self,
        *,
        tasks: Annotated[dict[str, dict[str, Any]], MinLen(1)],
        share: dict[str, PositiveFloat] | None = None,
        measures: dict[str, str] | None = None,
    ) -> None:
        opened: dict[str, Task] = {name: build("task", one, path=f"task.tasks.{name}") for name, one in tasks.items()}
        first, *others = opened.items()
        for name, task in others:
            if task.catalog.fingerprint != first[1].catalog.fingerprint:
                raise UserError(f"tasks: '{name}' has another catalog than '{first[0]}': give both the same source")
        self._tasks, self.catalog = opened, first[1].catalog
        if isinstance(first[1], HasTextFields):
            self.text_fields = first[1].text_fields
        self.canary = next((one.canary for one in opened.values() if isinstance(one, HasCanary)), "")
        self.format = MixedFormat({name: task.format for name, task in opened.items()})
        self.counts = {f"{name}: {what}": count for name, one in opened.items() for what, count in one.counts.items()}
        self.qrels: dict[str, Qrels] = {}
        self._origin: dict[str, tuple[Task, Need]] = {}
        self._needs = {
            split: tuple(mixed({name: self._own(name, split, (measures or {}).get(name)) for name in opened}))
            for split in SPLITS
        }
        if share:
            self._needs["train"] = tuple(mixed(_cut(self._needs["train"], share)))
        hiding = {name: one.hides_history for name, one in opened.items() if isinstance(one, HidesHistory)}
        if len(set(hiding.values())) > 1:
            shows = ", ".join(name for name, hides in hiding.items() if not hides)
            what = f"{shows} may find what a user has, and the other tasks of users may not"
            raise UserError(f"tasks: {what}: set repeats alike")
        self.hides_history = any(hiding.values())
        groups = {name: one.group_of for name, one in opened.items() if isinstance(one, HasGroups)}
        self.group_of = {f"{name}/{need}": label for name, of in groups.items() for need, label in of.items()}

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether the tasks are sound, and whether shares and measures are about them."""
        tasks, share = options["tasks"], options.get("share")
        found = [str(problem) for name, one in tasks.items() for problem in check_part("task", one, f"tasks.{name}")]
        found += [f"tasks: a name must be without /, got {shown(name)}" for name in tasks if "/" in name or not name]
        for option in ("share", "measures"):
            known = options.get(option) or {}
            found += [f"{option}: no task {shown(one)}{did_you_mean(one, tasks)}" for one in known if one not in tasks]
        found += [f"share: has no '{name}': give every task a share" for name in tasks if name not in (share or tasks)]
        for name in (options.get("measures") or {}).values():
            try:
                measure_option(name)
            except ValueError as error:
                found.append(str(error).replace("measure: ", "measures: ", 1))
        return found

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split of all tasks; raises `UserError` for a split that none has."""
        if not self._needs.get(split):
            raise UserError(f"the task 'mixed' has no split {split!r}: no task in it has needs there")
        return self._needs[split]

    def plain_answers(self, need: Need) -> Mapping[str, str]:
        """What the need's own task answers without a model."""
        return plain_answers(*self._origin[need.id])

    def _own(self, name: str, split: str, measure: str | None) -> list[Need]:
        task, made = self._tasks[name], []
        for need in splits_of(task).get(split, ()):
            own, key = replace(need, id=f"{name}/{need.id}", family=name), task.qrels[need.id]
            self.qrels[own.id] = Qrels(dict(key), key.gains, key.gold, measure)
            self._origin[own.id] = task, need
            made.append(own)
        return made


def _cut(needs: Sequence[Need], share: Mapping[str, float]) -> dict[str, list[Need]]:
    """The needs by family, the first of each, in these proportions: as many as the scarcest family allows."""
    by_family: dict[str, list[Need]] = {name: [need for need in needs if need.family == name] for name in share}
    if empty := [name for name in share if not by_family[name]]:
        raise UserError(f"share: '{empty[0]}' has no training needs, so that nothing can be in proportion to them")
    unit = min(len(by_family[name]) / part for name, part in share.items())
    return {name: of[: round(unit * share[name])] for name, of in by_family.items()}


def mixed(families: Mapping[str, Sequence[Need]]) -> Iterator[Need]:
    """All needs, each family spread evenly over the whole."""
    placed = [((place + 0.5) / len(of), name, need) for name, of in families.items() for place, need in enumerate(of)]
    yield from (need for _, _, need in sorted(placed, key=lambda one: one[:2]))
