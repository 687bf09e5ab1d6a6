"""The gate: rewrite a need only where that is predicted to help, so that few needs are harmed."""

from recr1.gate.gate import Decisions, Gate, overlaps_of

__all__ = ["Decisions", "Gate", "overlaps_of"]
