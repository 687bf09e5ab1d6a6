"""The run folder: what was run, what it was run with, and everything it measured."""

from recr1.runs.files import write_text, writing
from recr1.runs.run import Run, Status

__all__ = ["Run", "Status", "write_text", "writing"]
