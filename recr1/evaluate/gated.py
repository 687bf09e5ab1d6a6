"""The gate of an evaluated policy: fitted on an evaluation, and its decisions on another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recr1.errors import UserError
from recr1.gate import Gate, overlaps_of
from recr1.gate.fit import fit
from recr1.gate.gate import rewritten
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
    evaluation: Evaluation, *, search: bool, facts: Mapping[str, Any], **bounds: float
) -> tuple[Gate, dict[str, Any]]:
    """The gate fitted on an evaluation of greedy completions, and what it does there, out of fold.

    `search` uses the overlap of the two rankings; `bounds` are the margin, bound and confidence of `fit`.
    """
    needs, queries, likelihoods, overlaps = rewrites(evaluation)
    measure, seed = next(iter(evaluation.values)), evaluation.seed
    raw_N, policy_N = evaluation.references.floor[measure].astype(float), evaluation.per_need(measure)
    known = {"measure": measure, "split": evaluation.split, "k": evaluation.env.k, **facts}
    more: dict[str, Any] = {"overlaps": overlaps if search else None, "seed": seed, "facts": known, **bounds}
    gate, found = fit(needs, queries, raw_N, policy_N, likelihoods, **more)
    return gate, outcome([gate], measure, raw_N, policy_N, rewritten(needs, queries), found.open_N, seed=seed)


def gated(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What `eval.json` has under `gate`, of the seeds of one policy on the same needs, each with its own gate."""
    first, gates = evaluations[0], [one.gate for one in evaluations if one.gate]
    measure = next(iter(first.values))
    policy_SN, found = [one.per_need(measure) for one in evaluations], [decided(one) for one in evaluations]
    own_SN, open_SN = ([[need[name] for need in needs] for needs in found] for name in ("rewritten", "open"))
    return outcome(gates, measure, first.references.floor[measure], policy_SN, own_SN, open_SN, seed=first.seed)


def decided(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Of each need the predicted gain, if the gate is open, and if the query is no copy; empty without a gate."""
    if not evaluation.gate:
        return []
    given = rewrites(evaluation)
    own_N, (gain_N, open_N) = rewritten(*given[:2]), evaluation.gate.decide(*given)
    rows = zip(gain_N.tolist(), open_N.tolist(), own_N.tolist(), strict=True)
    return [{"gain": gain, "open": is_open, "rewritten": own} for gain, is_open, own in rows]
