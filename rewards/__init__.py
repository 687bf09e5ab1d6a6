"""What was wanted and how good an answer is: measures of rankings and the rewards made from them."""

from rewards.base import UNJUDGED, Action, Batch, Chat, Graded, Invalid, Message, Need, Qrels, Reward, Rollout, Search

BUILTIN = {
    "measure": "rewards.measures.reward:MeasureReward",
    "gain": "rewards.shaping.gain:GainReward",
    "format": "rewards.guards.format:FormatReward",
    "length": "rewards.guards.length:LengthReward",
    "group_length": "rewards.guards.group_length:GroupLengthReward",
    "repetition": "rewards.guards.repetition:RepetitionReward",
    "unmatched": "rewards.guards.unmatched:UnmatchedReward",
    "copied": "rewards.guards.copied:CopiedReward",
    "phrases": "rewards.guards.phrases:PhrasesReward",
    "drift": "rewards.guards.drift:DriftReward",
    "operators": "rewards.guards.operators:OperatorsReward",
    "log_rank": "rewards.shaping.log_rank:LogRankReward",
    "rank_tiers": "rewards.shaping.rank_tiers:RankTiersReward",
    "annealed": "rewards.shaping.annealed:AnnealedReward",
    "across": "rewards.shaping.across:AcrossReward",
    "worth": "rewards.business.worth:WorthReward",
    "crowding": "rewards.business.crowding:CrowdingReward",
    "shuffled": "rewards.shaping.shuffled:ShuffledReward",
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
