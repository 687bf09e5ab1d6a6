"""Rescoring: what a run wrote, searched again with another retriever, measure or catalog; nothing is generated."""

from recr1.rescore.result import Rescored, Rescorer
from recr1.rescore.scoring import Scored, find_bounds, score
from recr1.rescore.written import Written, read_written

__all__ = ["Rescored", "Rescorer", "Scored", "Written", "find_bounds", "read_written", "score"]
