"""A GRPO step of a real model on a CPU, beside bare TRL: `python benchmarks/real_model.py`.

SmolLM2-135M, 8 needs x 8 completions of 12 tokens, prompts of 50 to 61, float32 weights, AdamW. Each way runs in a
process of its own, in turns, with the same needs, seed and rewards: bare TRL in float32 and with bf16, recr1 in
float32 and with `policy.compute: bfloat16`. Then log-probabilities of one batch in each way, and the time of a
validation. Seconds are of the CPU, which a busy machine changes less; wall seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

WAYS = ("TRL", "TRL, bf16", "recr1", "recr1, bfloat16")
NEW = 12
TRL = {
    "num_generations": 8,
    "per_device_train_batch_size": 64,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "save_strategy": "no",
}
TASK = {"items": 2000, "train": 512, "validation": 500, "test": 10}
FORMAT = {"type": "plain", "prompt": "Product search query for: {need}"}


def opened() -> Any:
    """The shop, with a reward that differs between completions of a model that was not trained."""
    from recr1.config.build import Part
    from recr1.env import open_environment

    rewards = [(Part("measure", {"measure": "nDCG@10"}), 1.0), (Part("length", {"budget": 3}), 1.0)]
    return open_environment(Part("shop", {**TASK, "format": FORMAT}), Part("bm25"), rewards, 10)


def policy_of(way: str) -> Any:
    from recr1.config.build import Part

    compute = "bfloat16" if way == "recr1, bfloat16" else "float32"
    return Part("transformers", {"model": "smollm2", "max_new_tokens": NEW, "compute": compute})


def steps(way: str, count: int) -> dict[str, Any]:
    """Seconds of each step, the peak of the process and what TRL logged of its steps."""
    import transformers

    ends: list[tuple[float, float]] = []
    logs: list[dict[str, float]] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            ends[:] = ends or [(time.perf_counter(), time.process_time())]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append((time.perf_counter(), time.process_time()))

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            kept.append(logs)

    kept = logs
    with tempfile.TemporaryDirectory() as folder:
        train(way, count, folder, Clock())
    walls, cpus = ([after[place] - before[place] for before, after in pairwise(ends)] for place in (0, 1))
    names = ("loss", "grad_norm", "entropy", "completions/mean_length")
    numbers = [{name: line[name] for name in names} for line in logs if "grad_norm" in line]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"wall": walls, "cpu": cpus, "peak": peak, "logs": numbers}


def train(way: str, count: int, folder: str, clock: Any) -> None:
    """Train a few steps, with the callback."""
    import transformers
    import trl

    from recr1.config.build import EvaluationSpec, Part, build
    from recr1.env import chat_with
    from recr1.policies import transformers as policies
    from recr1.runs import Run
    from recr1.trainers.trl import classes
    from recr1.trainers.trl.reward import training_data

    env = opened()
    if way.startswith("recr1"):
        own = classes.GRPOTrainer.__init__

        def with_clock(self: Any, **given: Any) -> None:
            own(self, **{**given, "callbacks": [*given["callbacks"], clock]})

        classes.GRPOTrainer.__init__ = with_clock
        spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=10**6, needs=1, keep="last")
        trainer = build("trainer", Part("grpo", {"steps": count, "trl": TRL}))
        trainer.train(policy_of(way), env, Run.create(Path(folder) / "run", {}, {}), seed=0, evaluation=spec)
        return

    def reward(prompts: Any, completions: Any, need_id: Any, **_: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        chats = [chat_with(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        return [float(value) for value in env.step([env.need(name) for name in need_id], chats).rewards]

    transformers.set_seed(0)
    policies.keep_freed_memory = lambda: None  # of recr1's, so that this is TRL as users have it
    learner = build("policy", policy_of(way))
    on_cpu = {"use_cpu": True, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    config = {
        **TRL,
        **on_cpu,
        "bf16": way == "TRL, bf16",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    args = trl.GRPOConfig(**config, output_dir=folder, max_steps=count, max_completion_length=NEW, seed=0)
    data, tokenizer = training_data(env), learner.tokenizer
    bare = trl.GRPOTrainer(learner.model, reward, args, data, processing_class=tokenizer, callbacks=[clock])
    bare.train()


def log_probabilities(_: str, __: int) -> dict[str, Any]:
    """How far log-probabilities of one batch are from those of TRL's pass in float32: mean and largest difference."""
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from recr1.config.build import build
    from recr1.policies.prompts import prompt_tensors
    from recr1.trainers.layers.head import score_trained_tokens
    from recr1.trainers.layers.shared_prompts import generate_from_shared, pack

    env, learner = opened(), build("policy", policy_of("recr1, bfloat16"))
    model = learner.model
    ids, mask = prompt_tensors(learner.tokenizer, env.prompts(env.task.needs("train")[:8]), "cpu")
    ids, mask = ids.repeat_interleave(8, 0), mask.repeat_interleave(8, 0)
    config = model.generation_config
    config.update(max_new_tokens=NEW, do_sample=True, top_k=0, top_p=1.0)
    torch.manual_seed(0)
    with torch.no_grad():
        whole = generate_from_shared(
            model, model.generate, input_ids=ids, attention_mask=mask, generation_config=config
        )
        new = whole.shape[1] - ids.shape[1]
        there = torch.cat([mask, (whole[:, -new:] != config.pad_token_id).long()], 1)
        labels = whole.masked_fill(there == 0, -100)
        labels[:, :-new] = -100
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        rows = {"input_ids": whole, "attention_mask": there}
        exact = model(**rows, labels=labels, fused_lm_head=True).log_probs[:, -new:]
        copied = learner.in_bfloat16.current() if learner.in_bfloat16 else model
        of_copy = copied(**rows).logits[:, -new - 1 : -1].float().log_softmax(-1)
        found = {"the copy that samples": of_copy.gather(-1, whole[:, -new:, None])[..., 0]}
        score_trained_tokens(model)
        packed = pack(whole, there, new)
        places = packed.rows[:, None], packed.starts[:, None] - 1 + torch.arange(new)
        for name, half in (("recr1", False), ("recr1, bfloat16", True)):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = model(**dict(list(packed._asdict().items())[:4]), fused_lm_head=True)
            found[name] = out.log_probs[places]
    kept = there[:, -new:].bool()
    apart = {name: (logps - exact)[kept].abs() for name, logps in found.items()}
    return {name: (float(of.mean()), float(of.max())) for name, of in apart.items()}


