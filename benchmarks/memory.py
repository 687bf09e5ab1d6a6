"""How close `recr1 check --memory` is on a CPU: `python benchmarks/memory.py`.

Two training steps of random models, each in a process of its own. The peak is that of the process's resident memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "30M": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1024},
    "30M, 100,000 words": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 704,
        "vocab_size": 100_000,
    },
    "120M": {"hidden_size": 768, "num_hidden_layers": 14, "num_attention_heads": 12, "intermediate_size": 3072},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "8 x 12": {},
    "32 x 64": {"rows": 32, "new": 64},
    "32 x 64, recomputed": {"rows": 32, "new": 64, "gradient_checkpointing": True},
    "64 x 64 in 4 parts": {"rows": 16, "new": 64, "gradient_accumulation_steps": 4},
    "reference": {"rows": 16, "new": 32, "beta": 0.1},
    "old log-probabilities": {"rows": 16, "new": 32, "num_iterations": 2, "steps_per_generation": 2},
    "bf16": {"rows": 32, "new": 64, "bf16": True},
    "bf16, recomputed": {"rows": 32, "new": 64, "bf16": True, "gradient_checkpointing": True},
    "LoRA": {"rows": 32, "new": 64, "lora": 16},
    "LoRA, recomputed": {"rows": 32, "new": 64, "lora": 16, "gradient_checkpointing": True},
    "LoRA, all bf16": {"rows": 32, "new": 64, "lora": 16, "bf16": True, "dtype": "bfloat16"},
    "SGD": {"rows": 8, "new": 12, "optim": "sgd"},
    "RLOO": {"rows": 16, "new": 32, "trainer": "rloo"},
    "PPO, head": {"rows": 16, "new": 32, "trainer": "ppo"},
    "PPO, model": {"rows": 16, "new": 32, "trainer": "ppo", "critic": "model"},
    "PPO, a need each": {"rows": 16, "new": 32, "trainer": "ppo", "num_generations": 1},
    "SFT": {"rows": 32, "new": 16, "trainer": "sft"},
}


def recipe_of(model: Path, **said: Any) -> list[str]:
    """The overrides of the quickstart for one setting."""
    setting = {"rows": 8, "new": 12, "lora": 0, "dtype": "auto", "trainer": "grpo", **said}
    rows, new, lora, dtype, kind = (setting.pop(name) for name in ("rows", "new", "lora", "dtype", "trainer"))
    trainer = {"type": kind, "steps": 2}
    if "critic" in setting:
        trainer["critic"] = setting.pop("critic")
    if kind == "sft":
        trainer["pairs"] = {"type": "file", "path": str(model.parent / "pairs.tsv")}
    else:
        setting.setdefault("num_generations", 8)
    trainer["trl"] = {"per_device_train_batch_size": rows, "save_strategy": "no", **setting}
    policy = {"type": "transformers", "model": str(model), "max_new_tokens": new, "lora_rank": lora, "dtype": dtype}
    return [
        "task={type: toy, format: {type: plain, prompt: 'in a few words, say what to search for: {need}'}}",
        f"policy={policy | {'batch_size': 8}}",
        f"trainer={trainer}",
        "evaluate.needs=8",
    ]


def train(folder: str, overrides: list[str]) -> None:
    """Train, and print the peak in bytes."""
    from recr1.cli.main import run

    if run(["train", "quickstart", *overrides, "--out", folder]):
        raise SystemExit("the run failed")
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measured(overrides: list[str]) -> float:
    """The peak of a run in a process of its own, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--train", f"{folder}/run", *overrides]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split("peak")[-1])


def make(folder: Path, tokenizer: Any, sizes: dict[str, int]) -> Path:
    """A random model of the Qwen2 architecture, with the tokenizer of the shop."""
    import torch
    import transformers

    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    shape = {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "tie_word_embeddings": True, **sizes, **ends}
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Print a row for each model and setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), help="of these models")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), help="in these settings")
    parser.add_argument("overrides", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train, args.overrides)
        return
    from recr1.assets.make_tiny_shopper import make_tokenizer
    from recr1.memory import requirements
    from recr1.recipe import load_recipe
    from recr1.tasks.shop.lexicon import load_lexicon
    from recr1.tasks.toy import ToyTask

    tokenizer = make_tokenizer(load_lexicon(), vocabulary=2048)
    print("| model | setting | phase of the peak | estimated GB | measured GB | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.tsv"
        needs = [need.text for need in ToyTask().needs("train")] * 8
        pairs.write_text("need\tquery\n" + "".join(f"{need}\t{' '.join(['lamp'] * 14)}\n" for need in needs))
        for name in args.shapes:
            model = make(Path(folder) / name.replace(", ", "-").replace(" ", "-"), tokenizer, SHAPES[name])
            for setting in args.settings:
                overrides = recipe_of(model, **SETTINGS[setting])
                found = requirements(load_recipe("quickstart", overrides), gpu=False).estimate(0)
                peak = measured(overrides)
                figures = f"{found.peak / 1e9:.2f} | {peak / 1e9:.2f} | {found.peak / peak:.2f}"
                print(f"| {name} | {setting} | {found.phase} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
