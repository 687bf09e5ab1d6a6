"""Options: the keyword-only arguments of a class, their bounds as annotations, and the one place that checks them.

    @checked
    class BM25:
        def __init__(self, catalog: Catalog, *, k1: NonNegativeFloat = 1.2, b: Share = 0.75) -> None: ...

A recipe is checked against the annotations, and `@checked` makes the constructor raise the same errors:
`k1: must be a number >= 0, got -1`. Other bounds are written as `Annotated[int, Ge(1), Le(64)]`; a string among them is
a note: `Annotated[NonNegativeFloat, "0.9 to 1.5 is usual"]`. Numbers are finite. The fields of a
`@dataclass(kw_only=True)` are options too, inherited ones included.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import functools
import inspect
import json
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

import annotated_types as at

from retrievers.errors import OptionError, UserError, shown
from retrievers.secrets import literal_secrets

PositiveInt: TypeAlias = Annotated[int, at.Ge(1)]
NonNegativeInt: TypeAlias = Annotated[int, at.Ge(0)]
PositiveFloat: TypeAlias = Annotated[float, at.Gt(0)]
NonNegativeFloat: TypeAlias = Annotated[float, at.Ge(0)]
Share: TypeAlias = Annotated[float, at.Ge(0), at.Le(1)]
PositiveShare: TypeAlias = Annotated[float, at.Gt(0), at.Le(1)]
ShareBelowOne: TypeAlias = Annotated[float, at.Ge(0), at.Lt(1)]

Checked = TypeVar("Checked")


class Problem(NamedTuple):
    """One mistake: where in the recipe (`rewards.0.weight`) and what is wrong with it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Option(NamedTuple):
    """One keyword-only argument of a class; `default` is `inspect.Parameter.empty` where the recipe must set it."""

    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    @property
    def written(self) -> str:
        """The default as a recipe writes it, or "required"."""
        return "required" if self.required else json.dumps(self.default, default=str)

    @property
    def expects(self) -> str:
        """The annotation in words: "an integer >= 1, or null", "one of 'a', 'b'"."""
        return in_words(self.annotation)


def checked(cls: type[Checked]) -> type[Checked]:
    """Class decorator, above `@dataclass`: the constructor raises `OptionError` as a check of a recipe does.

    That is the bounds of the annotations, then the lines of the class's own `check_options`, if it has one.
    """
    original: Any = cls.__init__
    options: dict[str, Option] = {}

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **given: Any) -> None:  # noqa: N807
        if not options:
            options.update(_options(cls))
        renamed = getattr(cls, "renamed", {})
        known = {name: value for name, value in given.items() if name in options or name in renamed}
        problems = option_problems(options, known, renamed=renamed, complete=False)
        if not problems:
            owner = type(self) if type(self).__init__ is cls.__init__ else cls
            problems = list(getattr(owner, "check_options", lambda _: [])(given))
        if problems:
            raise OptionError(problems)
        original(self, *args, **given)

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


def options_of(cls: type[Any], *, takes: int = 0) -> dict[str, Option]:
    """The options of a class in the order of its constructor, after `takes` positional arguments.

    Raises `UserError` for options that cannot be checked: positional ones, `**kwargs`, or unresolved annotations.
    """
    options = _options(cls)
    init = _constructor(cls)
    own = list(inspect.signature(vars(init)["__init__"]).parameters.values())[1 + takes :] if init else []
    if loose := [parameter for parameter in own if parameter.name not in options]:
        what = f"{cls.__name__}.__init__ must have its options after a '*', to be checked by name"
        raise UserError(f"{what}: '{loose[0]}' is not")
    return options


