"""The one place where task, retriever and rewards meet: from completions to rewards in one search."""

from recr1.env.contract import ContractError
from recr1.env.environment import Environment, chat_with, open_environment
from recr1.env.step import Outcome, Step, metrics, repeated, words

__all__ = [
    "ContractError",
    "Environment",
    "Outcome",
    "Step",
    "chat_with",
    "metrics",
    "open_environment",
    "repeated",
    "words",
]
