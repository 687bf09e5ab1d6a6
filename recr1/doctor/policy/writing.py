"""What the policy writes: are its numbers finite, does a batch change them, and are completions queries that end?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from recr1.config.build import Part, find_class
from recr1.doctor.base import Fault, Faults, Finding, catching, finding
from recr1.doctor.policy.opened import PolicySetup, concluded, difference, greedy, plain, until_end
from recr1.env import copies
from recr1.errors import examples
from recr1.formats import parsed
from recr1.policies.prompts import prompt_ids
from recr1.policies.transformers import ends_of
from rewards.base import Answer, Chat, Invalid, Need, Recommend, Search

GREEDY, GROUPS, AT_ONCE = 16, 8, 4
"""Needs that get a greedy completion, those that get a group of samples, and those of a batch."""


def finite(opened: PolicySetup) -> Finding:
    """Weights and scores are numbers, and steps of the learning rate are not lost in rounding."""
    model, faults = opened.policy.model, Faults()
    weights = [*model.named_parameters(), *model.named_buffers()]
    bad = [name for name, weight in weights if weight.is_floating_point() and not bool(weight.isfinite().all())]
    (ids,) = prompt_ids(opened.policy.tokenizer, opened.probes[-1:])
    if bad:
        what = f"{len(bad)} of {len(weights)} tensors of the model hold nan or inf ({examples(bad)})"
        faults.add("not finite", "error", f"{what}: fetch or save it again")
    elif not bool(plain(opened.policy, ids[:-1], ids[-1:]).isfinite().any()):
        faults.add("not finite", "error", "the scores of the next token are nan or inf: try policy.dtype=float32")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    kinds = sorted({str(weight.dtype).removeprefix("torch.") for weight in trained})
    numbers: dict[str, Any] = {"tensors": len(weights), "not_finite": bad, "trained": kinds}
    for stage in opened.recipe.stages if set(kinds) & {"bfloat16", "float16"} else ():
        rate, count = _learning_rate(stage), sum(weight.numel() for weight in trained)
        share = sum(_lost(weight, rate) * weight.numel() for weight in trained) / count
        numbers[f"steps_lost_{stage.type}"] = share
        if share >= 0.1:
            what = (
                f"in {', '.join(kinds)}, a step of {rate:g}, the learning rate of {stage.type}, leaves {share:.0%} of"
            )
            faults.add("small steps lost", "warning", f"{what} the weights as they are: set policy.dtype=float32")
    ok = f"weights and scores are finite; trained weights are {', '.join(kinds)}"
    return concluded("finite", faults, ok, numbers)


def _learning_rate(stage: Part) -> float:
    """Of the recipe, else TRL's default."""
    keys = stage.options.get("trl") or {}
    if "learning_rate" in keys:
        return float(keys["learning_rate"])
    import trl

    return float(getattr(trl, getattr(find_class("trainer", stage.type), "config", "GRPOConfig")).learning_rate)


def _lost(weight: Any, step: float) -> float:
    """The share of weights that a step, rounded to their precision, does not change."""
    some = weight.detach().flatten()[:100_000]
    return float(((some.double() + step).to(some.dtype) == some).double().mean())


def batch(opened: PolicySetup) -> Finding:
    """A batch of prompts of unequal length writes greedily what each prompt alone writes."""
    policy, most, faults = opened.policy, opened.tolerance, Faults()
    lengths = sorted(len(ids) for ids in prompt_ids(policy.tokenizer, opened.probes))
    together, alone = greedy(policy, opened.probes), [greedy(policy, [chat])[0] for chat in opened.probes]
    far, others = difference(together, alone)
    which = f"{len(lengths)} prompts of {lengths[0]} to {lengths[-1]} tokens"
    if not far <= most:
        what = f"in a batch of {which}, log-probabilities differ by up to {far:.3g} from those of each prompt alone"
        remedy = "prompts must be padded on the left, and the model must leave padding out"
        faults.add("batch changes", "error", f"{what} (rounding explains {most:g}): {remedy}")
    elif others:
        what = (
            f"{others} of {which} get other tokens in a batch, between two whose log-probabilities are {far:.2g} apart"
        )
        faults.add("near ties", "ok", what)
    ok = f"{which} get the same tokens in a batch as alone (log-probabilities within {far:.1g}, allowed are {most:g})"
    return concluded("batch", faults, ok, {"lengths": lengths, "difference": far, "others": others, "tolerance": most})


class Completion(NamedTuple):
    """A completion of a need, and what became of it."""

    text: str
    ended: bool
    query: object  # None if it is neither a query nor, where needs have candidates, a list
    copied: bool  # a query says no more than the need; a list is the order shown
    reason: str


