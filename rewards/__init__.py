"""What was wanted and how good an answer is: measures of rankings and the rewards made from them."""

from rewards.base import UNJUDGED, Action, Batch, Chat, Graded, Invalid, Message, Need, Qrels, Reward, Rollout, Search

BUILTIN = {
    "measure": "rewards.measure:MeasureReward",
    "gain": "rewards.gain:GainReward",
    "format": "rewards.format:FormatReward",
    "length": "rewards.length:LengthReward",
}
"""Rewards by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = [
    "BUILTIN",
    "UNJUDGED",
    "Action",
    "Batch",
    "Chat",
    "Graded",
    "Invalid",
    "Message",
    "Need",
    "Qrels",
    "Reward",
    "Rollout",
    "Search",
]
