"""Trains with dynamic sampling under `accelerate launch`, and leaves what each rank sampled and kept: MODEL FOLDER."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from recr1.config.build import Part
from recr1.runs import Run
from recr1.trainers.grpo import GRPO
from recr1.trainers.layers.dynamic_sampling import DynamicSampling
from tests.recr1.trainers.layers.test_dynamic_sampling import VALIDATION, environment

KEPT = []


class Recording(DynamicSampling):
    """Records each batch after its last round: this process's needs and texts, and all rewards."""

    def before_scoring(self, rows):
        rows = super().before_scoring(rows)
        batch = self._ready
        texts = [completion[0]["content"] for completion in batch.generated[3]]
        needs = [row["need_id"] for row in batch.inputs]
        KEPT.append({"needs": needs, "texts": texts, "rewards": batch.rewards[:, 0].tolist()})
        return rows


class Recorded(GRPO):
    """GRPO whose batches are recorded."""

    def _algorithm(self, learner, curriculum):
        sampling, *others = super()._algorithm(learner, curriculum)
        return [Recording(sampling.rounds, sampling.tolerance, curriculum), *others]


def main(model: str, folder: Path) -> None:
    rank = os.environ["RANK"]
    env = environment()
    sampled, step = [], env.step

    def watched(needs, chats, **more):
        sampled.append([need.id for need in needs])
        return step(needs, chats, **more)

    env.step = watched
    run = Run.create(folder / "run", {}, {}) if rank == "0" else Run(folder / "run", writer=False)
    trl = {"num_generations": 4, "per_device_train_batch_size": 6, "learning_rate": 1e-2}
    part = Part("transformers", {"model": model, "max_new_tokens": 12})
    Recorded(steps=3, trl=trl, dynamic_sampling=3).train(part, env, run, seed=3, evaluation=VALIDATION)
    (folder / f"{rank}.json").write_text(json.dumps({"sampled": sampled, "kept": KEPT}))
    run.finish("finished")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
