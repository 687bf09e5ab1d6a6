"""A fitted gate: what it knows of a rewrite before searching, the gain that it predicts, and its file.

The prediction is linear in these features, so that it needs no library where it serves:

- `need_words`, `query_words`: lengths; `added`, `removed`: words of one that the other has not; `shared`: the share of
  all their words that both have;
- `likelihood`: the mean log-probability of the completion's tokens;
- `overlap`, by option: the share of the items of both rankings that both have, which takes a second search;
- a word of the need, and a word that the query adds, each of those that are frequent on the needs of the fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from recr1.env import copies
from recr1.errors import UserError
from recr1.judge.stats import Doubles
from recr1.runs import write_text, writing
from retrievers.base import Rows
from rewards.guards.words import words_of

FILE, VERSION = "gate.json", 1
AGAIN = "make it again with recr1 gate RUN"

Features: TypeAlias = dict[str, float]
"""What is known of one rewrite; words have names such as "need:wool" and "adds:coat"."""


class Decisions(NamedTuple):
    """What a gate says of N rewrites."""

    gain_N: Doubles
    """The predicted change of the measure; 0 where the query is a copy of the need."""
    open_N: NDArray[np.bool_]
    """Whether to search for the query. A copy of the need is never rewritten."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate, as `gate.json` has it."""

    intercept: FiniteFloat
    weights: dict[str, FiniteFloat]
    threshold: FiniteFloat | None
    """The least predicted gain with which a need is rewritten; None closes the gate for all needs."""
    facts: dict[str, Any]
    """How it was fitted and what it did there; `closed` says why it is closed for all."""

    @property
    def needs_likelihood(self) -> bool:
        """Whether `decide` must be given likelihoods."""
        return "likelihood" in self.weights

    @property
    def needs_search(self) -> bool:
        """Whether `decide` must be given overlaps."""
        return "overlap" in self.weights

    def decide(
        self,
        needs: Sequence[str],
        queries: Sequence[str],
        likelihoods: Sequence[float] | None = None,
        overlaps: Sequence[float] | None = None,
    ) -> Decisions:
        """The predicted gains and which needs to rewrite; raises `ValueError` where something that it needs is missing.

        A query that could not be read is given as its need.
        """
        given = {"likelihood": likelihoods, "overlap": overlaps}
        if lacking := [name for name, values in given.items() if name in self.weights and values is None]:
            raise ValueError(f"this gate needs the {lacking[0]} of each rewrite")
        rows = features(needs, queries, likelihoods, overlaps)
        own_N = rewritten(needs, queries)
        gain_N = np.where(own_N, predicted(rows, self.intercept, self.weights), 0.0)
        return Decisions(gain_N, own_N & (gain_N >= (np.inf if self.threshold is None else self.threshold)))

    def write(self, path: Path) -> None:
        """Write `gate.json`; raises `RunError` if it cannot be written."""
        with writing(path.parent):
            write_text(path, json.dumps({"gate": VERSION, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Gate:
        """The gate of a file; raises `UserError` for a file that is missing, cut off, of another version or no gate."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path.parent} has no gate: make it with recr1 gate RUN") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read, or was cut off: {error} ({AGAIN})") from error
        version = held.pop("gate", None) if isinstance(held, dict) else None
        if version is None:
            raise UserError(f"{path} is no gate: it has no 'gate' ({AGAIN})")
        if version != VERSION:
            raise UserError(f"{path} is a gate of version {version}, and this recr1 reads version {VERSION} ({AGAIN})")
        try:
            return TypeAdapter(cls).validate_python(held)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path} is no gate: {where}: {first['msg']} ({AGAIN})") from error


def features(
    needs: Sequence[str],
    queries: Sequence[str],
    likelihoods: Sequence[float] | None = None,
    overlaps: Sequence[float] | None = None,
) -> list[Features]:
    """(N,) the features of rewrites; those that are not given are left out."""
    rows = []
    for need, query in zip(needs, queries, strict=True):
        own, said = words_of(need), words_of(query)
        has, says = set(own), set(said)
        row: Features = {
            "need_words": len(own),
            "query_words": len(said),
            "added": len(says - has),
            "removed": len(has - says),
            "shared": len(has & says) / max(len(has | says), 1),
        }
        rows.append(row | {f"need:{word}": 1.0 for word in has} | {f"adds:{word}": 1.0 for word in says - has})
    for name, values in (("likelihood", likelihoods), ("overlap", overlaps)):
        for row, value in zip(rows, values, strict=True) if values is not None else ():
            row[name] = float(value)
    return rows


def rewritten(needs: Sequence[str], queries: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) which queries are no copies of their need, whatever the case, punctuation and white space."""
    return np.array([not copies(need, query) for need, query in zip(needs, queries, strict=True)], bool)


def predicted(rows: Sequence[Features], intercept: float, weights: Mapping[str, float]) -> Doubles:
    """(N,) the predicted gains; a feature without a weight counts nothing."""
    return np.array([intercept + sum(weights.get(name, 0.0) * value for name, value in row.items()) for row in rows])


def overlaps_of(first_NK: Rows, second_NK: Rows) -> list[float]:
    """(N,) the share of the items of two rankings that both have; 1 where neither found anything."""
    shares = []
    for first, second in zip(first_NK.tolist(), second_NK.tolist(), strict=True):
        one, other = set(first) - {-1}, set(second) - {-1}
        shares.append(len(one & other) / len(one | other) if one | other else 1.0)
    return shares
