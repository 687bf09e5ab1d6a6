"""Headroom: what a policy could learn from these needs, retriever and rewards, before any training."""

from recr1.headroom.counting import best_of, flat_shares
from recr1.headroom.headroom import Headroom, HeadroomOptions, find_headroom
from recr1.headroom.report import tables, verdicts, write

__all__ = ["Headroom", "HeadroomOptions", "best_of", "find_headroom", "flat_shares", "tables", "verdicts", "write"]
