"""Evaluation: how good a policy is, between a floor (the raw need) and a ceiling (a very good query)."""

from recr1.evaluate.evaluation import Evaluation, Evaluator
from recr1.evaluate.references import References, find_references
from recr1.evaluate.report import examples, examples_text, table, verdict, write

__all__ = [
    "Evaluation",
    "Evaluator",
    "References",
    "examples",
    "examples_text",
    "find_references",
    "table",
    "verdict",
    "write",
]