def validation(way: str, _: int) -> dict[str, Any]:
    """Seconds of a validation."""
    from recr1.config.build import build
    from recr1.evaluate import Evaluator

    evaluator, policy = Evaluator(opened(), "validation", ("nDCG@10",)), build("policy", policy_of(way))
    start = time.perf_counter(), time.process_time()
    evaluator(policy)
    return {"wall": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}


MEASURED = {"steps": steps, "log_probabilities": log_probabilities, "validation": validation}


def child(what: str, way: str = "", count: int = 0) -> Any:
    """The same, measured in a process of its own."""
    command = [sys.executable, __file__, "--child", what, way, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2, help="a turn; the first is not counted")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, way, count = args.child
        print(json.dumps(MEASURED[what](way, int(count))))
        return
    found: dict[str, list[Any]] = {way: [] for way in WAYS}
    for _ in range(args.turns):
        for way in WAYS:
            found[way].append(child("steps", way, args.steps))
            print(f"  {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    best = {
        way: {kind: min(second for turn in turns for second in turn[kind][1:]) for kind in ("cpu", "wall")}
        for way, turns in found.items()
    }
    plain = found["TRL"][0]
    print("| a step | CPU s | times as fast | wall s | peak GB | of TRL's | loss, gradient norm apart at step 1 |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        one, (cpu, wall) = found[way][0], (best[way]["cpu"], best[way]["wall"])
        apart = [abs(one["logs"][0][name] - plain["logs"][0][name]) for name in ("loss", "grad_norm")]
        faster, share = best["TRL"]["cpu"] / cpu, one["peak"] / plain["peak"]
        figures = f"{cpu:.1f} | {faster:.1f} | {wall:.1f} | {one['peak']:.1f} | {share:.0%}"
        print(f"| {way} | {figures} | {apart[0]:.1e}, {apart[1]:.1e} |")
    print("\n| log-probabilities, from TRL's in float32 | mean | largest difference |\n|---|---|---|")
    for name, (mean, largest) in child("log_probabilities").items():
        print(f"| {name} | {mean:.1e} | {largest:.1e} |")
    for way in WAYS[2:]:
        took = child("validation", way)
        print(f"\n{way}: 500 needs take {took['cpu']:.1f} CPU s, {took['cpu'] / best[way]['cpu']:.1f} steps")


if __name__ == "__main__":
    main()
