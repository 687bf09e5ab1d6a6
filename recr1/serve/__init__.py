"""After training: from a run folder to queries in production."""

from recr1.serve.bundle import Bundle
from recr1.serve.rewriter import Rewrite, Rewriter
from recr1.serve.table import Entry, Table

__all__ = ["Bundle", "Entry", "Rewrite", "Rewriter", "Table"]
