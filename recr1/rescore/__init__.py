"""Rescoring: completions of a run, searched again with another retriever, measure or catalog; nothing is generated."""

from recr1.rescore.result import Rescorer, sentences, tables, write
from recr1.rescore.written import TRAINING, Written, read_written

__all__ = ["TRAINING", "Rescorer", "Written", "read_written", "sentences", "tables", "write"]
