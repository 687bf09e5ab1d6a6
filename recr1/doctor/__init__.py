"""`recr1 doctor`: what is wrong with a task, a retriever and a reward, before a GPU is rented for them.

A check is a function from a `Patient` to a `Finding`; it stands in `CHECKS` under the name that it prints.
"""

from recr1.doctor.base import VERDICTS, Finding, PartFailed, Patient, Verdict
from recr1.doctor.examination import CHECKS, examine, open_patient, worst

__all__ = ["CHECKS", "VERDICTS", "Finding", "PartFailed", "Patient", "Verdict", "examine", "open_patient", "worst"]
