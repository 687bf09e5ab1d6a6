"""Evaluation: how good a policy is, between a floor (the raw need) and a ceiling (a very good query)."""

from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.evaluator import Evaluator

__all__ = ["Evaluation", "Evaluator"]
