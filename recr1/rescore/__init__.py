"""Rescoring: completions of a run, searched again with another retriever, measure or catalog; nothing is generated."""

from recr1.rescore.result import Rescored, Rescorer, draw_curve, sentences, tables
from recr1.rescore.written import TRAINING, Written, read_written

__all__ = ["TRAINING", "Rescored", "Rescorer", "Written", "draw_curve", "read_written", "sentences", "tables"]
