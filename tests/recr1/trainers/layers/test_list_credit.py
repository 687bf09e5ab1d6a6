"""Credit by place: numbers by hand, the gradient of the whole reward by finite differences, and what TRL is given."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.env import chat_with, open_environment
from recr1.errors import UserError
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.grpo import GRPO, group_advantages
from recr1.trainers.layers.dynamic_sampling import DynamicSampling
from recr1.trainers.layers.list_credit import ListCredit, credits_of, places_of, rewards_of_prefixes
from recr1.trainers.sft import SFT
from recr1.trainers.trl.additions import Addition
from rewards.guards.form import FormatReward
from rewards.measures.reward import MeasureReward
from tests.recr1.env.test_candidates import make, run
from tests.recr1.trainers.launch.test_ranks import LAUNCH, curve, lines, trained
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


def advantages_by_hand(env, tokenizer, need_ids, generated, credit, scale="group"):
    """For each completion, in groups of four, the advantage of each of its tokens."""
    needs = list(map(env.need, need_ids))
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in generated]
    chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(needs), texts, strict=True)]
    step = env.step(needs, chats)
    most = max(len(need.candidates) for need in needs)
    paid = torch.tensor(credits_of(step.rewards, rewards_of_prefixes(env, step.batch, most), credit))
    by_place = [group_advantages(column.float(), 4, scale) for column in paid.T]
    rows = []
    for row, (need, text, ids) in enumerate(zip(needs, texts, generated, strict=True)):
        ends, before = env.format.ends(need, text), range(len(ids))
        starts = [len(tokenizer.decode(ids[:token], skip_special_tokens=True)) for token in before]
        rows.append([float(by_place[sum(end <= start for end in ends)][row]) for start in starts])
    return rows


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
        needs, generated = [row["need_id"] for row in own._rows], self.generated.tolist()
        advantages = advantages_by_hand(env, self.trainer.processing_class, needs, generated, own.credit)
        told = {}
        for ids, row in zip(generated, advantages, strict=True):
            told.setdefault(tuple(ids), []).append(row)
        for ids, row in zip(batch["completion_ids"].tolist(), batch["advantages"].tolist(), strict=True):
            assert any(np.allclose(row, one, atol=1e-5) for one in told[tuple(ids)])
        return sum(len(set(row)) > 1 for row in advantages)

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


class Kept(Addition):
    """Writes what each process trains on."""

    def after_scoring(self, batch, rewards_B):
        trainer = self.trainer
        path = Path(trainer.args.output_dir).parent / f"kept-{trainer.accelerator.process_index}.jsonl"
        ids, there = batch["completion_ids"].tolist(), batch["completion_mask"].sum(1).tolist()
        needs = [row["need_id"] for row in added(trainer, ListCredit)._rows]
        with path.open("a") as file:
            for row in zip(needs, ids, there, batch["advantages"].tolist(), strict=True):
                file.write(json.dumps(row) + "\n")


class Lists(Addition):
    """Writes orders of four numbers, drawn for each step and place in the batch, instead of what the model samples.

    With dynamic sampling the second group of a batch is four times the same, so that it is replaced.
    """

    def token_generator(self, model, generate):
        def written(*, input_ids, **_):
            trainer, tokenizer = self.trainer, self.trainer.processing_class
            sampled = any(isinstance(one, DynamicSampling) for one in trainer.additions)
            first, rows = trainer.accelerator.process_index * len(input_ids), []
            for place in range(first, first + len(input_ids)):
                drawn = 4 if sampled and place // 4 == 1 else place
                order = np.random.default_rng([trainer.state.global_step, drawn]).permutation(4) + 1
                ids = tokenizer(" > ".join(map(str, order)), add_special_tokens=False)["input_ids"]
                rows.append(torch.tensor([*ids, tokenizer.eos_token_id]))
            padding = tokenizer.pad_token_id
            return torch.cat([input_ids, torch.nn.utils.rnn.pad_sequence(rows, True, padding)], 1)

        return written


class KeptGRPO(GRPO):
    """GRPO that writes the same on one and two processes, and leaves what it trained on."""

    def _additions(self, learner, monitor):
        return [*super()._additions(learner, monitor), Lists(), Kept()]


RANKS = """
seed: 11
task: {{type: reranking, task: {{type: toy}}, count: 4, words: 2,
  format: {{type: ranking, prompt: "{{need}} {{candidates}}", mend: true}}}}
