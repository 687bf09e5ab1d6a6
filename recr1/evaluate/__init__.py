"""Evaluation: how good a policy is, between what the raw need finds and what the best query could."""

from recr1.evaluate.cross import Cross, Prompted, cross, cross_tables
from recr1.evaluate.evaluation import Evaluation, Evaluator, evaluate
from recr1.evaluate.examples import Example, examples, examples_text
from recr1.evaluate.references import References, find_references
from recr1.evaluate.report import Table, table, write
from recr1.evaluate.stats import Comparison, Interval, bootstrap_interval, compare, randomisation_test
from recr1.evaluate.swap import Swap, swap, swap_tables

__all__ = [
    "Comparison",
    "Cross",
    "Evaluation",
    "Evaluator",
    "Example",
    "Interval",
    "Prompted",
    "References",
    "Swap",
    "Table",
    "bootstrap_interval",
    "compare",
    "cross",
    "cross_tables",
    "evaluate",
    "examples",
    "examples_text",
    "find_references",
    "randomisation_test",
    "swap",
    "swap_tables",
    "table",
    "write",
]
