"""How a gate is fitted on the needs of a split: the predictor by ridge regression, the threshold by an exact bound.

The measure's change is predicted by ridge regression (scikit-learn), whose penalty is chosen by generalised
cross-validation. The threshold is chosen on predictions for needs that were not in the fit (ten folds); then the
predictor is fitted again on all. A need is harmed if it is rewritten and the measure drops by more than the margin; the
share is of all needs, rewritten or not.

From the strictest threshold on, each looser one is tested while the exact binomial test of "the share is above the
bound" rejects (equal to the upper bound of Clopper and Pearson 1934 being at most the bound); the first that fails
ends it, so that many tests cost nothing (fixed-sequence testing: Angelopoulos et al. 2021, arXiv 2110.01052; for
shares that only grow, Bates et al. 2021, arXiv 2101.02703). The loosest that passes is taken, but none below a
predicted gain of 0. For one predictor, the share on other needs is then above the bound in at most 1 - confidence of
all fits. That the threshold comes from the predictors of ten folds and is used with that of all needs is the usual
approximation of cross-fitting; a test measures that the statement holds with it, and docs/log.md on the quickstart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recr1.errors import MissingLibrary
from recr1.gate.gate import Decisions, Features, Gate, features, predicted, rewritten
from recr1.judge.stats import Doubles

FOLDS = 10
FEWEST = 2 * FOLDS
"""With fewer rewritten needs there is nothing to learn from."""
WORDS = 1_000
"""The most words that get a weight, the most frequent; each is in at least two rewrites."""
PENALTIES = np.logspace(-1, 3, 9)
ROUNDING = 1e-9


def fit(
    needs: Sequence[str],
    queries: Sequence[str],
    raw_N: Doubles,
    always_N: Doubles,
    likelihoods: Sequence[float] | None = None,
    overlaps: Sequence[float] | None = None,
    *,
    margin: float,
    bound: float,
    confidence: float,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Gate, Decisions]:
    """The gate, and its decisions on the same needs, each predicted without that need.

    Args:
        needs: Texts.
        queries: What the policy writes for them; one that could not be read is the need.
        raw_N: The measure of the needs as queries.
        always_N: The measure of the queries.
        likelihoods: Of the completions; None leaves this feature out.
        overlaps: Of the rankings of need and query; None leaves this feature out.
        margin: A drop above this is harm.
        bound: The share of all needs that may be harmed.
        confidence: That the share is at most the bound.
        seed: Of the folds.
        facts: More to know of the fit, such as the measure and the split.
    """
    gain_N = np.asarray(always_N, np.float64) - np.asarray(raw_N, np.float64)
    harmed_N, own_N = gain_N < -margin - ROUNDING, rewritten(needs, queries)
    rows, places = features(needs, queries, likelihoods, overlaps), np.flatnonzero(own_N)
    guess_N, intercept, weights = np.full(len(needs), -np.inf), 0.0, dict[str, float]()
    if len(places) >= FEWEST:
        fold_N = np.random.default_rng(seed).permutation(len(places)) % FOLDS
        for fold in range(FOLDS):
            held, rest = places[fold_N == fold], places[fold_N != fold]
            guess_N[held] = predicted([rows[at] for at in held], *_ridge([rows[at] for at in rest], gain_N[rest]))
        intercept, weights = _ridge([rows[at] for at in places], gain_N[places])
    threshold = _threshold(guess_N, harmed_N & own_N, bound, confidence)
    open_N = guess_N >= (np.inf if threshold is None else threshold)
    gained = float(gain_N.sum())
    known = {
        **(facts or {}),
        **{"needs": len(needs), "queries_rewritten": len(places), "margin": margin, "bound": bound},
        **{"confidence": confidence, "threshold": threshold, "rewritten": float(open_N.mean())},
        "gain_kept": float(gain_N[open_N].sum()) / gained if gained > 0 else None,
        "harmed": float((open_N & harmed_N).mean()),
        "closed": _why_closed(guess_N, harmed_N & own_N, bound, confidence) if threshold is None else None,
    }
    gate = Gate(intercept=intercept, weights=weights, threshold=threshold, facts=known)
    return gate, Decisions(np.where(np.isfinite(guess_N), guess_N, 0.0), open_N)


def _ridge(rows: Sequence[Features], gain_N: Doubles) -> tuple[float, dict[str, float]]:
    """Intercept and weights; numbers are scaled to a standard deviation of 1 before the penalty, words are not."""
    try:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import RidgeCV
    except ImportError as error:
        raise MissingLibrary("scikit-learn", "gate", "fitting a gate") from error
    vectors = DictVectorizer(sparse=True)
    rows_NF = vectors.fit_transform(rows)
    names, counts_F = vectors.get_feature_names_out(), np.asarray((rows_NF != 0).sum(axis=0)).ravel()
    is_word_F = np.array([":" in name for name in names])
    words = np.flatnonzero(is_word_F & (counts_F > 1))
    kept = [*np.flatnonzero(~is_word_F), *words[np.argsort(-counts_F[words], kind="stable")][:WORDS]]
    rows_NF, is_word_F = rows_NF[:, kept].toarray(), is_word_F[kept]
    spread_F = rows_NF.std(axis=0)
    scale_F = np.where(is_word_F | (spread_F == 0), 1.0, spread_F)
    found = RidgeCV(alphas=PENALTIES).fit(rows_NF / scale_F, gain_N)
    return float(found.intercept_), dict(zip(names[kept].tolist(), (found.coef_ / scale_F).tolist(), strict=True))


def _threshold(guess_N: Doubles, harmed_N: Any, bound: float, confidence: float) -> float | None:
    """The loosest threshold that passes and is not below 0, or None; equal predictions are opened together.

    It is in the middle between the last prediction that it opens and the first that it does not.
    """
    order = np.argsort(-guess_N, kind="stable")
    falling_N = guess_N[order]
    last_N = np.append(falling_N[1:] != falling_N[:-1], True)
    passes_N = _meets(harmed_N[order].cumsum(), len(order), bound, confidence)  # up to some place: the sum only grows
    passing = np.flatnonzero(last_N & passes_N & (falling_N > 0))
    if not len(passing):
        return None
    below = falling_N[passing[-1] + 1] if passing[-1] + 1 < len(falling_N) else 0.0
    return float(falling_N[passing[-1]] + max(below, 0.0)) / 2


def _meets(harmed: Any, needs: Any, bound: float, confidence: float) -> Any:
    """Whether the exact upper bound of the share of harmed needs is at most the bound."""
    from scipy.special import bdtr

    return bdtr(harmed, needs, bound) <= 1 - confidence


def _why_closed(guess_N: Doubles, harmed_N: Any, bound: float, confidence: float) -> str:
    """Why no threshold passes, and how many needs would do."""
    needs, least = len(guess_N), math.ceil(math.log(1 - confidence) / math.log(1 - bound))
    if needs < least:
        return f"{needs} needs cannot show a share below {bound:.1%} with {confidence:.0%} confidence: {least} can"
    if not (guess_N > 0).any():
        return "no query is predicted to help"
    first_N = guess_N == guess_N.max()
    share = float((first_N & harmed_N).mean())
    sizes = (int(needs * 1.1**step) for step in range(150))
    enough = next((size for size in sizes if _meets(math.ceil(share * size), size, bound, confidence)), None)
    said = f"the {int(first_N.sum())} best queries of {needs} needs harm {share:.1%} of the needs"
    return f"{said}: {f'about {enough:,} needs such as these would do' if enough else 'no number of needs would do'}"
