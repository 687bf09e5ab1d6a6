"""Parts inside of parts: a retriever that is made of others, an encoder inside of a retriever.

An option that takes such a part holds the mapping that a recipe would: `{type: bm25, k1: 0.9}`. A class tells
`recr1 check` which of its options those are, and of what kind, so that a mistake inside is found before anything loads:

    nested: ClassVar[Mapping[str, str]] = {"parts": "retriever"}

where the option holds one mapping or a list of them. An option that is called like its kind (`retriever`) needs no such
line. The kinds are those of `recr1.config.build.KINDS`, and the built-in names of each stand in its module's `BUILTIN`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from pkgutil import resolve_name
from typing import Any


def build_nested(spec: Mapping[str, Any], registry: Mapping[str, str], *args: Any, path: str) -> Any:
    """The object that `{type: NAME, option: value}` describes: `cls(*args, **options)`.

    Args:
        spec: `type`, a name of the registry or `package.module:Class`, and the options.
        registry: Built-in names -> "package.module:Class".
        args: What the class takes before its options, such as the catalog.
        path: The option that holds the part ("parts.1"): messages begin with it.

    Raises:
        ValueError: For a mapping without a type, an unknown name, or options that the class refuses.
    """
    cls = nested_class(spec, registry, path=path)
    options = {option: value for option, value in spec.items() if option != "type"}
    try:
        inspect.signature(cls).bind(*args, **options)
    except TypeError as error:
        raise ValueError(f"{path}: {spec['type']} cannot be built so: {error}") from error
    try:
        return cls(*args, **options)
    except ValueError as error:
        if type(error) is not ValueError:  # a subclass is no remark on an option (a file that cannot be decoded ...)
            raise
        raise ValueError(f"{path}: {error}") from error


def nested_class(spec: Mapping[str, Any], registry: Mapping[str, str], *, path: str) -> type[Any]:
    """The class of a part; raises `ValueError` as `build_nested` does."""
    name = spec.get("type") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(
            f"{path}: expected a mapping with a type, such as {{type: {next(iter(registry))}}}, got {spec!r}"
        )
    target = registry.get(name, name)
    if ":" not in target:
        close = get_close_matches(name, registry, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"built in: {', '.join(sorted(registry))}"
        raise ValueError(f"{path}.type: no {name!r} here; {hint} Or name your own as package.module:Class")
    cls: type[Any] = resolve_name(target)
    return cls
