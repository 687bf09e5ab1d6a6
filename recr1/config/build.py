"""What a recipe is made of: the kinds of its parts, and the sections `evaluate` and `audit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Gt, Le, Lt, MinLen

import rewards
from retrievers.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, checked
from retrievers.parts import Kind, Part, Parts

__all__ = [
    "KINDS",
    "AuditLimits",
    "AuditSpec",
    "EvaluationSpec",
    "Part",
    "build",
    "builtin",
    "check_part",
    "find_class",
    "options_of_part",
]

KINDS: Mapping[str, Kind] = {
    "task": Kind("recr1.tasks", ("needs",)),
    "source": Kind("recr1.tasks.behaviour", ("pasts",)),
    **rewards.PARTS.kinds,
    "format": Kind("recr1.formats", ("render", "parse"), light=True),
    "policy": Kind("recr1.policies", ("generate",)),
    "trainer": Kind("recr1.trainers", ("train",)),
    "pairs": Kind("recr1.trainers.pairs.pairs", ("pairs",)),
    "logger": Kind("recr1.loggers", ()),
}
"""Each section of a recipe that has a `type`, and what may be inside of one."""

PARTS = Parts(KINDS)
build, check_part, find_class = PARTS.build, PARTS.check, PARTS.find
builtin, options_of_part = PARTS.builtin, PARTS.options

Sign: TypeAlias = Literal["entropy", "kl", "valid", "repeated", "growth", "floor", "drop", "blind", "copies"]
"""What is watched, by the name of its threshold."""

_Threshold: TypeAlias = Annotated[float, Gt(0), Lt(1)]


@checked
@dataclass(frozen=True, kw_only=True)
class AlarmSpec:
    """Thresholds of the collapse alarm; null turns one off.

    A threshold counts only after the value was on its good side once: a policy that starts low has not collapsed. Only
    `blind`, which is about the judgements, and `copies`, from which training does not move, count from the start.
    """

    action: Literal["stop", "warn", "off"] = "stop"
    """stop: warn, and if it lasts stop and keep the best policy; warn: only warn; off: watch nothing."""
    stop_on: tuple[Sign, ...] = ("valid", "floor", "drop")
    """The thresholds that stop a run. The others only warn: a certain or wordy policy may still be good."""
    warn_after: PositiveInt = 5
    """Training steps in a row beyond a threshold before a warning."""
    stop_after: PositiveInt = 20
    """Training steps in a row beyond a threshold before the run stops."""
    validations: PositiveInt = 2
    """Validations in a row below a threshold before the run stops; the first one warns."""
    entropy: PositiveFloat | None = 0.01
    """Nats per token, `train/entropy`; below it the policy tries nothing new."""
    kl: PositiveFloat | None = 10.0
    """Nats per token from the reference policy, if there is one, `train/kl`; above it the policy has left it."""
    valid: _Threshold | None = 0.5
    """Share of completions that can be parsed; below it the policy is forgetting the format."""
    repeated: _Threshold | None = 0.5
    """Share of words that repeat a word of their query, `train/query/repeated`."""
    growth: Annotated[float, Gt(1)] | None = 4.0
    """Words per query, as a multiple of those of the best policy so far."""
    floor: PositiveFloat | None = 1.0
    """Share of the floor (the raw need as query) that the validated measure must reach."""
    drop: _Threshold | None = 0.5
    """Share of its own best that the validated measure must reach."""
    blind: _Threshold | None = 0.95
    """Share of the rollouts with hits whose first items are all unjudged, `train/hits/blind@10`; above it, rewards say
    almost nothing."""
    copies: _Threshold | None = 0.8
    """Share of the completions that copy their need, `train/query/copies_need`; above it, and where half of the groups
    or more are flat, all rewards equal (`train/groups/flat`), almost nothing is learned."""
    certainty: NonNegativeFloat = 3.0
    """Standard errors, over the needs, that the measure must fall: less may be chance."""

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options taken together."""
        first, last = (int(options.get(name, getattr(AlarmSpec, name))) for name in ("warn_after", "stop_after"))
        return [] if last >= first else [f"stop_after: must be an integer >= warn_after ({first}), got {last}"]

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**asdict(self), "stop_on": list(self.stop_on)}


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """When and on what a policy is evaluated: the `evaluate` section of a recipe."""

    split: str = "validation"
    measures: Annotated[tuple[str, ...], MinLen(1)] = ("nDCG@10",)
    every: PositiveInt = 50  # trainer steps between two evaluations
    needs: PositiveInt | None = None
    """How many needs of the split are used, from its start; None for all."""
    keep: Literal["best", "last"] = "best"
    """Which policy a run keeps: the one with the highest first measure in validation, or that of the last step."""
    patience: PositiveInt | None = None
    """Validations in a row without a gain before training stops; None for never."""
    min_gain: NonNegativeFloat = 0.0
    """How much the first measure must rise to count as a gain."""
    alarm: AlarmSpec = field(default_factory=AlarmSpec)
    accept_leaks: bool = False
    """Train although needs of validation or test are in training too; the run and its reports say so."""

    second_opinion: str | None = None
    """A file of judgements that no reward sees, such as those of people: the gain is measured on them too."""

    def training_problem(self) -> str | None:
        """What is wrong with training by this section: the test split must not choose a policy or stop a run."""
        remedies = {
            "keep: last": self.keep == "best",
            "patience: null": self.patience is not None,
            "alarm.action: warn": self.alarm.action == "stop",
        }
        needed = " and ".join(remedy for remedy, deciding in remedies.items() if deciding)
        if self.split != "test" or not needed:
            return None
        return f"split: 'test' would choose the policy that is kept: use validation, or set {needed}"

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**vars(self), "measures": list(self.measures), "alarm": self.alarm.to_dict()}


