"""What was wanted and how good an answer is: measures of rankings and the rewards made from them."""

import retrievers
from retrievers.parts import Kind, Parts
from rewards.base import Answer, Batch, Invalid, Need, Qrels, Recommend, Reward, Rollout, Search

BUILTIN = {
    "measure": "rewards.measures.reward:MeasureReward",
    "gain": "rewards.measures.reward:GainReward",
    "format": "rewards.guards.form:FormatReward",
    "length": "rewards.guards.form:LengthReward",
    "group_length": "rewards.guards.form:GroupLengthReward",
    "repetition": "rewards.guards.words:RepetitionReward",
    "unmatched": "rewards.guards.catalog:UnmatchedReward",
    "facts": "rewards.guards.catalog:FactsReward",
    "copied": "rewards.guards.catalog:CopiedReward",
    "phrases": "rewards.guards.words:PhrasesReward",
    "drift": "rewards.guards.drift:DriftReward",
    "operators": "rewards.guards.form:OperatorsReward",
    "rec_r1": "rewards.measures.reward:RecR1Reward",
    "log_rank": "rewards.shaping:LogRankReward",
    "rank_tiers": "rewards.shaping:RankTiersReward",
    "annealed": "rewards.measures.reward:AnnealedReward",
    "across": "rewards.shaping:AcrossReward",
    "of_family": "rewards.shaping:OfFamilyReward",
    "worth": "rewards.business:WorthReward",
    "crowding": "rewards.business:CrowdingReward",
    "lift": "rewards.rewriting:LiftReward",
    "popularity_lift": "rewards.audit.terms:PopularityLiftReward",
    "miscalibration": "rewards.audit.terms:MiscalibrationReward",
    "disagreement": "rewards.audit.terms:DisagreementReward",
    "by_person": "rewards.audit.terms:ByPersonReward",
    "shuffled": "rewards.measures.reward:ShuffledReward",
}
"""Rewards by the name that a recipe uses; their classes are imported when needed."""

PARTS = Parts({**retrievers.PARTS.kinds, "reward": Kind("rewards", ("__call__",), light=True)})
"""What a reward may be made of; `PARTS.build("reward", {"type": "format"})` builds one."""

__all__ = [
    "BUILTIN",
    "PARTS",
    "Answer",
    "Batch",
    "Invalid",
    "Need",
    "Qrels",
    "Recommend",
    "Reward",
    "Rollout",
    "Search",
]
