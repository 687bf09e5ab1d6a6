"""Each policy on the catalogs of the others."""

from recr1.cross.cross import Cross, Prompted, cross, cross_tables

__all__ = ["Cross", "Prompted", "cross", "cross_tables"]
