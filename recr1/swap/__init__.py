"""The swap test: what a policy wrote, searched by other retrievers."""

from recr1.swap.swap import Swap, swap, swap_tables

__all__ = ["Swap", "swap", "swap_tables"]
