"""The run folder: what was run, with what, and everything that was measured."""

from recr1.runs.files import write_text, writing
from recr1.runs.provenance import origin_of, policy_mismatch, policy_of, same_run, setting_mismatch, setting_of
from recr1.runs.run import Run, Status

__all__ = [
    "Run",
    "Status",
    "origin_of",
    "policy_mismatch",
    "policy_of",
    "same_run",
    "setting_mismatch",
    "setting_of",
    "write_text",
    "writing",
]
