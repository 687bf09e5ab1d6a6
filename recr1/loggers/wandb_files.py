"""What W&B wrote while it was offline: how far the files of a run reach.

A killed process loses what W&B had not written to disk yet, so a run that goes on must ask. The files are logs of
records in LevelDB's format: blocks of 32 KiB; in them pieces with a checksum, a length and a kind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, OPENING = 32768, 7, 7
WHOLE, LAST = 1, 4
"""Kinds of pieces that end a record."""


def last_step(folder: Path, run_id: str) -> int:
    """The last step in the offline files of a run, below `folder`; -1 where there is none."""
    files = folder.glob(f"wandb/offline-run-*-{run_id}/*.wandb")
    return max((step for file in files for step in _steps(file)), default=-1)


def _steps(file: Path) -> Iterator[int]:
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            yield int(record.history.step.num)


def records(file: Path) -> Iterator[Any]:
    """The records of a file, in order; what was torn off at its end is left out."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, payload = file.read_bytes(), OPENING, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # a block ends in padding where no header fits
            at += BLOCK - at % BLOCK
            continue
        _checksum, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        piece = data[at + HEADER : at + HEADER + size]
        if len(piece) < size or kind == 0:
            return
        payload += piece
        at += HEADER + size
        if kind in (WHOLE, LAST):
            yield Record.FromString(payload)
            payload = b""
