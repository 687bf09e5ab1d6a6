"""Will it fit: an estimate of what a recipe needs to train, from the model's config alone; no weight is loaded.

`shape` is the model, `load` what a recipe does with it, `sharding` how processes divide it, and `estimate` adds up.
"""

from recr1.memory.estimate import GB, Estimate, Term, estimate
from recr1.memory.load import Load, load_of
from recr1.memory.shape import Shape, shape_of
from recr1.memory.sharding import Sharding, sharding_of

__all__ = [
    "GB",
    "Estimate",
    "Load",
    "Shape",
    "Sharding",
    "Term",
    "estimate",
    "load_of",
    "shape_of",
    "sharding_of",
]
