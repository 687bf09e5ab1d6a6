"""What the checks of a policy get: the opened recipe with its policy, and what several of them look at."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from recr1.config.build import build, find_class
from recr1.doctor.base import Fault, Faults, Finding, Setup, catching, finding
from recr1.doctor.policy.measured import Measured, measure
from recr1.policies.context import lengths_of
from recr1.policies.transformers import Transformers, ends_of
from recr1.recipe import Recipe
from recr1.terminal import note
from rewards.base import Chat, Need

if TYPE_CHECKING:
    from torch import Tensor

PROBES = 8
"""Needs whose prompts a batch has: the shortest, the longest, and some between."""
FIRST = 32
"""Tokens of a completion that are compared, from the first on."""
TOLERANCE = {"float32": 2e-3, "float16": 0.1, "bfloat16": 0.5}
"""The largest difference of a token's log-probability, in nats, that the order of sums explains, by the dtype that a
model computes in. A token whose log-probability is less than this below the best is a near tie."""


class Written(NamedTuple):
    """A greedy completion of T tokens, up to its end."""

    ids: list[int]
    logps_TV: Tensor
    """Log-probabilities of each next token, in float32."""


@dataclass(frozen=True)
class PolicySetup:
    """A recipe, its opened data and its policy, which is loaded when it is first asked for."""

    setup: Setup
    recipe: Recipe
    say: Callable[[str], None] = note
    """Shows a line of progress."""

    @cached_property
    def policy(self) -> Any:
        """As evaluation loads it."""
        with catching(f"loading the policy '{self.recipe.policy.type}'"):
            return build("policy", self.recipe.policy)

    @property
    def checkable(self) -> bool:
        """Whether the policy is a model whose tokens can be looked at."""
        cls = find_class("policy", self.recipe.policy.type)
        return isinstance(cls, type) and issubclass(cls, Transformers)

    def release(self) -> None:
        """Free the memory of the policy; the next check that needs it loads it again."""
        import torch

        vars(self).pop("policy", None)
        gc.collect()
        torch.cuda.empty_cache()

    @cached_property
    def chats(self) -> dict[tuple[str, str], Chat]:
        """The prompt of each need, by its split and id."""
        with catching("rendering the prompts"):
            return {
                (split, need.id): chat
                for split, needs in self.setup.splits.items()
                for need, chat in zip(needs, self.setup.env.prompts(needs), strict=True)
            }

    @cached_property
    def lengths(self) -> dict[tuple[str, str], int]:
        """Tokens of each prompt."""
        lengths = lengths_of(self.policy.tokenizer, list(self.chats.values()))
        return dict(zip(self.chats, lengths, strict=True))

    @cached_property
    def fitting(self) -> list[tuple[str, str]]:
        """The prompts that fit into the context, from the shortest to the longest."""
        most = (self.policy.context or 10**9) - self.policy.max_new_tokens
        return sorted((key for key, length in self.lengths.items() if length <= most), key=self.lengths.__getitem__)

    @cached_property
    def probes(self) -> list[Chat]:
        """The shortest prompt, the longest, and some of the lengths between."""
        last = len(self.fitting) - 1
        places = dict.fromkeys(round(place * last / (PROBES - 1)) for place in range(PROBES))
        return [self.chats[self.fitting[place]] for place in places] if self.fitting else []

    @cached_property
    def needs(self) -> list[tuple[Need, Chat]]:
        """A sample of the needs whose prompts fit, at most 50, with these prompts."""
        fit = set(self.fitting)
        needs = [(n, self.chats[split, n.id]) for split, of in self.setup.splits.items() for n in of]
        held = [pair for pair, key in zip(needs, self.chats, strict=True) if key in fit]
        return self.setup.sampled(held, "prompts", min(50, self.setup.sample))

    @cached_property
    def trained(self) -> list[Measured]:
        """Two steps of each stage, in processes of their own; the policy is released before."""
        self.release()
        return [measure(self.recipe, part, self.say) for part in self.recipe.stages]

    @property
    def tolerance(self) -> float:
        """For what the policy computes in evaluation."""
        dtype = str(self.policy.model.dtype).removeprefix("torch.")
        return TOLERANCE["bfloat16" if self.policy.in_bfloat16 else dtype]


def greedy(policy: Any, chats: Sequence[Chat]) -> list[Written]:
    """What a policy writes for a batch of chats on the path of evaluation, with what it thought of each next token."""
    import torch

    new = min(policy.max_new_tokens, FIRST)
    options = {"output_logits": True, "return_dict_in_generate": True, "max_new_tokens": new}
    mask_BP, output = policy.continued(chats, 0, **options)
    logps_BTV = torch.stack(output.logits, 1).float().log_softmax(-1).cpu()
    ids_BT = output.sequences[:, mask_BP.shape[1] :].tolist()
    lengths = [until_end(ids, ends_of(policy.model, policy.tokenizer)) for ids in ids_BT]
    return [Written(ids[:n], logps_TV[:n]) for ids, logps_TV, n in zip(ids_BT, logps_BTV, lengths, strict=True)]


def until_end(ids: Sequence[int], ends: Sequence[int]) -> int:
    """How many tokens a completion has, with its end token; what follows is padding."""
    return next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))


def plain(policy: Any, prompt: Sequence[int], ids: Sequence[int], temperature: float = 1.0) -> Tensor:
    """Log-probabilities (T, V) at the T tokens of a completion: one pass of the model, no batch, padding or cache."""
    import torch

    policy.model.eval()
    with torch.inference_mode():
        logits: Tensor = policy.model(torch.tensor([[*prompt, *ids]], device=policy.model.device)).logits[0]
    return (logits[len(prompt) - 1 : -1].float() / temperature).log_softmax(-1).cpu()


def difference(ones: Sequence[Written], others: Sequence[Written], *, tie: bool = False) -> tuple[float, int]:
    """How far the log-probabilities of completions are apart, and how many have other tokens.

    Compared are those of the tokens that are the same, and of the first two that are not, which still follow the same
    text. With `tie` it is how far these two tokens are apart in the first completion. A completion that ends where the
    other one continues is infinitely far.
    """
    far, flips = 0.0, 0
    for one, other in zip(ones, others, strict=True):
        for place, pair in enumerate(zip(one.ids, other.ids, strict=False)):
            two = one.logps_TV[place][list(pair)]
            apart = (two[0] - two[1] if tie else two - other.logps_TV[place][list(pair)]).abs().max()
            far = max(far, apart.nan_to_num(float("inf")).item())
            if pair[0] != pair[1]:
                flips += 1
                break
        else:
            if len(one.ids) != len(other.ids):
                far, flips = float("inf"), flips + 1
    return far, flips


def concluded(name: str, faults: Faults, ok: str, numbers: Mapping[str, Any], shown: str = "") -> Finding:
    """The finding of a check; remarks that are no fault come after `ok`, or after what is wrong."""
    if all(problem.verdict == "ok" for problem in faults.problems):
        faults.problems.insert(0, Fault("ok", ok))
    return finding(name, faults.problems, ok, {**numbers, **faults.numbers}, shown)
