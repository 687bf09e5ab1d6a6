"""A toy for documentation and tests: a shop of 30 items and 24 needs, judged by hand, small enough to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recr1.tasks.files import FilesTask

TOY_DATA = Path(__file__).with_name("toy_data")
"""The toy's files, in the layout of BEIR: an example of a folder that `files` reads."""


class ToyTask(FilesTask):
    """12 needs to train on, 6 to validate with and 6 to test on.

    The needs are written as people speak ("music at the pool"), so the raw need finds some items and misses others.
    Grades: 3 is what the shopper means, 2 would do, 1 is better than nothing, 0 shares only words. Only items with some
    bearing on a need are judged.

    Args:
        format: prompt and parser, `{type: plain}` by default.
    """

    def __init__(self, *, format: dict[str, Any] | None = None) -> None:
        super().__init__(path=str(TOY_DATA), format=format)
