"""Headroom: what a policy could learn from these needs, retriever and rewards, before any training."""

from recr1.headroom.headroom import Headroom, HeadroomOptions, find_headroom
from recr1.headroom.report import tables, verdicts, write

__all__ = ["Headroom", "HeadroomOptions", "find_headroom", "tables", "verdicts", "write"]
