"""A part of every kind, as a user writes them: small, and each with an option worth checking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from recr1.config.build import build
from recr1.errors import DataError, UserError
from retrievers.base import Catalog, Hits
from rewards.base import Need, Qrels


class Store:
    """A shop of three items; `broken` is a data file with a mistake, `splits` are the ones that it has."""

    def __init__(
        self,
        *,
        broken: Literal["file", "bytes"] | None = None,
        splits: list[str] | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        if broken == "file":
            raise DataError("items.jsonl", 3, "no field 'title'")
        if broken == "bytes":
            b"\xff".decode()
        self.splits = splits or ["train", "validation", "test"]
        titles = ["red tent", "blue tent", "red cup\tof tea"]
        self.catalog = Catalog(["a", "b", "c"], titles, {"title": titles})
        self.format = build("format", format or {"type": "plain"})
        self.qrels: dict[str, Qrels] = {}
        self.counts = {"no positive grade": 4}

    def needs(self, split: str) -> Sequence[Need]:
        if split not in self.splits:
            raise UserError(f"the store has no split {split!r}")
        return [Need(f"{split}-{place}", f"a {split} tent") for place in range(2)]


class Scan:
    """Counts the query's words in each item's text."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        boost: float = 1.0,
        depth: int | None = None,
        mode: Literal["any", "all"] = "any",
        words: tuple[str, ...] = (),
        lower: bool = True,
    ) -> None:
        if boost <= 0:
            raise ValueError(f"boost must be above 0, got {boost}")
        self.catalog, self.boost, self.words = catalog, boost, words
        self.depth, self.mode, self.lower = depth, mode, lower

    def search(self, queries: Sequence[Any], k: int) -> Hits:
        rows, scores = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        for place, query in enumerate(queries):
            counts = [self.boost * sum(word in text for word in query.split()) for text in self.catalog.texts]
            best = [row for row in sorted(range(len(counts)), key=lambda row: -counts[row]) if counts[row]][:k]
            rows[place, : len(best)], scores[place, : len(best)] = best, [counts[row] for row in best]
        return Hits(rows, scores)


class Pay:
    """Pays the same for everything."""

    def __init__(self, *, name: str = "pay", cutoff: int = 1) -> None:
        if cutoff < 1:
            raise ValueError(f"cutoff: must be at least 1, got {cutoff}")
        self.name, self.cutoff = name, cutoff

    def __call__(self, batch: Any) -> Any:
        return np.ones(len(batch), np.float32)


class Speak:
    """Needs a model, and has no other option."""

    def __init__(self, *, model: str) -> None:
        self.model = model

    def generate(self, chats: Any, n: int) -> list[list[str]]:
        return [[self.model] * max(n, 1) for _ in chats]


class Mute:
    """Has no option at all."""

    def generate(self, chats: Any, n: int) -> list[list[str]]:
        return [[""] * max(n, 1) for _ in chats]


class Climb:
    """Says itself what it thinks of `engine`."""

    def __init__(self, *, steps: int = 10, engine: dict[str, Any] | None = None) -> None:
        raise AssertionError("a trainer is not built to be checked")

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        strange = [key for key in options.get("engine") or {} if key != "rate"]
        remarks = [f"engine.{key}: the engine has no field {key!r}" for key in strange]
        return remarks + (["more steps than fit"] if options.get("steps", 0) > 1000 else [])

    def train(self, policy: Any, env: Any, out: Path) -> Path:
        return out


class Loose:
    """Its options are not checkable."""

    def __init__(self, budget: int = 3, **more: Any) -> None: ...

    def generate(self, chats: Any, n: int) -> list[list[str]]:
        return []


class Swallow:
    """Takes anything."""

    def __init__(self, **more: Any) -> None: ...

    def generate(self, chats: Any, n: int) -> list[list[str]]:
        return []


class Team:
    """Made of others; `nested` says of which kind they are."""

    nested: ClassVar[Mapping[str, str]] = {"parts": "retriever"}

    def __init__(self, catalog: Catalog, *, parts: list[dict[str, Any]], lead: dict[str, Any] | None = None) -> None:
        self.parts = [build("retriever", part, catalog) for part in parts]

    def search(self, queries: Sequence[Any], k: int) -> Hits:
        return self.parts[0].search(queries, k)
