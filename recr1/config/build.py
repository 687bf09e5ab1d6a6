"""What a recipe is made of: the kinds of its parts, and the section `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MinLen

import rewards
from recr1.config.alarms import AlarmSpec
from retrievers.options import NonNegativeFloat, PositiveInt, checked
from retrievers.parts import Kind, Part, Parts

__all__ = ["KINDS", "EvaluationSpec", "Part", "build", "builtin", "check_part", "find_class", "options_of_part"]

KINDS: Mapping[str, Kind] = {
    "task": Kind("recr1.tasks", ("needs",)),
    **rewards.PARTS.kinds,
    "format": Kind("recr1.formats", ("render", "parse"), light=True),
    "policy": Kind("recr1.policies", ("generate",)),
    "trainer": Kind("recr1.trainers", ("train",)),
    "pairs": Kind("recr1.trainers.pairs.pairs", ("pairs",)),
    "logger": Kind("recr1.loggers", ()),
}
"""Each section of a recipe that has a `type`, and what may be inside of one."""

PARTS = Parts(KINDS)
build, check_part, find_class, builtin, options_of_part = (
    PARTS.build,
    PARTS.check,
    PARTS.find,
    PARTS.builtin,
    PARTS.options,
)


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """When and on what a policy is evaluated: the `evaluate` section of a recipe."""

    split: str = "validation"
    measures: Annotated[tuple[str, ...], MinLen(1)] = ("nDCG@10",)
    every: PositiveInt = 50
    """Trainer steps between two evaluations."""
    needs: PositiveInt | None = None
    """How many needs of the split are used, from its start; None for all."""
    keep: Literal["best", "last"] = "best"
    """Which policy a run leaves: that with the highest first measure in a validation, or that of the last step."""
    patience: PositiveInt | None = None
    """Validations in a row without a gain after which training ends; None for never."""
    min_gain: NonNegativeFloat = 0.0
    """How much the first measure must rise for it to be a gain."""
    alarm: AlarmSpec = field(default_factory=AlarmSpec)
    """When training has collapsed."""
    accept_leaks: bool = False
    """Train although needs of validation or test are in training too; the run and its reports say so."""

    def training_problem(self) -> str | None:
        """What is wrong with training by this section: the test split must not choose a policy or stop a run."""
        if self.split != "test":
            return None
        remedies = {
            "keep: last": self.keep == "best",
            "patience: null": self.patience is not None,
            "alarm.action: warn": self.alarm.action == "stop",
        }
        needed = " and ".join(remedy for remedy, deciding in remedies.items() if deciding)
        return (
            f"split: 'test' would choose the policy that is kept: use validation, or set {needed}" if needed else None
        )

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**vars(self), "measures": list(self.measures), "alarm": self.alarm.to_dict()}
