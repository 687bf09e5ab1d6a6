"""A policy that does what its need says, for the process of `recr1 serve`; it starts in a moment."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Moody:
    def __init__(self, *, model: str) -> None:
        """`model` is the folder of the bundle's weights; a file `refuse` or `slow` beside it says how to start."""
        beside = Path(model).parent
        if (beside / "refuse").exists():
            raise ValueError((beside / "refuse").read_text())
        if (beside / "slow").exists():
            time.sleep(float((beside / "slow").read_text()))

    def generate(self, chats, n):
        return [[self.answer(chat[-1]["content"])] for chat in chats]

    def answer(self, need):
        word, _, rest = need.partition(" ")
        if word == "sleep":
            time.sleep(float(rest.split()[0]))
        if word == "hold":  # the interpreter's lock, for seconds
            _ = 7**6_000_000
        if word == "exit":
            os._exit(3)
        if word == "raise":
            raise RuntimeError("out of memory")
        if word == "print":
            print("what a library says")
        return "" if word == "garbage" else f"{need} rewritten"
