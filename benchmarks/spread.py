"""What GRPO would have to learn from at the start: `python benchmarks/spread.py RECIPE policy.model=RUN/policy`.

Sixteen completions of each of 150 training needs, at several temperatures. A group is flat when all its rewards are
equal: GRPO and RLOO learn nothing from it. Printed for groups of 4, 8 and 16, for nDCG@10, and for rewards that tell
more rankings apart: nDCG@10 with a tenth of nDCG@100, and with a tenth of the reciprocal rank. "best" is the mean of
the best of 16; "up, down" the shares of completions that earn more and less than their raw need.
"""

from __future__ import annotations

import argparse

import numpy as np

from recr1.config.build import Part, build
from recr1.env import chat_with, open_environment
from recr1.env.step import copies_share
from recr1.recipe import load_recipe

SAMPLES = 16
PARTS = {"nDCG@10": (1, 0, 0), "+ 0.1 nDCG@100": (1, 0.1, 0), "+ 0.1 RR@100": (1, 0, 0.1)}
SIZES = (4, 8, 16)


def flat_shares(rewards_NS: np.ndarray, sizes: tuple[int, ...]) -> str:
    """The shares of flat groups of each size; groups are cut from the samples of a need."""
    shares = []
    for size in sizes:
        groups = rewards_NS.reshape(-1, size)
        shares.append(f"{np.mean(np.ptp(groups, axis=1) < 1e-6):.0%}")
    return ", ".join(shares)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--needs", type=int, default=150)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.7, 1.0, 1.2, 1.5])
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, args.overrides)
    rewards = [*(Part("measure", {"measure": name}) for name in ("nDCG@10", "nDCG@100", "RR@100"))]
    rewards.append(Part("gain", {"measure": "nDCG@10"}))
    env = open_environment(recipe.task, recipe.retriever, [(part, 1.0) for part in rewards], 100)
    every = list(env.task.needs("train"))
    needs = [every[place] for place in np.random.default_rng(0).permutation(len(every))[: args.needs]]
    prompts = env.prompts(needs)
    columns = (
        "temperature",
        "nDCG@10",
        "best",
        "up, down",
        "copies",
        "different",
        *(f"flat, {name}" for name in PARTS),
    )
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for temperature in args.temperatures:
        policy = build("policy", Part(recipe.policy.type, {**recipe.policy.options, "temperature": temperature}))
        written = policy.generate(prompts, SAMPLES)
        chats = [chat_with(prompt, text) for prompt, texts in zip(prompts, written, strict=True) for text in texts]
        step = env.step([need for need in needs for _ in range(SAMPLES)], chats)
        *measured, gains_NS = (values.reshape(-1, SAMPLES) for values in step.parts.values())
        actions = [(rollout.need, rollout.action) for rollout in step.batch.rollouts]
        different = np.mean([len(set(texts)) for texts in written])
        flat = [
            flat_shares(sum(weight * part for weight, part in zip(weights, measured, strict=True)), SIZES)
            for weights in PARTS.values()
        ]
        cells = (
            temperature,
            f"{measured[0].mean():.3f}",
            f"{measured[0].max(1).mean():.3f}",
            f"{np.mean(gains_NS > 0):.0%}, {np.mean(gains_NS < 0):.0%}",
            f"{copies_share(actions):.0%}",
            f"{different:.1f}",
            *flat,
        )
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
