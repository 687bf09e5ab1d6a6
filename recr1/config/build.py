"""Parts: from `{type: bm25, k1: 1.2}` to a checked, built object; the one place where a recipe's words become classes.

A class's keyword-only arguments are its options, and their annotations say what a recipe may write: there is no second
place to declare an option. A class that can tell more about its options before anything heavy loads offers

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]: ...

whose lines are shown under the part's path ("trl.lerning_rate: no such field" for an option, or a plain sentence).

An option that is named like a kind and holds a mapping (`task: {type: files, format: {type: tag}}`) is a part itself:
it is checked as one, handed over as it stands, and built by the class that asked for it. A class that calls such an
option otherwise, or takes a list of parts, says so: `nested = {"parts": "retriever"}`.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
import reprlib
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from recr1.config.alarms import AlarmSpec
from recr1.config.options import Option, Problem, check_options, convert, did_you_mean, options_of
from recr1.errors import RecipeError, UserError


class Kind(NamedTuple):
    """What a recipe can name: where the built-in types are listed, and what a class of this kind must be like."""

    registry: str
    """The module whose `BUILTIN` maps names to "package.module:Class"."""
    methods: tuple[str, ...]
    takes: int = 0
    """How many positional arguments `build` hands over before the options."""
    light: bool = False
    """Building one costs nothing, so checking builds it, and a value that only the constructor refuses is found too."""


KINDS: Mapping[str, Kind] = {
    "task": Kind("recr1.tasks", ("needs",)),
    "retriever": Kind("retrievers", ("search",), takes=1),
    "encoder": Kind("retrievers.dense.encoders", ("encode_items", "encode_queries")),
    "scorer": Kind("retrievers.combine.scorers", ("score",)),
    "reward": Kind("rewards", ("__call__",), light=True),
    "format": Kind("recr1.formats", ("render", "parse"), light=True),
    "policy": Kind("recr1.policies", ("generate",)),
    "trainer": Kind("recr1.trainers", ("train",)),
    "pairs": Kind("recr1.trainers.pairs.pairs", ("pairs",)),
    "logger": Kind("recr1.loggers", ()),
}


@dataclass(frozen=True)
class Part:
    """A class by its type and the options to build it with, as a recipe writes them."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Part:
        """The part of a mapping that holds `type` and options."""
        return cls(spec["type"], {name: value for name, value in spec.items() if name != "type"})

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds: `type` first, then the options."""
        return {"type": self.type, **self.options}


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """When and on what a policy is evaluated: the `evaluate` section of a recipe."""

    split: str = "validation"
    measures: tuple[str, ...] = ("nDCG@10",)
    every: int = 50
    """Trainer steps between two evaluations."""
    needs: int | None = None
    """At most so many needs of the split, the first ones; None for all."""
    keep: Literal["best", "last"] = "best"
    """Which policy a run leaves: that with the highest first measure in a validation, or that of the last step."""
    patience: int | None = None
    """Validations in a row without a gain after which training ends; None for never."""
    min_gain: float = 0.0
    """How much the first measure must rise for it to be a gain."""
    alarm: AlarmSpec = field(default_factory=AlarmSpec)
    """When training has collapsed."""
    accept_leaks: bool = False
    """Train although needs of validation or test stand in training too; the run and its reports say so."""

    def __post_init__(self) -> None:
        if not self.measures:
            raise ValueError("measures: name at least one, such as nDCG@10")
        if self.every < 1:
            raise ValueError(f"every: must be at least 1 step, got {self.every}")
        if self.needs is not None and self.needs < 1:
            raise ValueError(f"needs: must be at least 1, or null for all, got {self.needs}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience: must be at least 1 validation, or null for never, got {self.patience}")
        if not 0 <= self.min_gain < math.inf:
            raise ValueError(f"min_gain: must be 0 or more, got {self.min_gain}")

    def training_problem(self) -> str | None:
        """What is wrong with training by this section: the needs of the test choose no policy, and end no training."""
        if self.split != "test":
            return None
        remedies = {
            "keep: last": self.keep == "best",
            "patience: null": self.patience is not None,
            "alarm.action: warn": self.alarm.action == "stop",
        }
        needed = " and ".join(remedy for remedy, deciding in remedies.items() if deciding)
        return f"split: 'test' would choose the policy that is kept; use validation, or {needed}" if needed else None

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**vars(self), "measures": list(self.measures), "alarm": self.alarm.to_dict()}


def builtin(kind: str) -> Mapping[str, str]:
    """The built-in types of a kind: name -> "package.module:Class"."""
    registry: Mapping[str, str] = importlib.import_module(KINDS[kind].registry).BUILTIN
    return registry


def find_class(kind: str, name: str) -> type[Any]:
    """The class behind a built-in name or `package.module:Class`; raises `UserError` where there is none.

    The current folder is importable, as it is for a script.
    """
    known = builtin(kind)
    target = known.get(name, name)
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", target):
        raise UserError(f"no {name!r} here{did_you_mean(name, known) or f'; {_listed(kind)}'}")
    module_name, class_name = target.split(":")
    found = getattr(_import(module_name), class_name, None)
    if not inspect.isclass(found):
        raise UserError(f"the module '{module_name}' has no class {class_name!r}")
    # Not by getattr: a class answers to __call__ whether or not its objects do.
    has = {name for base in found.__mro__ for name in vars(base)}
    missing = [method for method in KINDS[kind].methods if method not in has]
    if missing:
        raise UserError(f"'{name}' is no {kind}: it has no method '{missing[0]}'")
    return found


def check_part(kind: str, spec: object, path: str) -> list[Problem]:
    """Everything wrong with a part, found without opening data or loading a model; empty when nothing is."""
    if not isinstance(spec, Mapping):
        example = next(iter(builtin(kind)))
        what = f"expected a mapping with a type, such as {{type: {example}}}, got {reprlib.repr(spec)}"
        return [Problem(path, what)]
    name = spec.get("type")
    if not isinstance(name, str):
        what = "missing" if name is None else f"expected a name, got {reprlib.repr(name)}"
        return [Problem(f"{path}.type", f"{what} ({_listed(kind)})")]
    try:
        cls = find_class(kind, name)
        known = options_of(cls, takes=KINDS[kind].takes)
    except UserError as error:
        return [Problem(f"{path}.type", str(error))]
    part = Part.from_dict(spec)
    problems = check_options(known, part.options, path, name)
    nested = _check_nested(cls, known, part, path)
    if problems:  # a class is only asked about options of the right types
        return problems + nested
    return _own_checks(kind, cls, known, part, path, whole=not nested) + nested


def _check_nested(cls: type[Any], known: Mapping[str, Option], part: Part, path: str) -> list[Problem]:
    """Everything wrong with the parts that stand in a part's options."""
    declared: Mapping[str, str] = getattr(cls, "nested", {})
    problems = []
    for key, value in part.options.items():
        kind = declared.get(key, key)
        if kind not in KINDS or key not in known:
            continue
        if isinstance(value, Mapping):
            problems += check_part(kind, value, f"{path}.{key}")
        elif isinstance(value, list) and key in declared:
            for place, spec in enumerate(value):
                problems += check_part(kind, spec, f"{path}.{key}.{place}")
    return problems


