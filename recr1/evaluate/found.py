"""The first items of a ranking as people read them, so that an evaluation can be understood without its catalog."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Catalog, Rows

SHOWN, WIDTH = 3, 120
"""Items that are kept, and characters of a title."""


def first_items(catalog: Catalog, rows_K: Rows, grades_K: NDArray[np.int32]) -> list[dict[str, Any]]:
    """The first items that were found, best first: `id`, `title` (the text where there is none), `relevant`."""
    return [
        {"id": catalog.ids[row], "title": _shortened(catalog.title(row)), "relevant": grade > 0}
        for row, grade in zip(rows_K[:SHOWN].tolist(), grades_K[:SHOWN].tolist(), strict=False)
        if row >= 0
    ]


def _shortened(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
