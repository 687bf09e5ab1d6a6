"""Members of a group that read different prompts of one need: each is parsed and paid as its own prompt says."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.errors import RecipeError
from recr1.recipe import load_recipe
from recr1.runs import Run


class Different:
    """Pays how many different prompts a group has, and how many of its members name no person, as shares."""

    name = "different"
    needs_groups = True

    def __call__(self, batch):
        groups = {}
        for rollout in batch.rollouts:
            groups.setdefault(rollout.need.id, []).append(rollout)
            # The prompt is that of the variant, which is what the answer was parsed with.
            assert rollout.need.text in rollout.chat[-2]["content"]
            lines = [f"{n}. {one.text}" for n, one in enumerate(rollout.need.candidates, 1)]
            assert "\n".join(lines) in rollout.chat[-2]["content"]
        different = {
            need: len({(r.need.text, r.need.candidates) for r in of}) / len(of) + sum(not r.need.person for r in of)
            for need, of in groups.items()
        }
        return np.array([different[rollout.need.id] for rollout in batch.rollouts], np.float32)


@pytest.mark.slow
def test_each_member_of_a_group_reads_a_variant_of_its_need(tmp_path):
    own = "rewards=[{type: measure, measure: nDCG@3}, {type: disagreement}, {type: by_person, cutoff: 3}, "
    own += "{type: 'tests.recr1.trainers.layers.test_variants:Different', weight: 0}]"
    trl = "{num_generations: 8, per_device_train_batch_size: 16, learning_rate: 1.0e-4}"
    trainer = f"trainer={{type: grpo, steps: 2, own_order: true, own_word: {{age: [young, old]}}, trl: {trl}}}"
    overrides = [own, trainer, "task.task.train=40", "task.task.items=300", "evaluate.needs=4"]
    assert run(["train", "rerank", *overrides, "--out", str(tmp_path / "run")]) == 0
    lines = [line for line in Run.open(tmp_path / "run").read_metrics() if "train/reward/different" in line]
    # Four of eight members have no word; of 3! orders and 3 sentences at least half of eight differ, nearly surely.
    assert len(lines) == 2 and all(4.5 <= line["train/reward/different"] <= 5 for line in lines)


def test_what_reads_one_prompt_for_a_group_is_refused():
    for other in ("list_credit: to_go", "dynamic_sampling: 2"):
        trainer = f"trainer={{type: grpo, steps: 2, own_order: true, {other}, trl: {{num_generations: 8}}}}"
        with pytest.raises(RecipeError, match=rf"own_order: does not go with {other.partition(':')[0]}"):
            load_recipe("rerank", [trainer])
