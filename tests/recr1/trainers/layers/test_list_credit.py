"""Credit by place: numbers by hand, the gradient of the whole reward by finite differences, and what TRL is given."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import chat_with, open_environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.grpo import GRPO, group_advantages
from recr1.trainers.layers.list_credit import ListCredit, credits_of, places_of, rewards_of_prefixes
from recr1.trainers.sft import SFT
from recr1.trainers.trl.additions import Addition
from rewards.guards.form import FormatReward
from rewards.measures.reward import MeasureReward
from tests.recr1.env.test_candidates import make, run
from tests.recr1.trainers.watched import WatchedGRPO, added

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
LISTS = [" > ".join(map(str, order)) for order in itertools.permutations((1, 2, 3))]
IDEAL = 3 + 1 / math.log2(3)  # n1 shows a pan (0), a red mug (3) and a blue one (1)


def credits(env, texts, credit, need="n1"):
    step = run(env, [need] * len(texts), texts)
    return credits_of(step.rewards, rewards_of_prefixes(env, step.batch, 3), credit)


def test_a_place_is_credited_with_itself_and_the_later_ones_or_with_itself_alone():
    texts = ["2 > 3 > 1", "1 > 2 > 3"]
    one, two = (3 / IDEAL, 1 / math.log2(3) / IDEAL), (3 / math.log2(3) / IDEAL, 1 / 2 / IDEAL)
    np.testing.assert_allclose(
        credits(make(), texts, "to_go"), [[1.0, one[1], 0, 0], [sum(two), sum(two), two[1], 0]], atol=1e-6
    )
    np.testing.assert_allclose(credits(make(), texts, "own"), [[*one, 0, 0], [0, *two, 0]], atol=1e-6)


@pytest.mark.parametrize("credit", ["to_go", "own"])
def test_what_does_not_depend_on_the_order_is_credited_to_every_token(credit):
    env = make(rewards=[(MeasureReward(measure="nDCG@3"), 1.0), (FormatReward(), 0.5)])
    valid, invalid = credits(env, ["2 > 3 > 1", "2 > 3"], credit)
    assert invalid.tolist() == [0, 0, 0, 0]
    assert valid[0] == pytest.approx(1.5 if credit == "to_go" else 0.5 + 3 / IDEAL, abs=1e-6)
    assert valid[-1] == 0.5 and (valid > invalid).all()


def test_the_credit_of_all_places_adds_up_to_the_reward():
    own = credits(make(), LISTS, "own")
    np.testing.assert_allclose(own.sum(axis=1), credits(make(), LISTS, "to_go")[:, 0], atol=1e-6)


def expected(logits, paid):
    """The mean reward of all six lists of a policy that draws one candidate after the other, given the last one."""
    total = 0.0
    for text, reward in zip(LISTS, paid, strict=True):
        left, last, probability = [0, 1, 2], 3, 1.0
        for number in (int(word) - 1 for word in text.split(" > ")):
            weights = np.exp([logits[last, other] for other in left])
            probability *= weights[left.index(number)] / weights.sum()
            left.remove(number)
            last = number
        total += probability * reward
    return total


@pytest.mark.parametrize(("credit", "same"), [("whole", True), ("to_go", True), ("own", False)])
def test_the_gradient_of_the_credits_is_that_of_the_mean_reward_by_finite_differences(credit, same):
    """Exact for the whole list and for the rest of it; the place alone is another objective."""
    env, start = make(), np.random.default_rng(0).normal(size=(4, 3))
    step = run(env, ["n1"] * 6, LISTS)
    paid = step.rewards.astype(np.float64)
    credit_BP = np.repeat(paid[:, None], 4, 1) if credit == "whole" else credits(env, LISTS, credit)
    logits = torch.tensor(start, requires_grad=True)
    surrogate = torch.zeros((), dtype=torch.float64)
    for text, credit_P in zip(LISTS, credit_BP, strict=True):
        left, last, logps = [0, 1, 2], 3, []
        for number in (int(word) - 1 for word in text.split(" > ")):
            logps.append(torch.log_softmax(logits[last, left], 0)[left.index(number)])
            left.remove(number)
            last = number
        probability = torch.stack(logps).sum().exp().detach()
        surrogate = surrogate + probability * sum(c * logp for c, logp in zip(credit_P, logps, strict=False))
    surrogate.backward()
    differences = np.zeros((4, 3))
    for place in np.ndindex(4, 3):
        moved = np.zeros((4, 3))
        moved[place] = 1e-6
        differences[place] = (expected(start + moved, paid) - expected(start - moved, paid)) / 2e-6
    assert np.abs(differences).max() > 0.01
    assert np.allclose(logits.grad.numpy(), differences, atol=1e-8) == same


def test_tokens_belong_to_the_number_that_they_begin_before():
    tokens = ["2", " >", " 1", "0", " >", " 3", "<end>"]

    def decode(ids):
        return "".join(tokens[i] for i in ids if tokens[i] != "<end>")

    assert places_of(decode, range(7), [1, 6, 10]) == [0, 1, 1, 1, 2, 2, 3]  # "2 > 10 > 3"
    assert places_of(decode, range(7), []) == [0] * 7


TASK = {"task": {"type": "toy"}, "candidates": {"type": "bm25"}, "count": 3, "words": 2}
FORMAT = {"type": "ranking", "prompt": "{need} {candidates}", "mend": True}
ONCE = EvaluationSpec(split="validation", measures=("nDCG@3",), every=100, keep="last")
TRL = {"num_generations": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "loss_type": "grpo"}


def environment():
    return open_environment(
        Part("reranking", {**TASK, "format": FORMAT}), Part("bm25"), [(Part("measure", {"measure": "nDCG@3"}), 1.0)], 3
    )


@pytest.fixture(scope="module")
def lister(tmp_path_factory, random_model):
    """A tiny model that has learned to write lists, mostly."""
    run = Run.create(tmp_path_factory.mktemp("lister") / "run", {"seed": 0}, {})
    policy = Part("transformers", {"model": str(random_model), "max_new_tokens": 14})
    pairs = {"type": "listed", "order": "random", "per_need": 8}
    keys = {"per_device_train_batch_size": 16, "learning_rate": 1e-2}
    SFT(steps=60, pairs=pairs, trl=keys).train(policy, environment(), run, seed=0, evaluation=ONCE)
    return run.policy_path


class Checks(Addition):
    """Compares the advantages of a batch with those by hand, and the loss's gradient with finite differences."""

    checked = False

    def around_loss(self, compute, model, batch):
        if self.checked:
            return compute(model, batch)
        self.checked, own = True, added(self.trainer, ListCredit)
        env = self.trainer.reward_funcs[0].env
        assert batch["advantages"].shape == batch["completion_ids"].shape
        self.lists = self.by_hand(env, own, batch)
        model.double()
        with torch.no_grad():
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
            length = batch["completion_ids"].shape[1]
            # Fixed, so that a moved weight moves the ratio.
            batch["old_per_token_logps"] = self.trainer._get_per_token_logps_and_entropies(model, ids, mask, length)[0]
        batch["advantages"] = batch["advantages"].double()
        loss = compute(model, batch)
        loss.backward()
        self.gradients, self.differences = [], []
        for weights in (model.lm_head.weight, model.model.layers[0].self_attn.q_proj.weight):
            place = divmod(int(weights.grad.abs().argmax()), weights.shape[1])
            self.gradients.append(float(weights.grad[place]))
            with torch.no_grad():
                value, moved = float(weights[place]), []
                for sign in (1, -1):
                    weights[place] = value + sign * 1e-3
                    moved.append(float(compute(model, batch)))
                weights[place] = value
            self.differences.append((moved[0] - moved[1]) / 2e-3)
        self.policy_gradient = self.by_policy_gradient(model, batch, ids, mask, length)
        model.zero_grad()
        model.float()
        batch["advantages"] = batch["advantages"].float()
        del batch["old_per_token_logps"]
        return compute(model, batch)

    def by_policy_gradient(self, model, batch, ids, mask, length):
        """The same weights' gradients of - sum of advantage x log-probability, mean over tokens, then completions."""
        model.zero_grad()
        logps = self.trainer._get_per_token_logps_and_entropies(model, ids, mask, length)[0]
        own = batch["completion_mask"]
        (-(logps * batch["advantages"] * own).sum(1) / own.sum(1)).mean().backward()
        grads = (model.lm_head.weight.grad, model.model.layers[0].self_attn.q_proj.weight.grad)
        return [float(grad.flatten()[grad.abs().argmax()]) for grad in grads]

    def by_hand(self, env, own, batch):
        """Every completion of the batch, found again by its text, has the advantages of its places."""
        tokenizer, size, lists = self.trainer.processing_class, 4, 0
        needs = [env.need(row["need_id"]) for row in own._rows]
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in self.generated]
        chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(needs), texts, strict=True)]
        step = env.step(needs, chats)
        found = credits_of(step.rewards, rewards_of_prefixes(env, step.batch, 3), own.credit)
        paid = torch.tensor(found, dtype=torch.float32)
        by_place = [group_advantages(column, size, "group") for column in paid.T]
        told = {}
        for row, (need, text, ids) in enumerate(zip(needs, texts, self.generated, strict=True)):
            ends, at = env.format.ends(need, text), []
            for token in range(len(ids)):
                before = len(tokenizer.decode(ids[:token], skip_special_tokens=True))
                at.append(float(by_place[sum(end <= before for end in ends)][row]))
            told.setdefault(tuple(ids.tolist()), []).append(at)
            lists += len(ends) > 1
        for ids, advantages in zip(batch["completion_ids"].tolist(), batch["advantages"].tolist(), strict=True):
            assert any(np.allclose(advantages, one, atol=1e-5) for one in told[tuple(ids)])
        return lists

    def after_scoring(self, batch, rewards_B):
        self.generated = batch["completion_ids"].clone()


