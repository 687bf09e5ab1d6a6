"""Estimate the memory that a recipe needs for training, from the model's config alone; no weights are loaded."""

from recr1.memory.fit import memory_report, requirements
from recr1.memory.sharding import sharding_of

__all__ = ["memory_report", "requirements", "sharding_of"]
