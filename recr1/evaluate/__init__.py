"""Evaluation: how good a policy is, between what the raw need finds and what the best query could."""

from recr1.evaluate.evaluation import Evaluation, Evaluator, evaluate
from recr1.evaluate.examples import Example, examples, examples_text
from recr1.evaluate.references import References, find_references
from recr1.evaluate.report import Table, table, write
from recr1.judge.stats import Comparison, Interval, bootstrap_interval, compare, randomisation_test

__all__ = [
    "Comparison",
    "Evaluation",
    "Evaluator",
    "Example",
    "Interval",
    "References",
    "Table",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "examples",
    "examples_text",
    "find_references",
    "randomisation_test",
    "table",
    "write",
]