def option_problems(
    known: Mapping[str, Option],
    given: Mapping[str, Any],
    path: str = "",
    owner: str = "",
    *,
    renamed: Mapping[str, str] = MappingProxyType({}),
    complete: bool = True,
) -> list[Problem]:
    """Unknown, renamed and (if `complete`) missing options, wrong values and literal secrets.

    Messages call the class `owner`.
    """
    problems = []
    for name, value in given.items():
        place = f"{path}.{name}" if path else name
        if name in known:
            problems += value_problems(known[name].annotation, value, place)
        elif name in renamed:
            problems.append(Problem(place, f"is now called {renamed[name]}"))
        else:
            listed = f"options: {', '.join(known)}" if known else "it has none"
            what = f"{owner} has no option {shown(name)}{did_you_mean(name, known)} ({listed})"
            problems.append(Problem(place, what))
    for name, option in known.items():
        if complete and option.required and name not in given:
            problems.append(Problem(f"{path}.{name}", f"missing: {owner} needs it ({option.expects})"))
    return problems + [Problem(*found) for found in literal_secrets(given, path)]


def value_problems(annotation: Any, value: Any, path: str) -> list[Problem]:
    """What is wrong with a value; in a list or mapping, under the path of the wrong item."""
    inner = _without_null(annotation)
    if value is not None and dataclasses.is_dataclass(inner):
        return _section_problems(inner, value, path)
    inside = [p for key, kind, item in _items(inner, value) for p in value_problems(kind, item, f"{path}.{key}")]
    if inside or _fits(annotation, value):
        return inside
    return [Problem(path, f"must be {in_words(annotation)}, got {shown(value)}")]