def build(kind: str, part: Part | Mapping[str, Any], *args: Any, path: str | None = None) -> Any:
    """The object that a part describes: `cls(*args, **options)`.

    Raises `RecipeError` with every problem of the part, under `path` (the kind when not given). What the constructor
    raises itself, other than a plain `ValueError` about an option, comes through as it is.
    """
    path = path or kind
    spec = part.to_dict() if isinstance(part, Part) else part
    problems = check_part(kind, spec, path)
    if problems:
        raise RecipeError([str(problem) for problem in problems], path)
    cls = find_class(kind, spec["type"])
    options = convert(options_of(cls, takes=KINDS[kind].takes), Part.from_dict(spec).options)
    try:
        return cls(*args, **options)
    except ValueError as error:
        # Subclasses (DataError, UnicodeDecodeError) are no remark on an option: they say themselves what is wrong.
        if type(error) in (ValueError, UserError):
            raise RecipeError([f"{path}: {error}"], path) from error
        raise


def _listed(kind: str) -> str:
    return f"built in: {', '.join(sorted(builtin(kind)))}; or your own as package.module:Class"


def _own_checks(
    kind: str, cls: type[Any], known: Mapping[str, Option], part: Part, path: str, *, whole: bool
) -> list[Problem]:
    """What the class itself says about options of the right types; it is only built with sound parts in it."""
    checker = getattr(cls, "check_options", None)
    remarks = list(checker(part.options)) if checker else []
    if not remarks and whole and KINDS[kind].light:
        try:
            cls(**convert(known, part.options))
        except ValueError as error:
            remarks = [str(error)]
    return [placed(remark, known, path) for remark in remarks]


def placed(remark: str, known: Mapping[str, Option], path: str) -> Problem:
    """A class's remark, under its option's path where it begins with one ("trl.beta: ...")."""
    head, colon, rest = remark.partition(": ")
    if colon and head.split(".")[0] in known:
        return Problem(f"{path}.{head}", rest)
    return Problem(path, remark)


def _import(name: str) -> types.ModuleType:
    """A module by name, from the current folder too; raises `UserError` that says why it cannot be imported."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"there is no module '{error.name}' (looked in {here} and on Python's path)") from error
        raise UserError(f"the module '{name}' cannot be imported: it needs '{error.name}'") from error
    except (ImportError, SyntaxError) as error:
        raise UserError(f"the module '{name}' cannot be imported: {type(error).__name__}: {error}") from error
