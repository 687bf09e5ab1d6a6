"""A small task for documentation and tests: 30 items and 24 needs, judged by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recr1.tasks.files import FilesTask

TOY_DATA = Path(__file__).with_name("toy_data")
"""Its files, in the layout of BEIR: an example of a folder that `files` reads."""


class ToyTask(FilesTask):
    """12 needs to train on, 6 to validate with and 6 to test on.

    The needs are in everyday words ("music at the pool"), so the raw need finds some items and misses others. Grades: 3
    is what the shopper means, 2 would do, 1 is better than nothing, 0 shares only words. Only items related to a need
    are judged.

    Args:
        format: prompt and parser, `{type: plain}` by default.
    """

    def __init__(self, *, format: dict[str, Any] | None = None) -> None:
        super().__init__(path=str(TOY_DATA), format=format)
