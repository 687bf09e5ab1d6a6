"""Options: the keyword-only arguments of a class, and checks of what a recipe says against their annotations."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recr1.errors import UserError


class Problem(NamedTuple):
    """One mistake: where in the recipe (`rewards.0.weight`) and what is wrong with it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Option(NamedTuple):
    """One keyword-only argument of a class; `default` is `inspect.Parameter.empty` where the recipe must say it."""

    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    @property
    def expects(self) -> str:
        """The annotation in words: "int or null", "one of 'a', 'b'"."""
        return _spell(self.annotation)


def options_of(cls: type[Any], *, takes: int = 0) -> dict[str, Option]:
    """The options of a class in the order of its constructor.

    `takes` is the number of positional arguments that come first. Raises `UserError` for a constructor whose options
    cannot be checked: positional ones, `**kwargs`, or annotations that do not resolve.
    """
    init = _constructor(cls)
    if init is None:
        return {}
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except (NameError, TypeError) as error:
        raise UserError(f"the annotations of {cls.__name__} cannot be read ({error}): import their names") from error
    own = list(inspect.signature(init).parameters.values())[1 + takes :]
    loose = [parameter for parameter in own if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    if loose:
        raise UserError(
            f"{cls.__name__}.__init__ must have its options after a '*', to be checked by name: '{loose[0]}' is not"
        )
    return {p.name: Option(hints.get(p.name, Any), p.default) for p in own}


def check_options(known: Mapping[str, Option], options: Mapping[str, Any], path: str, owner: str) -> list[Problem]:
    """Unknown and missing keys and values of the wrong type; `owner` is how messages call the class."""
    problems = []
    for key, value in options.items():
        if key not in known:
            listed = f"options: {', '.join(known)}" if known else "it has none"
            what = f"{owner} has no option {key!r}{did_you_mean(key, known)} ({listed})"
            problems.append(Problem(f"{path}.{key}", what))
        elif not _fits(known[key].annotation, value):
            problems.append(Problem(f"{path}.{key}", f"expected {known[key].expects}, got {reprlib.repr(value)}"))
    absent = [key for key, option in known.items() if option.required and key not in options]
    return problems + [Problem(f"{path}.{key}", f"missing: {owner} needs it ({known[key].expects})") for key in absent]


def convert(known: Mapping[str, Option], options: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options as their annotations want them: an int for a float becomes one, a list for a tuple too."""
    return {key: _validate(known[key].annotation, value) for key, value in options.items()}


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The middle of an error message: "; did you mean 'x'?", or nothing where no name is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _constructor(cls: type[Any]) -> Any | None:
    """The `__init__` that a class brings, or None: a protocol's and object's take whatever they are given."""
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base) and not getattr(base, "_is_protocol", False):
            return vars(base)["__init__"]
    return None


def _validate(annotation: Any, value: Any) -> Any:
    # Through JSON, because YAML has JSON's types: strict there means that 'yes' and True are no int, while a list may
    # still stand for a tuple and an int for a float.
    from pydantic import TypeAdapter

    return TypeAdapter(annotation).validate_json(json.dumps(value, default=os.fspath), strict=True)


def _fits(annotation: Any, value: Any) -> bool:
    from pydantic import ValidationError

    try:
        _validate(annotation, value)
    except ValidationError:
        return False
    return True


def _spell(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_spell, args))
    return annotation.__name__ if isinstance(annotation, type) and not args else str(annotation).replace("typing.", "")
