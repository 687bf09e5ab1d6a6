"""TREC files, which every evaluation tool of the field reads: `need Q0 item rank score tag` and `need 0 item grade`.

Their columns are parted by white space, so that white space in an id is written as `%20` (and `%` as `%25`). A need
without hits has no line: run trec_eval with `-c`, so that it counts as 0 rather than not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from retrievers.base import Catalog, Floats, Hits
from rewards.base import Need, Qrels


def run_lines(needs: Sequence[Need], hits: Hits, catalog: Catalog, tag: str) -> Iterator[str]:
    """The lines of a run; `hits` holds one ranking a need.

    trec_eval orders by score and breaks ties by id, whatever the rank says. So a score that does not fall is lowered to
    the next smaller float32, and the order is ours in every tool.
    """
    scores_NK = strictly_falling(hits.scores_QK)
    ids, tag = [escaped(item) for item in catalog.ids], escaped(tag)
    for need, rows_K, scores_K in zip(needs, hits.rows_QK, scores_NK, strict=True):
        topic = escaped(need.id)
        for rank, (row, score) in enumerate(zip(rows_K[rows_K >= 0], scores_K, strict=False), start=1):
            yield f"{topic} Q0 {ids[row]} {rank} {score:.9g} {tag}\n"


def qrels_lines(needs: Sequence[Need], qrels: Sequence[Qrels], catalog: Catalog) -> Iterator[str]:
    """The lines of the answer keys, items in catalog order."""
    for need, key in zip(needs, qrels, strict=True):
        topic = escaped(need.id)
        yield from (f"{topic} 0 {escaped(catalog.ids[row])} {grade}\n" for row, grade in key.items())


def strictly_falling(scores_NK: Floats) -> Floats:
    """The scores, with each that is not below the one before it lowered to the next smaller float32."""
    falling_NK = scores_NK.copy()
    for place in range(1, falling_NK.shape[1]):
        below_N = np.nextafter(falling_NK[:, place - 1], np.float32(-np.inf))
        np.minimum(falling_NK[:, place], below_N, out=falling_NK[:, place])
    return falling_NK


def escaped(name: str) -> str:
    """A name without white space, from which the name can be read back; raises `ValueError` for an empty one."""
    if not name:
        raise ValueError("an empty id cannot stand in a TREC file")
    return re.sub(r"[\s%]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
