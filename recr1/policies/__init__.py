"""Policies: what reads a shopper's need and writes a query."""

from recr1.policies.base import Policy

BUILTIN = {
    "echo": "recr1.policies.echo:Echo",
    "scripted": "recr1.policies.scripted:Scripted",
    "transformers": "recr1.policies.transformers:Transformers",
    "keywords": "recr1.policies.keywords:Keywords",
    "prf": "recr1.policies.feedback:Feedback",
    "few_shot": "recr1.policies.few_shot:FewShot",
    "prompt_search": "recr1.policies.prompt_search:PromptSearch",
    "best_of": "recr1.policies.best_of:BestOf",
    "best_item": "recr1.policies.best_item:BestItem",
    "term_oracle": "recr1.policies.oracle:TermOracle",
}
"""Policies by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Policy"]
