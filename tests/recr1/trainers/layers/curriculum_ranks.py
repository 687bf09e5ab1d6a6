"""Trains with a curriculum under `accelerate launch`, and leaves what each rank knew and drew: TRAINER MODEL FOLDER."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from recr1.config.build import Part
from recr1.runs import Run
from recr1.trainers.layers.curriculum import DrawnNeeds
from tests.recr1.trainers.layers.test_curriculum import VALIDATION, environment
from tests.recr1.trainers.watched import WatchedGRPO, WatchedPPO, added


def main(trainer_class: type, model: str, folder: Path) -> None:
    rank = os.environ["RANK"]
    env = environment()
    drawn, step = [], env.step

    def watched(needs, chats, **more):
        drawn.append([need.id for need in needs])
        return step(needs, chats, **more)

    run = Run.create(folder / "run", {}, {}) if rank == "0" else Run(folder / "run", writer=False)
    trl = {"num_generations": 4, "per_device_train_batch_size": 6, "learning_rate": 1e-2, "num_iterations": 1}
    trainer = trainer_class(steps=5, trl=trl, curriculum="learnability")
    env.step = watched
    part = Part("transformers", {"model": model, "max_new_tokens": 6})
    trainer.train(part, env, run, seed=3, evaluation=VALIDATION)
    known = added(trainer.loop.trainer, DrawnNeeds).known.state()
    (folder / f"{rank}.json").write_text(json.dumps({"known": known, "drawn": drawn}))
    run.finish("finished")


if __name__ == "__main__":
    main({"grpo": WatchedGRPO, "ppo": WatchedPPO}[sys.argv[1]], sys.argv[2], Path(sys.argv[3]))
