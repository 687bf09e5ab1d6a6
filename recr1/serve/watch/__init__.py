"""The watch of a bundle: what rewrites and raw needs find on today's engine, and what has changed since a first day."""

from recr1.serve.watch.checks import KINDS, Check, Thresholds
from recr1.serve.watch.day import Day, days_in, watch

__all__ = ["KINDS", "Check", "Day", "Thresholds", "days_in", "watch"]
