"""Steps of real model sizes on a GPU: `python benchmarks/gpu.py`. Needs one; prints a table for docs/log.md.

Random weights in the shapes of published models, so that nothing is downloaded. No completion ends by itself: a step
costs what its longest completions would. Each line is a process of its own: seconds of a step and tokens a second of
`grpo`, the same for the bare `GRPOTrainer` of TRL with the same batch, and the peak of memory beside its estimate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "135M": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152,
    },
    "0.5B": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151936,
    },
    "1.5B": {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936,
    },
}  # fmt: skip
"""SmolLM2-135M, Qwen2.5-0.5B and Qwen2.5-1.5B."""
SETTINGS: dict[str, dict[str, Any]] = {
    "135M, all weights": {"shape": "135M", "rows": 128},
    "0.5B, all weights": {"shape": "0.5B", "rows": 64, "accumulate": 2},
    "1.5B, LoRA": {"shape": "1.5B", "rows": 16, "accumulate": 8, "lora": 32},
    "1.5B, all weights": {"shape": "1.5B", "rows": 32, "accumulate": 4},
}
"""Each step takes 16 needs with 8 completions; the last two have the settings of the recipes for GPUs."""
NEW, STEPS = 64, 8
PROMPT = "Write a short search query for a shop that sells furniture, lamps, tools and toys. {need} " * 3


def overrides(model: str, setting: dict[str, Any]) -> list[str]:
    """The quickstart with another model, batch and prompt."""
    trl = {
        "num_generations": 8, "per_device_train_batch_size": setting["rows"], "learning_rate": 0.0,
        "gradient_accumulation_steps": setting.get("accumulate", 1), "save_strategy": "no", "beta": 0.0,
    }  # fmt: skip
    policy = {"type": "transformers", "model": model, "max_new_tokens": NEW, "lora_rank": setting.get("lora", 0)}
    return [
        f"task={json.dumps({'type': 'shop', 'format': {'type': 'plain', 'prompt': PROMPT}})}",
        f"policy={json.dumps(policy)}",
        f"trainer={json.dumps({'type': 'grpo', 'steps': STEPS, 'trl': trl})}",
        "evaluate.needs=8",
        "evaluate.every=1000000",
    ]


def one(model: str, setting: dict[str, Any], *, bare: bool) -> dict[str, Any]:
    """Seconds and tokens of a step, and the peak in bytes, of this process."""
    import torch
    from step import bare_steps

    from recr1.config.build import EvaluationSpec, build
    from recr1.env import open_environment
    from recr1.recipe import load_recipe
    from recr1.runs import Run

    recipe = load_recipe("quickstart", overrides(model, setting))
    assert recipe.trainer is not None
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    if bare:
        return {"step": statistics.median(bare_steps(recipe, env, 0)), "peak": torch.cuda.max_memory_allocated()}
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", recipe.to_dict(), {})
        spec = EvaluationSpec(measures=("nDCG@10",), every=10**6, needs=8, keep="last")
        torch.cuda.reset_peak_memory_stats()
        build("trainer", recipe.trainer).train(recipe.policy, env, run, seed=0, evaluation=spec)
        lines = [line for line in run.read_metrics() if "train/reward" in line][2:]
    names = ("train/time/step", "train/time/share/generation", "train/time/share/update", "train/completions/tokens")
    found = {name.rpartition("/")[2]: statistics.median(line[name] for line in lines) for name in names}
    return {**found, "peak": torch.cuda.max_memory_allocated()}


def make(folder: Path, shape: dict[str, int]) -> Path:
    """A random Qwen2 of a shape, with the tokenizer of the shop; weights in bf16 to save disk."""
    import torch
    import transformers

    from recr1.assets.make_tiny_shopper import make_tokenizer
    from recr1.tasks.shop.lexicon import load_lexicon

    tokenizer = make_tokenizer(load_lexicon(), vocabulary=2048)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape, tie_word_embeddings=True, **ends))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def estimated(model: str, setting: dict[str, Any]) -> float:
    """The peak in bytes by the estimate of `recr1 check --memory`."""
    from recr1.memory import requirements
    from recr1.recipe import load_recipe

    return float(requirements(load_recipe("quickstart", overrides(model, setting)), gpu=True).estimate(0).peak)


def main() -> None:
    """Print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        model, name, kind = args.one
        print("found", json.dumps(one(model, SETTINGS[name], bare=kind == "bare")))
        return
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("needs a CUDA device; none is visible to torch")
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; 16 needs x 8 completions of {NEW} tokens a step\n"
    )
    print("| model | step, s | tokens/s | generation | bare TRL, s | ratio | peak GB | bare TRL | estimated | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.settings:
            shape = SETTINGS[name]["shape"]
            model = Path(folder) / shape
            if not model.exists():
                make(model, SHAPES[shape])
                torch.cuda.empty_cache()
            found = {}
            for kind in ("ours", "bare"):
                command = [sys.executable, __file__, "--one", str(model), name, kind]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(f"{name}, {kind}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
                found[kind] = json.loads(done.stdout.rpartition("found")[2])
            ours, bare, guess = found["ours"], found["bare"], estimated(str(model), SETTINGS[name])
            speed = 128 * ours["tokens"] / ours["step"]
            print(
                f"| {name} | {ours['step']:.2f} | {speed:,.0f} | {ours['generation']:.0%} | {bare['step']:.2f} | "
                f"{bare['step'] / ours['step']:.2f} | {ours['peak'] / 1e9:.1f} | {bare['peak'] / 1e9:.1f} | "
                f"{guess / 1e9:.1f} | {guess / ours['peak']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
