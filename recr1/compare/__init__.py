"""Policies side by side on the same needs: what each costs, which differences are clear, and for which needs."""

from recr1.compare.comparison import Comparison
from recr1.compare.policies import measured
from recr1.compare.report import tables, verdict, verdicts, write

__all__ = ["Comparison", "measured", "tables", "verdict", "verdicts", "write"]
