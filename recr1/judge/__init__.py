"""Is a gain real: intervals, tests, seeds, and how a difference is said."""
