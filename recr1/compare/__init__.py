"""Policies side by side on the same needs: what each costs, which differences are real, and for which needs."""

from recr1.compare.comparison import Comparison, Difference
from recr1.compare.entry import Cost, Entry, measured
from recr1.compare.report import tables, write
from recr1.compare.verdict import verdict, verdicts
from recr1.evaluate.slices import slices_of

__all__ = [
    "Comparison",
    "Cost",
    "Difference",
    "Entry",
    "measured",
    "slices_of",
    "tables",
    "verdict",
    "verdicts",
    "write",
]