_Limit: TypeAlias = Annotated[float, Gt(0), Le(1)]


@checked
@dataclass(frozen=True, kw_only=True)
class AuditLimits:
    """The largest numbers that `recr1 audit` accepts; null for no limit.

    A number fails where it is above its limit and that is not chance: of 100 audits of policies without any bias, at
    most one fails.
    """

    slots: _Limit | None = 0.2
    """How far the shares of the places that are chosen first are from chance (total variation)."""
    order: _Limit | None = 0.2
    """Kendall's tau of lists with the order in which the candidates were shown, above or below 0."""
    flips: _Limit | None = None
    """How often the first item changes with the order; a policy that answers at random changes it most of the time."""
    popularity_lift: _Limit | None = 0.1
    """How much more popular listed items are than those of the user's history, in shares of the catalog."""
    prior: _Limit | None = 0.2
    """What the model's likelihood of a title explains of exposure beyond popularity (partial correlation)."""
    spread: _Limit | None = 0.1
    """How different the similarity to the neutral list is for the words of an attribute (largest - smallest)."""
    gap: _Limit | None = 0.05
    """How different nDCG is for the words of an attribute (largest - smallest)."""
    doubles: _Limit | None = None
    """Share of listed items with almost the title of an item above."""
    growth: Annotated[float, Gt(1)] | None = 4.0
    """Words of the queries, as a multiple of those of the needs."""
    repeated: _Limit | None = 0.2
    """Share of the words of a query that appeared in it before."""
    miscalibration: _Limit | None = 0.1
    """How much further the kinds in lists are from those of histories than in lists drawn at random."""


@checked
@dataclass(frozen=True, kw_only=True)
class AuditSpec:
    """What `recr1 audit` looks at: the `audit` section of a recipe."""

    needs: PositiveInt = 200
    """How many needs of the split, from its start; few needs show little."""
    cutoff: PositiveInt = 5
    """How many items of a list are read; at most k, and half of the candidates."""
    orders: NonNegativeInt = 4
    """Other orders of the candidates that each need is shown in; 0 leaves position out."""
    words: dict[str, Annotated[list[str], MinLen(2)]] = field(
        default_factory=lambda: {"gender": ["a woman", "a man"], "age": ["young", "old"]}
    )
    """Attributes of people, each with two words or more that are said of a person; {} leaves groups out."""
    sentence: Annotated[str, MinLen(1)] = "I am {word}. {need}"
    """How a word is said beside the text of a need."""
    popularity: str = "popularity"
    """The catalog field that says how popular items are; "popularity" may be counted in interactions."""
    kinds: str = "category"
    """The catalog field with the kinds of items."""
    titles: PositiveInt = 500
    """Items whose titles the model reads, and that are compared by their texts."""
    limits: AuditLimits = field(default_factory=AuditLimits)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the sentence."""
        sentence = options.get("sentence", AuditSpec.sentence)
        lacks = [slot for slot in ("{word}", "{need}") if slot not in sentence]
        return [f"sentence: must contain {' and '.join(lacks)}, got {sentence!r}"] if lacks else []

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return asdict(self)