def completions(opened: PolicySetup) -> Finding:
    """Completions are queries or lists, end by themselves, and copy nothing; those of one need differ."""
    stages, faults, n = opened.recipe.stages, Faults(), opened.setup.group
    asked = opened.setup.sampled(opened.needs, "completions", GREEDY)
    heats = [float((s.options.get("trl") or {}).get("temperature", 1.0)) for s in stages if s.type != "sft"]
    wanted = "list" if opened.setup.env.reranks else "query"
    kinds = {"greedy": (0, 1.0)} | {f"sampled at {heat:g}": (n, heat) for heat in (opened.policy.temperature, *heats)}
    numbers: dict[str, Any] = {}
    sampled: list[list[Completion]] = []
    shown = [f"need: {asked[0][0].text}"]
    for kind, (count, heat) in kinds.items():
        groups = _completed(opened, asked[: GROUPS if count else GREEDY], count, heat)
        of = [one for group in groups for one in group]
        answers = "lists" if wanted == "list" else "queries"
        counts = Counter({answers: 0, "end": 0, "copy": 0})
        for one in of:
            counts.update({answers: one.query is not None, "end": one.ended, "copy": one.copied})
        numbers[kind] = {name: count / len(of) for name, count in counts.items()}
        if count > 1:
            sampled += groups
            numbers[kind]["groups all the same"] = sum(map(_equal, groups)) / len(groups)
        shown += [f"{kind}: {one.text!r}{f' ({one.reason})' if one.reason else ''}" for one in groups[0][:3]]
    _judge(faults, sampled, wanted, taught=bool(stages) and stages[0].type == "sft")
    shares = (
        f"{kind}: {', '.join(f'{share:.0%} {name}' for name, share in of.items())}" for kind, of in numbers.items()
    )
    faults.problems.append(Fault("ok", f"of {len(asked)} needs, {'; '.join(shares)}"))
    return finding("completions", faults.problems, "", numbers | faults.numbers, "\n".join(shown))


def _equal(group: Sequence[Completion]) -> bool:
    return len({one.text for one in group}) == 1


def _completed(opened: PolicySetup, asked: Sequence[tuple[Need, Chat]], n: int, heat: float) -> list[list[Completion]]:
    """A group of completions for each need: n samples, or one greedy one where n is 0."""
    import torch

    policy = opened.policy
    parts = [[chat for _, chat in asked[start : start + AT_ONCE]] for start in range(0, len(asked), AT_ONCE)]
    with torch.random.fork_rng():
        torch.manual_seed(opened.recipe.seed)
        more = {"temperature": heat} if n else {}
        written = [policy.continued(part, n, **more) for part in parts]
    rows = [ids for mask_BP, output in written for ids in output[:, mask_BP.shape[1] :].tolist()]
    texts = policy.tokenizer.batch_decode(rows, skip_special_tokens=True)
    each, ends = max(n, 1), ends_of(policy.model, policy.tokenizer)
    found = [
        _read(opened, asked[row // each][0], text, ended=ids[until_end(ids, ends) - 1] in ends)
        for row, (ids, text) in enumerate(zip(rows, texts, strict=True))
    ]
    return [found[start : start + each] for start in range(0, len(found), each)]


def _read(opened: PolicySetup, need: Need, text: str, *, ended: bool) -> Completion:
    with catching(f"parsing {text[:80]!r}"):
        action = parsed(opened.setup.env.format, need, text)
    reason = action.reason if isinstance(action, Invalid) else ""
    if isinstance(action, Recommend):
        return Completion(text, ended, action.rows, action.rows == tuple(one.row for one in need.candidates), reason)
    if isinstance(action, Answer):
        return Completion(text, ended, action.text, copied=False, reason=reason)
    query = action.query if isinstance(action, Search) else None
    return Completion(text, ended, query, query is not None and copies(need.text, query), reason)


def _judge(faults: Faults, groups: Sequence[Sequence[Completion]], wanted: str, *, taught: bool) -> None:
    """Faults of sampled groups; `taught` if the recipe begins with sft."""
    of = [one for group in groups for one in group]
    teach = "the stage sft has to teach the format" if taught else "teach the format by a stage sft first"
    told = f"are no {wanted} {{}}: {teach}, or say in task.format.prompt how to answer"
    few = "few lists" if wanted == "list" else "few queries"
    faults.share(few, [one.text for one in of if one.query is None], len(of), told, warn=0.5, fail=1 + taught)
    told = f"do not end within policy.max_new_tokens {{}}: {teach}, or raise max_new_tokens"
    faults.share("few ends", [one.text for one in of if not one.ended], len(of), told, warn=0.5)
    told = "copy their need {}: rewards stay at the floor; teach other queries by a stage sft, or ask for them"
    copied = "copied needs"
    if wanted == "list":
        copied, told = "order shown", "are the order shown {}: nothing is ranked yet; teach lists by a stage sft"
    faults.share(copied, [one.text for one in of if one.copied], len(of), told, warn=0.8)
    told = "are all the same {}: there is nothing to compare; raise trl.temperature"
    same = [group[0].text for group in groups if _equal(group)]
    faults.share("equal groups", same, len(groups), f"groups {told}", warn=0.8)
