"""Policies: what reads a shopper's need and writes a query."""

from recr1.policies.base import Policy

BUILTIN = {
    "echo": "recr1.policies.echo:Echo",
    "scripted": "recr1.policies.scripted:Scripted",
    "transformers": "recr1.policies.transformers:Transformers",
}
"""Policies by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Policy"]
