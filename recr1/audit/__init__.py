"""The audit: biases that a reward curve does not show, each a number with a test and a limit."""

from recr1.audit.audit import Audit, find_biases
from recr1.audit.base import Number, Part, Seen

__all__ = ["Audit", "Number", "Part", "Seen", "find_biases"]
