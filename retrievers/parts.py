"""Parts: from `{type: bm25, k1: 1.2}` to a checked, built object, for every package.

The keyword-only arguments of a class are its options, and their annotations are checked (`retrievers.options`). For
what else can be wrong, and found before anything heavy loads, a class has a static method `check_options(options)` that
returns lines: "trl.beta: ..." for an option, or a plain sentence. `renamed = {"old": "new"}` are options that got
another name.

An option that is named like a kind and holds a mapping (`task: {type: files, format: {type: tag}}`) is a part itself:
it is checked with the whole, and built by the class that takes it, with the `Parts` of its package. A class whose
option has another name, or takes a list of parts, has `nested = {"parts": "retriever"}`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retrievers.errors import OptionError, UserError, shown
from retrievers.options import Option, Problem, convert, did_you_mean, option_problems, options_of, placed
from retrievers.secrets import literal_secrets

OWN = ("retrievers", "rewards", "recr1")
"""The packages whose code is known: that of any other module may do anything when it is imported."""
_TARGET = re.compile(r"(\w+)(?:\.\w+)*:\w+")
_left_out: ContextVar[dict[str, str] | None] = ContextVar("left_out", default=None)


@contextmanager
def own_code_only() -> Iterator[Mapping[str, str]]:
    """Import no module from outside of `OWN` within; yields path -> type of the parts that are not checked for that."""
    found: dict[str, str] = {}
    token = _left_out.set(found)
    try:
        yield found
    finally:
        _left_out.reset(token)


def left_out(path: str) -> bool:
    """Whether `own_code_only` left the part at a path unchecked, or one inside of it."""
    return any(f"{place}.".startswith(f"{path}.") for place in _left_out.get() or ())


class Kind(NamedTuple):
    """A kind of part: where its built-in types are listed, and what its classes must have."""

    registry: str
    """The module whose `BUILTIN` maps names to "package.module:Class"."""
    methods: tuple[str, ...]
    takes: int = 0
    """How many positional arguments the constructor has before the options."""
    light: bool = False
    """Whether a check may also build one, to find what only the constructor checks."""


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


class Parts:
    """The kinds that a package knows, and how to find, check and build a part of one."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds

    def builtin(self, kind: str) -> Mapping[str, str]:
        """The built-in types of a kind: name -> "package.module:Class"."""
        registry: Mapping[str, str] = importlib.import_module(self.kinds[kind].registry).BUILTIN
        return registry

    def find(self, kind: str, name: str) -> type[Any]:
        """The class behind a built-in name or `package.module:Class`; raises `UserError` if there is none.

        The current folder is importable, as it is for a script.
        """
        known = self.builtin(kind)
        target = known.get(name, name)
        if not _TARGET.fullmatch(target):
            raise UserError(f"no {shown(name)} here{did_you_mean(name, known) or f'; {self._listed(kind)}'}")
        if _left_out.get() is not None and _is_foreign(target):
            raise UserError(f"{shown(name)} is not imported, as it is code from outside of recr1 (--trust imports it)")
        module_name, class_name = target.split(":")
        found = getattr(_import(module_name), class_name, None)
        if not inspect.isclass(found):
            raise UserError(f"the module '{module_name}' has no class {shown(class_name)}")
        # Not by getattr: a class answers to __call__ whether or not its objects do.
        has = {name for base in found.__mro__ for name in vars(base)}
        missing = [method for method in self.kinds[kind].methods if method not in has]
        if missing:
            raise UserError(f"'{name}' is not a {kind}: it has no method '{missing[0]}'")
        return found

    def options(self, kind: str, name: str) -> dict[str, Option]:
        """The options of a type; raises `UserError` as `find` does, and for a constructor that cannot be checked."""
        return options_of(self.find(kind, name), takes=self.kinds[kind].takes)

    def check(self, kind: str, spec: object, path: str) -> list[Problem]:
        """Everything wrong with a part, found without opening data or loading a model; empty if nothing is."""
        if not isinstance(spec, Mapping):
            example = next(iter(self.builtin(kind)))
            return [Problem(path, f"must be a mapping with a type, such as {{type: {example}}}, got {shown(spec)}")]
        name = spec.get("type")
        if not isinstance(name, str):
            what = "missing" if name is None else f"must be a name, got {shown(name)}"
            return [Problem(f"{path}.type", f"{what} ({self._listed(kind)})")]
        if (unchecked := _left_out.get()) is not None and _is_foreign(name):
            unchecked[path] = name
            return [Problem(*found) for found in literal_secrets(spec, path)]
        try:
            cls, known = self.find(kind, name), self.options(kind, name)
        except UserError as error:
            return [Problem(f"{path}.type", str(error))]
        options = Part.from_dict(spec).options
        problems = option_problems(known, options, path, name, renamed=getattr(cls, "renamed", {}))
        nested = self._check_nested(cls, known, options, path)
        # A class is asked about its sound options alone, and not at all if one that it needs is not among them.
        faulty = {problem.path.removeprefix(f"{path}.").partition(".")[0] for problem in problems}
        sound = {option: value for option, value in options.items() if option not in faulty}
        if all(option in sound for option in known if known[option].required):
            light = self.kinds[kind].light and not (problems or nested or left_out(path))
            problems += [placed(remark, known, path) for remark in _own_remarks(cls, known, sound, build=light)]
        return list(dict.fromkeys(problems + nested))  # a secret in a nested part is found from outside too

    def build(self, kind: str, part: Part | Mapping[str, Any], *args: Any, path: str | None = None) -> Any:
        """The object that a part describes: `cls(*args, **options)`.

        Raises `OptionError` with every problem of the part, under `path` (the kind if not given), also for a plain
        `ValueError` of the constructor.
        """
        path = path or kind
        spec = part.to_dict() if isinstance(part, Part) else part
        if problems := self.check(kind, spec, path):
            raise OptionError(problems)
        known = self.options(kind, spec["type"])
        try:
            return self.find(kind, spec["type"])(*args, **convert(known, Part.from_dict(spec).options))
        except ValueError as error:
            # Other subclasses (DataError, UnicodeDecodeError) are not about an option.
            if type(error) in (ValueError, UserError, OptionError):
                raise OptionError(placed(line, known, path) for line in _remarks(error)) from error
            raise

    def _check_nested(
        self, cls: type[Any], known: Mapping[str, Option], options: Mapping[str, Any], path: str
    ) -> list[Problem]:
        """Everything wrong with the parts in a part's options."""
        declared: Mapping[str, str] = getattr(cls, "nested", {})
        problems = []
        for key, value in options.items():
            kind = declared.get(key, key)
            if kind not in self.kinds or key not in known:
                continue
            if isinstance(value, Mapping):
                problems += self.check(kind, value, f"{path}.{key}")
            elif isinstance(value, list) and key in declared:
                for place, spec in enumerate(value):
                    problems += self.check(kind, spec, f"{path}.{key}.{place}")
        return problems

    def _listed(self, kind: str) -> str:
        return f"built in: {', '.join(sorted(self.builtin(kind)))}; or your own as package.module:Class"


def _is_foreign(target: str) -> bool:
    found = _TARGET.fullmatch(target)
    return found is not None and found[1] not in OWN


def _own_remarks(cls: type[Any], known: Mapping[str, Option], options: Mapping[str, Any], *, build: bool) -> list[str]:
    """What the class itself says about sound options; with `build` its constructor too."""
    remarks = list(getattr(cls, "check_options", lambda _: [])(options))
    if build and not remarks:
        try:
            cls(**convert(known, options))
        except ValueError as error:
            return _remarks(error)
    return remarks


def _remarks(error: ValueError) -> list[str]:
    return error.problems if isinstance(error, OptionError) else [str(error)]


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
