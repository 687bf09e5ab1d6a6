"""Time that recr1 adds to a training step: `python benchmarks/step.py`.

In turns in one run: TRL's bare `GRPOTrainer` with a constant reward function, with its own defaults and with the
options that recr1 sets on a CPU, and the trainer `grpo` of the quickstart (parsing, one search, measures, log,
rollouts, checkpoints). The learning rate is 0, so that all write the same completions, up to the bf16 of the
defaults. Then the share of `Environment.step` in that step, and one large step: 384 rollouts, 100,000 items, k =
1000.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from recr1.config.build import EvaluationSpec, Part, build
from recr1.env import Environment, chat_with, open_environment
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run
from recr1.trainers.grpo import GRPO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help="steps per turn")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    recipe = load_recipe("quickstart", ["trainer.trl.learning_rate=0", f"trainer.steps={args.steps}"])
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    default: list[float] = []
    bare: list[float] = []
    ours: list[float] = []
    shares: list[float] = []
    for turn in range(args.turns):
        default += bare_steps(recipe, env, turn, use_cpu=True)
        bare += bare_steps(recipe, env, turn, use_cpu=True, **ON_A_CPU)
        seconds, inside = _ours(recipe, env, turn)
        ours += seconds
        shares += inside
    first, second, third = (statistics.median(times) for times in (default, bare, ours))
    print(f"quickstart's model and batch, {len(bare)} steps each, in turns; median seconds a step")
    print(f"  bare GRPOTrainer, TRL's defaults    {first:.4f}")
    print(f"  bare GRPOTrainer, recr1's options   {second:.4f}   {first / second:.2f} times as fast")
    print(
        f"  recr1 grpo                          {third:.4f}   {first / third:.2f} times as fast, "
        f"overhead over the line above {third / second - 1:+.1%}"
    )
    print(f"  Environment.step, share of a step   {statistics.median(shares):.2%}")
    print(f"384 rollouts, 100,000 items, k=1000: {_large():.3f} s for Environment.step (best of 5, index warm)")


ON_A_CPU = {"bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
"""What recr1 sets where there is no GPU."""


def bare_steps(recipe: Recipe, env: Environment, seed: int, **options: Any) -> list[float]:
    """Seconds between the ends of steps of TRL's own trainer, with its own defaults but for these options."""
    import transformers
    import trl

    from recr1.trainers.trl.reward import training_data

    assert recipe.trainer is not None
    transformers.set_seed(seed)
    learner = build("policy", recipe.policy)
    ends: list[float] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.GRPOConfig(
            **{**recipe.trainer.options["trl"], "save_strategy": "no", **options},
            output_dir=folder,
            max_steps=recipe.trainer.options["steps"],
            max_completion_length=learner.max_new_tokens,
            seed=seed,
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
        )
        trainer = trl.GRPOTrainer(
            model=learner.model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=arguments,
            train_dataset=training_data(env),
            processing_class=learner.tokenizer,
            callbacks=[Clock()],
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()
    return [after - before for before, after in pairwise(ends[1:])]


def _ours(recipe: Recipe, env: Environment, seed: int) -> tuple[list[float], list[float]]:
    """The same from the log of a run, and the share of the environment in each step."""
    assert recipe.trainer is not None
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", recipe.to_dict(), {})
        trainer: GRPO = build("trainer", recipe.trainer)
        spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=10**6, needs=1)
        trainer.train(recipe.policy, env, run, seed=seed, evaluation=spec)
        lines = [line for line in run.read_metrics() if "train/reward" in line]
    seconds = [after["time"] - before["time"] for before, after in pairwise(lines[1:])]
    return seconds, [line["train/time/environment"] / line["train/time/step"] for line in lines[2:]]


def _large() -> float:
    rewards = [(Part("measure", {"measure": "nDCG@1000"}), 1.0), (Part("format"), 0.1)]
    task = Part("shop", {"items": 100_000, "train": 384, "validation": 10, "test": 10})
    env = open_environment(task, Part("bm25"), rewards, 1000)
    needs = env.task.needs("train")
    chats = [chat_with(prompt, need.text) for prompt, need in zip(env.prompts(needs), needs, strict=True)]
    times = []
    for _ in range(6):
        start = time.perf_counter()
        env.step(needs, chats)
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()
