"""What was wanted and how good an answer is: measures of rankings and the rewards made from them."""

from rewards.base import UNJUDGED, Action, Batch, Chat, Graded, Invalid, Message, Need, Qrels, Reward, Rollout, Search

BUILTIN = {
    "measure": "rewards.measure:MeasureReward",
    "gain": "rewards.gain:GainReward",
    "format": "rewards.format:FormatReward",
    "length": "rewards.length:LengthReward",
    "group_length": "rewards.group_length:GroupLengthReward",
    "repetition": "rewards.repetition:RepetitionReward",
    "unmatched": "rewards.unmatched:UnmatchedReward",
    "copied": "rewards.copied:CopiedReward",
    "phrases": "rewards.phrases:PhrasesReward",
    "drift": "rewards.drift:DriftReward",
    "operators": "rewards.operators:OperatorsReward",
    "log_rank": "rewards.log_rank:LogRankReward",
    "rank_tiers": "rewards.rank_tiers:RankTiersReward",
    "annealed": "rewards.annealed:AnnealedReward",
    "across": "rewards.across:AcrossReward",
    "worth": "rewards.worth:WorthReward",
    "crowding": "rewards.crowding:CrowdingReward",
    "shuffled": "rewards.shuffled:ShuffledReward",
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
