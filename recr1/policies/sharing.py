"""Weights that are in memory once, whatever number of policies of one comparison writes with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from recr1.assets import shipped_model

Loaded = TypeVar("Loaded")


class Weights(NamedTuple):
    """What makes two loaded models the same."""

    path: str
    """As `path_of` says it."""
    how: str
    """The options that they were loaded with."""


class Shared:
    """The models that are held for the next policies."""

    def __init__(self) -> None:
        self._held: dict[Weights, Any] = {}

    def keep(self, models: Collection[str]) -> None:
        """Let go of every model but these, named as policies name them: nobody asks for them any more."""
        paths = {path_of(model) for model in models}
        self._held = {weights: loaded for weights, loaded in self._held.items() if weights.path in paths}

    def once(self, weights: Weights, load: Callable[[], Loaded]) -> Loaded:
        """What was loaded, or is now."""
        if weights not in self._held:
            self._held[weights] = load()
        loaded: Loaded = self._held[weights]
        return loaded


_OPEN: ContextVar[Shared | None] = ContextVar("shared weights", default=None)


@contextmanager
def shared_weights() -> Iterator[Shared]:
    """Within it, policies of the same weights share them. For policies that only write: training would change them."""
    token = _OPEN.set(Shared())
    try:
        shared = _OPEN.get()
        assert shared is not None
        yield shared
    finally:
        _OPEN.reset(token)


def once(weights: Weights, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; within `shared_weights`, the same object for the same weights."""
    shared = _OPEN.get()
    return load() if shared is None else shared.once(weights, load)


def path_of(model: str) -> str:
    """Where the model of a policy is: a folder, however it is named, or its name on the hub."""
    path = shipped_model(model) or Path(model).expanduser()
    return str(path.resolve() if path.is_dir() else model)


def models_of(options: Mapping[str, Any]) -> set[str]:
    """The models that the options of a policy name, those of the policies within it too."""
    inner = [models_of(value) for value in options.values() if isinstance(value, Mapping)]
    own = {options["model"]} if isinstance(options.get("model"), str) else set()
    return own.union(*inner)
