"""The run folder: what was run, what it was run with, and everything it measured."""

from recr1.runs.files import write_text, writing
from recr1.runs.origin import of_run, origin_of, other_policy, other_setting, policy_of, setting_of
from recr1.runs.run import Run, Status

__all__ = [
    "Run",
    "Status",
    "of_run",
    "origin_of",
    "other_policy",
    "other_setting",
    "policy_of",
    "setting_of",
    "write_text",
    "writing",
]