retriever: {{type: bm25}}
k: 4
rewards: [{{type: measure, measure: nDCG@4}}]
policy: {{type: transformers, model: {model}, max_new_tokens: 16}}
trainer:
  type: "tests.recr1.trainers.layers.test_list_credit:KeptGRPO"
  steps: 3
  list_credit: {credit}
  dynamic_sampling: {rounds}
  trl: {{num_generations: 4, per_device_train_batch_size: {batch}, learning_rate: 1.0e-2, scale_rewards: {scale}}}
evaluate: {{split: validation, measures: [nDCG@4], every: 100, keep: last}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("credit", "scale", "rounds"),
    [("to_go", "group", 0), ("own", "batch", 0), ("to_go", "batch", 3)],
    ids=["the rest of the list", "the place alone, scaled by the batch", "dynamic sampling"],
)
def test_two_processes_give_places_the_advantages_of_one(tmp_path, random_model, credit, scale, rounds):
    """Six rows a process, of groups of four: two rows of the second group are on each. Needs have 2 to 4 candidates."""
    from transformers import AutoTokenizer

    kept, runs = {}, {}
    for name, launch, batch in (("one", [], 12), ("two", LAUNCH, 6)):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(RANKS.format(model=random_model, credit=credit, scale=scale, rounds=rounds, batch=batch))
        runs[name] = trained(launch, recipe, tmp_path / name)
        parts = [lines(path) for path in sorted(runs[name].glob("kept-*.jsonl"))]
        assert [len(part) for part in parts] == [3 * batch] * (12 // batch)
        kept[name] = [row for step in range(3) for part in parts for row in part[step * batch :][:batch]]
    opened = load_recipe(recipe)
    env = open_environment(opened.task, opened.retriever, opened.rewards, opened.k)
    tokenizer, uneven = AutoTokenizer.from_pretrained(random_model), 0
    for rows in kept.values():
        for step in range(3):
            needs, ids, there, advantages = zip(*rows[12 * step :][:12], strict=True)
            assert needs[::4] == needs[1::4] == needs[2::4] == needs[3::4] and len(set(needs)) == 3
            cut = [one[:length] for one, length in zip(ids, there, strict=True)]
            by_hand = advantages_by_hand(env, tokenizer, needs, cut, credit, scale)
            for length, one, row in zip(there, advantages, by_hand, strict=True):
                assert one[:length] == pytest.approx(row, abs=1e-5)
                uneven += len(set(row)) > 1
    assert uneven > 20
    if not rounds:
        first, second = ([len(env.need(row[0]).candidates) for row in kept["two"][start:][:6]] for start in (0, 6))
        assert max(first) == 2 and max(second) == 4
    assert [row[0] for row in kept["one"]] == [row[0] for row in kept["two"]]
    for name in ("reward", "loss", "grad_norm"):
        one, two = (curve(run, f"train/{name}") for run in runs.values())
        assert len(one) == 3 and two == pytest.approx(one, rel=2e-3, abs=1e-5), name
    if rounds:
        assert curve(runs["two"], "train/dynamic_sampling/replaced") == pytest.approx([1 / 3] * 3)


def test_it_is_for_lists_alone(tmp_path, random_model):
    env = open_environment(Part("toy"), Part("bm25"), [(Part("measure", {"measure": "nDCG@3"}), 1.0)], 3)
    policy = Part("transformers", {"model": str(random_model)})
    with pytest.raises(UserError, match=r"trainer.list_credit: is for lists, as of the format ranking, and .* Plain"):
        run = Run.create(tmp_path / "run", {"seed": 0}, {})
        GRPO(steps=1, trl=TRL, list_credit="own").train(policy, env, run, seed=0, evaluation=ONCE)
    problems = GRPO.check_options({"list_credit": "own", "trl": {"multi_objective_aggregation": "normalize_then_sum"}})
    assert problems == ["trl.multi_objective_aggregation: not with list_credit, which makes its own advantages"]
