"""Policies: what reads a shopper's need and writes a query."""

from recr1.policies.base import Policy

BUILTIN = {
    "echo": "recr1.baselines.without_model:Echo",
    "as_shown": "recr1.baselines.without_model:AsShown",
    "recommender": "recr1.baselines.recommender:Recommender",
    "scripted": "recr1.baselines.without_model:Scripted",
    "transformers": "recr1.policies.transformers:Transformers",
    "ctranslate2": "recr1.policies.ctranslate2:CTranslate2",
    "openai": "recr1.policies.openai:OpenAI",
    "keywords": "recr1.baselines.without_model:Keywords",
    "prf": "recr1.baselines.feedback:RM3",
    "few_shot": "recr1.baselines.prompting:FewShot",
    "prompt_search": "recr1.baselines.prompting:PromptSearch",
    "best_of": "recr1.baselines.best_of:BestOf",
    "mean_rating": "recr1.baselines.plain:MeanRating",
    "best_item": "recr1.baselines.ceilings:BestItem",
    "linear_edits": "recr1.baselines.linear_edits:LinearEdits",
    "field_clauses": "recr1.baselines.field_clauses:FieldClauses",
    "best_edit": "recr1.baselines.best_edit:BestEdit",
    "term_oracle": "recr1.baselines.ceilings:TermOracle",
}
"""Policies by the name that a recipe uses; a class is imported when it is asked for."""

__all__ = ["BUILTIN", "Policy"]
