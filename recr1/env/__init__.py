"""The one place where task, retriever and rewards meet: from completions to rewards in one search."""

from recr1.env.checks import ContractError
from recr1.env.environment import Environment, chat_with, open_environment
from recr1.env.step import (
    Step,
    answer_metrics,
    copies,
    copies_share,
    known_share,
    metrics,
    recorded,
    repeated,
    unjudged_metrics,
    words,
    written,
)

__all__ = [
    "ContractError",
    "Environment",
    "Step",
    "answer_metrics",
    "chat_with",
    "copies",
    "copies_share",
    "known_share",
    "metrics",
    "open_environment",
    "recorded",
    "repeated",
    "unjudged_metrics",
    "words",
    "written",
]