def convert(known: Mapping[str, Option], options: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options as their annotations want them: an int for a float becomes one, a list for a tuple too."""
    return {name: _converted(known[name].annotation, value) for name, value in options.items()}


def placed(remark: object, known: Mapping[str, Option], path: str) -> Problem:
    """A class's remark, under its option's path if it begins with one ("trl.beta: ...")."""
    head, colon, rest = str(remark).partition(": ")
    return Problem(f"{path}.{head}", rest) if colon and head.split(".")[0] in known else Problem(path, str(remark))


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Part of an error message: "; did you mean 'x'?", or nothing if no name is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


_WORDS: Mapping[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false", "true or false"),
    type(None): ("null", "null"),
    Any: ("any value", "any values"),
}


def in_words(annotation: Any, *, plural: bool = False) -> str:
    """An annotation for a reader: "an integer >= 1, or null", "a list of strings", "a number between 0 and 1"."""
    bare, bounds = _split(annotation)
    note = "".join(f" ({bound})" for bound in bounds if isinstance(bound, str))
    return f"{_type_in_words(bare, plural)}{_bounds_in_words(bounds, bare)}{note}"


def _type_in_words(bare: Any, plural: bool) -> str:  # noqa: FBT001
    origin, args = typing.get_origin(bare), typing.get_args(bare)
    if bare in _WORDS:
        return _WORDS[bare][plural]
    if origin is typing.Literal:
        return f"{'' if plural else 'one of '}{', '.join(map(repr, args))}"
    if origin in (typing.Union, types.UnionType):
        words = " or ".join(in_words(arg, plural=plural) for arg in args if arg is not type(None))
        return f"{words}, or null" if type(None) in args else words
    if origin in _LISTS:
        return f"{'lists' if plural else 'a list'} of {in_words(args[0], plural=True)}"
    if origin in _MAPPINGS:
        of = "" if args[1] is Any else f" from {in_words(args[0], plural=True)} to {in_words(args[1], plural=True)}"
        return f"{'mappings' if plural else 'a mapping'}{of}"
    return bare.__name__ if isinstance(bare, type) and not args else str(bare).replace("typing.", "")


def _bounds_in_words(bounds: Sequence[Any], bare: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = {sign: getattr(bound, name) for bound in bounds for name, sign in signs.items() if hasattr(bound, name)}
    if set(limits) == {">=", "<="}:
        words = f" between {limits['>=']} and {limits['<=']}"
    else:
        words = " and".join(f" {sign} {limit}" for sign, limit in limits.items())
    for bound in bounds:
        if isinstance(bound, at.MultipleOf):
            words += f" divisible by {bound.multiple_of}"
        elif isinstance(bound, at.MinLen):
            unit = "character" if bare is str else "item"
            words += f" with at least {bound.min_length} {unit}{'' if bound.min_length == 1 else 's'}"
    return words


_LISTS = (list, tuple, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    """The bare type of an annotation, and its bounds and notes."""
    if typing.get_origin(annotation) is not Annotated:
        return annotation, []
    bare, *metadata = typing.get_args(annotation)
    return bare, [one for bound in metadata for one in (bound if isinstance(bound, at.GroupedMetadata) else [bound])]


def _without_null(annotation: Any) -> Any:
    """The bare type of an annotation; of `X | None` that of X."""
    bare = _split(annotation)[0]
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        others = [arg for arg in typing.get_args(bare) if arg is not type(None)]
        return _split(others[0])[0] if len(others) == 1 else bare
    return bare


def _items(bare: Any, value: Any) -> Iterator[tuple[object, Any, Any]]:
    """The key, annotation and value of each item of a list or mapping."""
    origin, args = typing.get_origin(bare), typing.get_args(bare)
    if origin in _MAPPINGS and isinstance(value, Mapping):
        yield from ((key, args[1], item) for key, item in value.items())
    elif origin in _LISTS and isinstance(value, list | tuple) and (len(args) == 1 or args[1] is Ellipsis):
        yield from ((place, args[0], item) for place, item in enumerate(value))


def _section_problems(cls: Any, value: Any, path: str) -> list[Problem]:
    """What is wrong with a mapping that fills a dataclass."""
    known = options_of(cls)
    if isinstance(value, cls):
        return []
    if not isinstance(value, Mapping):
        return [Problem(path, f"must be a mapping with the keys {', '.join(known)}, got {shown(value)}")]
    problems = option_problems(known, value, path, path, renamed=getattr(cls, "renamed", {}))
    remarks: Callable[[Any], Iterable[object]] = getattr(cls, "check_options", lambda _: [])
    return problems or [placed(remark, known, path) for remark in remarks(value)]


def _fits(annotation: Any, value: Any) -> bool:
    from pydantic import ValidationError

    if isinstance(value, float) and not math.isfinite(value):
        return _split(annotation)[0] is Any
    try:
        with suppress(TypeError):  # an object that no recipe can hold, given in Python: the class must check it
            _adapter(annotation).validate_json(_json(value), strict=True)
    except ValidationError:
        return False
    return True


def _converted(annotation: Any, value: Any) -> Any:
    inner = _without_null(annotation)
    if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
        cls: Any = inner
        return cls(**convert(options_of(cls), value))
    return _adapter(annotation).validate_json(_json(value), strict=True)


def _json(value: Any) -> str:
    # YAML has JSON's types: strict JSON does not take 'yes' or True for an integer, but a list for a tuple and an int
    # for a float.
    return json.dumps(value, default=lambda other: other.tolist() if hasattr(other, "tolist") else os.fspath(other))


@functools.lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def _options(cls: type[Any]) -> dict[str, Option]:
    """The keyword-only arguments of a class."""
    base = _constructor(cls)
    if base is None:
        return {}
    init, generated = vars(base)["__init__"], dataclasses.is_dataclass(base) and "__dataclass_params__" in vars(base)
    try:  # the hints of a class are resolved in the module of each of its bases, those of a function in its own
        hints = typing.get_type_hints(base if generated else init, include_extras=True)
    except (NameError, TypeError) as error:
        raise UserError(f"the annotations of {cls.__name__} cannot be read ({error}): import their names") from error
    factories = {f.name: f.default_factory for f in dataclasses.fields(base)} if generated else {}
    found = {}
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            factory = factories.get(name, dataclasses.MISSING)
            default = parameter.default if factory is dataclasses.MISSING else factory()
            found[name] = Option(hints.get(name, Any), default)
    return found


def _constructor(cls: type[Any]) -> type[Any] | None:
    """The class that has the `__init__`, or None; those of a protocol and of object are not asked."""
    bases = (base for base in cls.__mro__[:-1] if not getattr(base, "_is_protocol", False))
    return next((base for base in bases if "__init__" in vars(base)), None)