@pytest.mark.parametrize("credit", ["to_go", "own"])
def test_trl_trains_on_them_and_its_gradient_equals_finite_differences(tmp_path, lister, credit):
    made, checks = WatchedGRPO(steps=2, trl=TRL, list_credit=credit), Checks()
    made.watching.append(checks)
    run = Run.create(tmp_path / "run", {"seed": 3}, {})
    policy = Part("transformers", {"model": str(lister), "max_new_tokens": 14})
    made.train(policy, environment(), run, seed=3, evaluation=ONCE)
    assert checks.checked and checks.lists > 4
    assert max(map(abs, checks.gradients)) > 1e-4
    np.testing.assert_allclose(checks.differences, checks.gradients, rtol=2e-3)
    np.testing.assert_allclose(checks.policy_gradient, checks.gradients, rtol=1e-6)
    assert [line["train/reward"] for line in run.read_metrics() if "train/reward" in line]


def test_it_is_for_lists_alone(tmp_path, random_model):
    env = open_environment(Part("toy"), Part("bm25"), [(Part("measure", {"measure": "nDCG@3"}), 1.0)], 3)
    policy = Part("transformers", {"model": str(random_model)})
    with pytest.raises(UserError, match=r"trainer.list_credit: is for lists, as of the format ranking, and .* Plain"):
        run = Run.create(tmp_path / "run", {"seed": 0}, {})
        GRPO(steps=1, trl=TRL, list_credit="own").train(policy, env, run, seed=0, evaluation=ONCE)
    problems = GRPO.check_options({"list_credit": "own", "trl": {"multi_objective_aggregation": "normalize_then_sum"}})
    assert problems == ["trl.multi_objective_aggregation: not with list_credit, which makes its own advantages"]
