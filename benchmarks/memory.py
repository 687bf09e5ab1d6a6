"""How near `recr1 check --memory` is, for two GRPO steps on a CPU: `python benchmarks/memory.py`.

Random models of about 1 and 100 million parameters, each in a process of its own; the peak is that of its resident set.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPES = {"tiny": (128, 3, 4, 320), "100M": (768, 12, 12, 2560)}
SETTINGS = {
    "8 x 12 tokens": {"rows": 8, "new": 12},
    "32 x 64 tokens": {"rows": 32, "new": 64},
    "reference": {"rows": 8, "new": 12, "beta": 0.1},
    "LoRA": {"rows": 8, "new": 12, "lora": 16},
    "recomputed": {"rows": 32, "new": 64, "recompute": True},
}


def recipe_of(
    model: Path, *, rows: int, new: int, beta: float = 0.0, lora: int = 0, recompute: bool = False
) -> list[str]:
    """The overrides of the quickstart for one setting."""
    return [
        "task={type: toy, format: {type: plain, prompt: '{need}'}}",
        f"policy={{type: transformers, model: {model}, max_new_tokens: {new}, lora_rank: {lora}, batch_size: 8}}",
        "trainer={type: grpo, steps: 2, trl: {num_generations: 8, "
        f"per_device_train_batch_size: {rows}, beta: {beta}, "
        f"gradient_checkpointing: {str(recompute).lower()}, save_strategy: 'no'}}}}",
        "evaluate.needs=1",
    ]


def train(folder: str, overrides: list[str]) -> None:
    """Train, and print the peak in bytes."""
    from recr1.cli import run

    if run(["train", "quickstart", *overrides, "--out", folder]):
        raise SystemExit("the run failed")
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measured(overrides: list[str]) -> float:
    """The peak of a run in a process of its own, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--train", f"{folder}/run", *overrides]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return float(done.stdout.split("peak")[-1])


def main() -> None:
    """Print a line for each model and setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train, args.overrides)
        return
    import torch

    from recr1.assets.make_tiny_shopper import make_model, make_tokenizer
    from recr1.commands.memory import needed
    from recr1.recipe import load_recipe
    from recr1.tasks.shop.lexicon import load_lexicon

    tokenizer = make_tokenizer(load_lexicon(), vocabulary=2048)
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, layers, heads, inner) in SHAPES.items():
            torch.manual_seed(0)
            model = Path(folder) / name
            made = make_model(tokenizer, width=width, layers=layers, heads=heads, inner=inner)
            made.save_pretrained(model)
            tokenizer.save_pretrained(model)
            del made
            for setting, values in SETTINGS.items():
                overrides = recipe_of(model, **values)
                estimated = needed(load_recipe("quickstart", overrides), gpu=False)["peak"]
                peak = measured(overrides)
                print(
                    f"{name:>5} {setting:>15}: estimated {estimated / 1e9:.2f} GB, measured {peak / 1e9:.2f} GB, "
                    f"ratio {estimated / peak:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
