"""What was wanted and how good an answer is: measures of rankings and the rewards made from them."""

import retrievers
from retrievers.parts import Kind, Parts
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

PARTS = Parts({**retrievers.PARTS.kinds, "reward": Kind("rewards", ("__call__",), light=True)})
"""What a reward may be made of; `PARTS.build("reward", {"type": "format"})` builds one."""

__all__ = [
    "BUILTIN",
    "PARTS",
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
