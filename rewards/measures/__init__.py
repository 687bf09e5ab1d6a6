"""Measures of a ranking: a number between 0 and 1 with a name, `nDCG@10`, that is its identity everywhere.

Every setting is in the name, and the cutoff always is. The definitions are those of trec_eval. For all of them:

- An item is relevant when its grade is at least `rel` (1 unless the name says otherwise).
- An unjudged item counts as grade 0, and so does a negative grade: not relevant, no gain and no loss.
  Only `judged_only=True`, `Judged@k`, `Bpref@k` and `RBPResidual@k` distinguish unjudged items from grade 0.
- The measures of answers in text (`RatingCloseness`, `FeatureRecall`, `FeaturePrecision`, `FeatureF1`, `RougeL`,
  `Standing`) rank nothing, and have no cutoff; what follows is about the others.
- A need without any relevant item measures 0, except in measures that do not ask for relevance (`Judged@k`,
  `RBPResidual@k`, `Categories@k`, `Entropy@k`, `Popularity@k`, `Tail@k`). Tasks refuse or leave out such needs, so
  that no mean is diluted by them.
- A ranking with fewer items than the cutoff is measured as it is; places without an item are not relevant. P@k
  still divides by k. A ranking without any item measures 0 in all of them.
- A ranking that is less deep than the cutoff is refused: nDCG@100 of ten items would be nDCG@10 under a wrong name.
- A measure reads places, never scores: items of equal scores are ordered already (the lower catalog row first).
- Each item is judged once (loaders merge repeated judgements) and ranked once (retrievers promise it).
"""

from rewards.measures.answers import AnswerMeasure
from rewards.measures.base import Measure
from rewards.measures.exposure import CORPUS_MEASURES
from rewards.measures.names import ANSWER_MEASURES, MEASURES, deepest, measure_all, measure_option, parse_measure

__all__ = [
    "ANSWER_MEASURES",
    "CORPUS_MEASURES",
    "MEASURES",
    "AnswerMeasure",
    "Measure",
    "deepest",
    "measure_all",
    "measure_option",
    "parse_measure",
]
