"""Estimate the memory that a recipe needs for training, from the model's config alone; no weights are loaded."""

from recr1.memory.estimate import GB, Estimate, Term, estimate
from recr1.memory.fit import memory_report, requirements
from recr1.memory.load import Load, load_of
from recr1.memory.shape import Shape, shape_of
from recr1.memory.sharding import Shard, Sharding, sharding_of

__all__ = [
    "GB",
    "Estimate",
    "Load",
    "Shape",
    "Shard",
    "Sharding",
    "Term",
    "estimate",
    "load_of",
    "memory_report",
    "requirements",
    "shape_of",
    "sharding_of",
]
