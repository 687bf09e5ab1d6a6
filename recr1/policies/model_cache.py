"""Policies of one comparison that use the same model share it in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from recr1.policies.sources import place_of

Loaded = TypeVar("Loaded")


class ModelKey(NamedTuple):
    """Equal for models that are loaded from one place (`place_of`) with the same options."""

    path: str
    options: str


class ModelCache(dict[ModelKey, Any]):
    """The models in memory that a later policy may use."""

    def keep_only(self, models: Collection[str]) -> None:
        """Drop every model but these, named as policies name them."""
        paths = {place_of(model) for model in models}
        for key in [key for key in self if key.path not in paths]:
            del self[key]


_OPEN: ContextVar[ModelCache | None] = ContextVar("model cache", default=None)


@contextmanager
def model_cache() -> Iterator[ModelCache]:
    """Within it, policies of the same model share it. Only for policies that are not trained meanwhile."""
    cache = ModelCache()
    token = _OPEN.set(cache)
    try:
        yield cache
    finally:
        _OPEN.reset(token)


def cached(key: ModelKey, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; within `model_cache`, the same object for the same key."""
    cache = _OPEN.get()
    if cache is None:
        return load()
    if key not in cache:
        cache[key] = load()
    loaded: Loaded = cache[key]
    return loaded


def models_of(options: Mapping[str, Any]) -> set[str]:
    """The models that the options of a policy name, with those of the policies within them."""
    inner = [models_of(value) for value in options.values() if isinstance(value, Mapping)]
    own = {options["model"]} if isinstance(options.get("model"), str) else set()
    return own.union(*inner)
