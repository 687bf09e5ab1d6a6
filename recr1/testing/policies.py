"""What every policy must do."""

from __future__ import annotations

import copy
import random
import sys
from typing import Any, ClassVar, get_args

import numpy as np

from recr1.baselines.access import NeedsAccess, Visible, prepare
from recr1.env import Environment
from recr1.formats import Format
from recr1.policies.base import CountsTokens, KnowsLikelihood, Policy, Spent, format_of
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.base import Chat
from rewards.measures.reward import MeasureReward


class PolicyContract:
    """Inherit, and write `build`."""

    samples_differ: ClassVar[bool] = True
    """False where a policy always answers a chat the same way."""

    greedy: ClassVar[bool] = True
    """False where the one completion for n = 0 is sampled too, as in best of n."""

    def build(self) -> Policy:
        """The policy, with the same options and seed each time."""
        raise NotImplementedError(f"{type(self).__name__}.build must return the policy")

    def environment(self) -> Environment:
        """What a baseline that declares access looks at, and whose needs are asked: the toy task with BM25."""
        task = ToyTask()
        return Environment(task, BM25(task.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)

    def test_there_are_n_completions_of_each_chat(self) -> None:
        """Texts; one for n = 0; none without chats. The chats stay as they are."""
        policy, chats = self._prepared()
        before = copy.deepcopy(chats)
        assert policy.generate([], 0) == [], "no chats must give no completions"
        for n in (0, 1, 3):
            written = policy.generate(chats, n)
            sizes = [len(texts) for texts in written]
            assert sizes == [max(n, 1)] * len(chats), f"n = {n}, {len(chats)} chats: got {sizes} completions"
            assert all(isinstance(text, str) for texts in written for text in texts), "a completion is not text"
        assert chats == before, "generate changed the chats"

    def test_greedy_completions_depend_on_their_chat_alone(self) -> None:
        """The same twice, also after samples, in another order of the chats, and one by one."""
        policy, chats = self._prepared()
        together = policy.generate(chats, 0)
        if not self.greedy:
            assert self._prepared()[0].generate(chats, 0) == together, "samples for n = 0 do not follow the seed"
            return
        policy.generate(chats[:2], 2)
        assert policy.generate(chats, 0) == together, "greedy completions differ from call to call"
        assert policy.generate(chats[::-1], 0) == together[::-1], "completions are not in the order of the chats"
        alone = [policy.generate([chat], 0)[0] for chat in chats]
        assert alone == together, f"one by one: {alone}, in a batch: {together}"

    def test_samples_follow_the_seed(self) -> None:
        """Two policies with the same seed write the same samples, which differ where `samples_differ` says so."""
        (one, chats), (other, _) = self._prepared(), self._prepared()
        for _ in range(2):
            samples = one.generate(chats, 4)
            assert samples == other.generate(chats, 4), "two policies with the same options write different samples"
        differ = any(len(set(texts)) > 1 for texts in samples)
        assert differ == self.samples_differ, f"samples_differ is {self.samples_differ}, and it is {differ}"

    def test_generating_leaves_random_numbers_and_modes_alone(self) -> None:
        """A validation must not change the training that it interrupts, and must not use dropout."""
        policy, chats = self._prepared()
        models = [value for value in vars(policy).values() if hasattr(value, "training") and hasattr(value, "eval")]
        written = []
        for training in (True, False):
            for model in models:
                model.train(training)
            before = _random_states(draw=True)
            policy.generate(chats, 2)
            written.append(policy.generate(chats, 0))
            assert _random_states() == before, "generate changed global random numbers: use a generator of your own"
            assert all(model.training == training for model in models), "generate changed the mode of a model"
        assert written[0] == written[1] or not self.greedy, "a model in training mode writes something else"

    def test_tokens_are_counted_once(self) -> None:
        """If it has `spent`: a prompt counts once, however many completions it gets."""
        policy, chats = self._prepared()
        if isinstance(policy, CountsTokens):
            zero = policy.spent
            policy.generate(chats, 0)
            one = policy.spent
            policy.generate(chats, 3)
            three = policy.spent
            assert isinstance(zero, Spent), f"spent must be a Spent, got {zero!r}"
            assert three.read - one.read == one.read - zero.read, "tokens of prompts must not depend on n"
            assert zero.written <= one.written <= three.written, "written tokens must not decrease"

    def test_likelihoods_belong_to_greedy_completions(self) -> None:
        """If it has `greedy`: the same texts, and for each a log-probability that depends on its chat alone."""
        policy, chats = self._prepared()
        if isinstance(policy, KnowsLikelihood):
            before = _random_states(draw=True)
            together = policy.greedy(chats)
            assert _random_states() == before, "greedy changed global random numbers"
            assert policy.greedy([]) == [], "no chats must give no completions"
            texts = [[likely.text] for likely in together]
            assert texts == policy.generate(chats, 0), "greedy writes something else than generate for n = 0"
            found = np.array([likely.likelihood for likely in together])
            assert (found <= 0).all(), f"a log-probability is at most 0, got {found.max()}"
            alone = np.array([policy.greedy([chat])[0].likelihood for chat in chats])
            assert np.allclose(found, alone, atol=1e-4), f"one by one: {alone}, in a batch: {found}"

    def test_what_it_looks_at_is_declared(self) -> None:
        """`sees` and `prepare` belong together: a policy without both gets chats alone. A `format` is a `Format`."""
        policy = self.build()
        declared = [name for name in ("sees", "prepare") if hasattr(policy, name)]
        assert len(declared) != 1, f"the policy has {declared[0]} alone: access needs both sees and prepare"
        if isinstance(policy, NeedsAccess):
            known = get_args(Visible)
            assert set(policy.sees) <= set(known), f"sees must be some of {known}, got {policy.sees}"
        form = format_of(policy)
        assert form is None or isinstance(form, Format), f"policy.format must be a Format, got {form!r}"

    def _prepared(self) -> tuple[Policy, list[Chat]]:
        """A policy with all that it declares, and chats of different lengths for it."""
        policy, env = self.build(), self.environment()
        prepare(policy, env)
        form = format_of(policy)
        chats = [
            (form or env.format).render(need) for split in ("test", "validation") for need in env.task.needs(split)
        ]
        system: Chat = [{"role": "system", "content": "You know a shop."}, *chats[0]]
        return policy, chats if form else [system, *chats]


def _random_states(*, draw: bool = False) -> tuple[Any, ...]:
    """Of all global generators; after a draw, so that a policy that seeds them is seen whatever seed was last."""
    torch = sys.modules.get("torch")
    if draw:
        random.random()
        np.random.random()
    if draw and torch:
        torch.rand(1)
    _, numbers, *rest = np.random.get_state()
    return random.getstate(), np.asarray(numbers).tolist(), rest, torch.get_rng_state().tolist() if torch else None
