"""Options that a class of another module inherits; `Path` is known here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrievers.options import PositiveFloat


@dataclass(kw_only=True)
class Shared:
    """Options of several classes."""

    pace: PositiveFloat = 1.0
    where: Path | None = None
