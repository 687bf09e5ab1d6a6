"""Policies: what reads a shopper's need and writes a query."""

from recr1.policies.base import Policy

BUILTIN = {
    "echo": "recr1.baselines.echo:Echo",
    "scripted": "recr1.baselines.scripted:Scripted",
    "transformers": "recr1.policies.transformers:Transformers",
    "keywords": "recr1.baselines.keywords:Keywords",
    "prf": "recr1.baselines.feedback:Feedback",
    "few_shot": "recr1.baselines.few_shot:FewShot",
    "prompt_search": "recr1.baselines.prompt_search:PromptSearch",
    "best_of": "recr1.baselines.best_of:BestOf",
    "best_item": "recr1.baselines.best_item:BestItem",
    "term_oracle": "recr1.baselines.oracle:TermOracle",
}
"""Policies by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Policy"]
