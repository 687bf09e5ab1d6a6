"""Judgements in and out: the formats of other tools, grades from clicks, and how far two judges agree."""

from recr1.judgements.base import Judgement, Judgements
from recr1.judgements.formats import FORMATS, read_judgements
from recr1.judgements.written import WRITERS, write_judgements

__all__ = ["FORMATS", "WRITERS", "Judgement", "Judgements", "read_judgements", "write_judgements"]
