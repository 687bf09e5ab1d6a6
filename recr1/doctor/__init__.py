"""`recr1 doctor`: checks of a task, a retriever and rewards before training, each a function from Setup to Finding."""

from recr1.doctor.base import Finding, PartFailed, Setup, Verdict
from recr1.doctor.checks import CHECKS, open_setup, run_checks, worst

__all__ = ["CHECKS", "Finding", "PartFailed", "Setup", "Verdict", "open_setup", "run_checks", "worst"]
