"""The gate of an evaluated policy: fitted on an evaluation, and its decisions on another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recr1.errors import UserError
from recr1.gate import Decisions, Gate, overlaps_of
from recr1.gate.fit import fit
from recr1.gate.outcome import outcome
from recr1.policies.base import KnowsLikelihood, Policy
from rewards.base import Chat, Search

if TYPE_CHECKING:
    from recr1.evaluate.evaluation import Evaluation


def with_likelihoods(policy: Policy, chats: Sequence[Chat]) -> tuple[list[list[str]], list[float]]:
    """The greedy completions of a policy and their likelihoods; raises `UserError` if it does not know them."""
    if not isinstance(policy, KnowsLikelihood):
        raise UserError(
            f"the gate needs likelihoods, and the policy {type(policy).__name__} has none (no 'greedy'): fit a gate "
            "without them, with recr1 gate RUN --no-likelihood"
        )
    found = policy.greedy(chats)
    return [[likely.text] for likely in found], [likely.likelihood for likely in found]


def rewrites(evaluation: Evaluation) -> tuple[list[str], list[str], Sequence[float] | None, list[float]]:
    """What `Gate.decide` is given: needs, queries (the need where one is invalid), likelihoods and overlaps."""
    needs, first = [need.text for need in evaluation.needs], [of_need[0] for of_need in evaluation.actions]
    queries = [
        str(action.query) if isinstance(action, Search) else need for need, action in zip(needs, first, strict=True)
    ]
    overlaps = overlaps_of(evaluation.references.floor_rows_NK, evaluation.hits.rows_QK)
    return needs, queries, evaluation.likelihoods, overlaps


def fit_on(
    evaluation: Evaluation, *, search: bool, margin: float, bound: float, confidence: float, facts: Mapping[str, Any]
) -> tuple[Gate, dict[str, Any]]:
    """The gate fitted on an evaluation of greedy completions, and what it does there, out of fold.

    `search` uses the overlap of the two rankings.
    """
    needs, queries, likelihoods, overlaps = rewrites(evaluation)
    measure, seed = next(iter(evaluation.values)), evaluation.seed
    raw_N, policy_N = evaluation.references.floor[measure].astype(float), evaluation.per_need(measure)
    known = {"measure": measure, "split": evaluation.split, "k": evaluation.env.k, **facts}
    gate, found = fit(
        needs,
        queries,
        raw_N,
        policy_N,
        likelihoods,
        overlaps if search else None,
        margin=margin,
        bound=bound,
        confidence=confidence,
        seed=seed,
        facts=known,
    )
    return gate, outcome([gate], measure, raw_N, policy_N, found.open_N, seed=seed)


def gated(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What `eval.json` has under `gate`, of the seeds of one policy on the same needs, each with its own gate."""
    first = evaluations[0]
    measure = next(iter(first.values))
    policy_SN = [one.per_need(measure) for one in evaluations]
    open_SN = [one.decisions.open_N for one in evaluations if one.decisions]
    gates = [one.gate for one in evaluations if one.gate]
    return outcome(gates, measure, first.references.floor[measure], policy_SN, open_SN, seed=first.seed)


def decided(evaluation: Evaluation) -> Decisions | None:
    """What the gate of an evaluation says of its needs; None without a gate."""
    return evaluation.gate.decide(*rewrites(evaluation)) if evaluation.gate else None
