"""Training, evaluation and a saved copy compute the same, and what a training step takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recr1.config.build import Part, build
from recr1.doctor.base import Fault, Faults, Finding, catching, finding
from recr1.doctor.policy.measured import Measured
from recr1.doctor.policy.opened import FIRST, TOLERANCE, PolicySetup, Written, concluded, difference, greedy, plain
from recr1.errors import UserError
from recr1.memory.estimate import GB, estimate
from recr1.memory.load import load_of, shape_of
from recr1.policies.adapters import with_weights
from recr1.policies.loading import converted
from recr1.policies.prompts import prompt_ids
from recr1.policies.sources import find_model
from recr1.policies.transformers import ends_of, save

MORE = 1.5
"""Times the estimate from which on a measured peak is a warning."""


def agreement(opened: PolicySetup) -> Finding:
    """Training, evaluation and a saved copy write the same tokens, with the same log-probabilities."""
    faults, done = Faults(), ["evaluation", "one plain pass", "a saved copy"]
    written = greedy(opened.policy, opened.probes)
    prompts = prompt_ids(opened.policy.tokenizer, opened.probes)
    passes = [
        one._replace(logps_TV=plain(opened.policy, ids, one.ids)) for one, ids in zip(written, prompts, strict=True)
    ]
    _compare(faults, "evaluation", written, "one plain pass of the model", passes, opened.tolerance)
    _compare_copy(opened, faults, written)
    for measured in opened.trained:
        if measured.found.get("rows"):
            done += [measured.trainer] * _compare_training(opened, faults, measured)
        else:
            why = measured.failed or "it generates nothing"
            faults.add("not compared", "ok", f"{measured.trainer}: {why}")
    ok = f"{', '.join(done[:-1])} and {done[-1]} write the same tokens, with the same log-probabilities"
    return concluded("agreement", faults, ok, {"compared": done})


def _compare(faults: Faults, one: str, ones: list[Written], other: str, others: list[Written], most: float) -> None:
    """Add a fault "`one` differs" where log-probabilities differ by more than `most`."""
    far, flips = difference(ones, others)
    faults.numbers |= {f"{one}: difference": far, f"{one}: tolerance": most}
    if not far <= most:
        what = f"log-probabilities differ by up to {far:.3g} from those of {other} (rounding explains {most:g})"
        faults.add(f"{one} differs", "error", f"{what}: what is measured is not what is trained")
    elif flips:
        faults.add("near ties", "ok", f"{flips} of {len(ones)} completions of {one} have other tokens, by rounding")


def _compare_copy(opened: PolicySetup, faults: Faults, written: list[Written]) -> None:
    """Save the policy as training does and load it as evaluation does; the policy is released."""
    policy, chats, tolerance = opened.policy, opened.probes, opened.tolerance
    read, ends = prompt_ids(policy.tokenizer, chats), set(ends_of(policy.model, policy.tokenizer))
    with TemporaryDirectory(prefix="recr1-doctor-") as folder:
        with catching("saving the policy"):
            save(policy.model, policy.tokenizer, Path(folder))  # this merges an adapter, in place
        del policy
        opened.release()
        try:
            copy = build("policy", with_weights(opened.recipe.policy, Path(folder)))
        except UserError as error:
            faults.add("copy not loaded", "error", f"what training saves cannot be opened: {error}")
            return
        if prompt_ids(copy.tokenizer, chats) != read or set(ends_of(copy.model, copy.tokenizer)) != ends:
            what = "the saved tokenizer gives other prompts, or the saved generation_config has other ends"
            faults.add("copy reads otherwise", "error", f"{what}: take the checkpoint's own tokenizer")
            return
        _compare(faults, "a saved copy", greedy(copy, chats), "the policy", written, tolerance)


def _compare_training(opened: PolicySetup, faults: Faults, measured: Measured) -> bool:
    """What training read, computed and wrote in its first step, beside evaluation; whether all could be compared."""
    policy, found, who = opened.policy, measured.found, measured.trainer
    listed = [chat for (split, _), chat in opened.chats.items() if split == "train"]
    chats = dict(zip(map(tuple, prompt_ids(policy.tokenizer, listed)), listed, strict=True))
    if unknown := [row["prompt"] for row in found["rows"] if tuple(row["prompt"]) not in chats]:
        what = f"{len(unknown)} of {len(found['rows'])} prompts of {who} are none that evaluation reads"
        faults.add("training reads otherwise", "error", f"{what} ({policy.tokenizer.decode(unknown[0])[:80]!r})")
        return True
    most = max(opened.tolerance, TOLERANCE[{"no": "float32", "fp16": "float16"}.get(found["precision"], "bfloat16")])
    far, other = 0.0, list[tuple[float, list[int], list[int]]]()
    for row in found["rows"]:
        logps_TV = plain(policy, row["prompt"], row["ids"], found["temperature"])
        own = logps_TV[range(len(row["ids"])), row["ids"]]
        far = max(far, (own - own.new_tensor(row["logps"])).abs().nan_to_num(float("inf")).max().item())
        (evaluated,) = greedy(policy, [chats[tuple(row["prompt"])]])
        apart, flips = difference([Written(row["ids"][:FIRST], logps_TV)], [evaluated], tie=True)
        other += [(apart, row["ids"], evaluated.ids)] * flips
    faults.numbers |= {f"{who}: difference": far, f"{who}: tolerance": most}
    if _drops(policy):
        what = (
            f"it is on in training: tokens and log-probabilities (difference {far:.2g}) of {who} could not be compared"
        )
        faults.add("dropout", "ok", what)
        return False
    if not far <= most:
        what = f"log-probabilities of {who} differ by up to {far:.3g} from those of one plain pass of the model"
        faults.add("training differs", "error", f"{what} (rounding explains {most:g}): it learns from wrong numbers")
    worst = max(other, default=(0.0, list[int](), list[int]()))
    if not found["greedy"]:
        faults.add("not compared", "ok", "tokens of vLLM, which generates in training")
    elif worst[0] > most:
        trained, evaluated = (policy.tokenizer.decode(ids)[:60] for ids in worst[1:])
        what = f"greedily {who} writes {trained!r}, and evaluation {evaluated!r}"
        faults.add("training writes otherwise", "error", f"{what}: see how each pads and ends")
    elif other:
        faults.add("near ties", "ok", f"{len(other)} of {len(found['rows'])} completions of {who} have other tokens")
    return bool(found["greedy"])


def _drops(policy: Any) -> bool:
    """Whether training leaves out some numbers at random."""
    import torch

    dropout = getattr(policy.model.config, "attention_dropout", 0) or 0
    return dropout > 0 or any(isinstance(layer, torch.nn.Dropout) and layer.p > 0 for layer in policy.model.modules())


def step(opened: PolicySetup) -> Finding:
    """How long a training step takes, and its memory beside the estimate of `recr1 check --memory`."""
    faults = Faults()
    for measured, part in zip(opened.trained, opened.recipe.stages, strict=True):
        if measured.failed:
            faults.add("failed", "error", f"two steps of {measured.trainer} could not be trained: {measured.failed}")
        else:
            _judge_step(faults, measured, _estimate(opened, part, gpu=measured.found["gpu"]))
            if (part.options.get("pairs") or {}).get("type") == "sampled":
                faults.add(
                    "other pairs", "ok", f"{measured.trainer} was timed on needs, as sampling pairs takes longer"
                )
    return finding("step", faults.problems, "not measured: the recipe has no trainer", faults.numbers)


def _judge_step(faults: Faults, measured: Measured, estimated: float) -> None:
    first, second = measured.found["lines"]
    steps = measured.found["per_generation"]
    seconds, before = seconds_of_step(first, second, steps), first.get("train/num_tokens", 0)
    # It counts from the first step on, and is not there for a step that generates nothing.
    rate = (before / steps if steps > 1 else second.get("train/num_tokens", before) - before) / seconds
    hours, peak, who = seconds * measured.steps / 3600, measured.found["peak"], measured.trainer
    took = f"{hours:.2g} hours" if hours >= 1 else f"{60 * hours:.2g} min"
    where = "GPU memory" if measured.found["gpu"] else "memory of the process"
    what = f"a step of {who} takes {seconds:.3g} s, {rate:,.0f} tokens a second: {took} for {measured.steps}"
    held = f"{where} {peak / GB:.2f} GB at its peak, estimated {estimated / GB:.2f} GB"
    faults.problems.append(Fault("ok", f"{what} steps, without validation; {held}"))
    faults.numbers[who] = {"seconds": seconds, "tokens_per_second": rate, "hours": hours}
    faults.numbers[who] |= {"peak_bytes": peak, "estimated_bytes": estimated}
    if peak > MORE * estimated:
        what = f"{who} took more than {MORE:g} times the estimate, which leaves catalog and index out"
        faults.add("more memory", "warning", f"{what}: count on the measured peak")


def seconds_of_step(first: Mapping[str, float], second: Mapping[str, float], steps: int) -> float:
    """Of the second step; where completions are generated once for several steps, with its share of that."""
    names = [f"train/time/{name}" for name in ("generation", "search", "rewards")]
    once = [sum(line.get(name, 0.0) for name in names) for line in (first, second)]
    return second["train/time/step"] + (max(once) / steps - once[1] if steps > 1 else 0.0)


def _estimate(opened: PolicySetup, part: Part, *, gpu: bool) -> float:
    """Bytes of such a step at its peak, by the estimate of memory."""
    import torch

    policy = opened.recipe.policy
    source = converted(find_model(policy.options["model"], policy.options.get("gguf_file")))
    shape = shape_of(source, trust_remote_code=bool(policy.options.get("trust_remote_code", False)))
    longest = max((length for (split, _), length in opened.lengths.items() if split == "train"), default=1)
    available = torch.cuda.get_device_properties(0).total_memory if gpu else 0
    found = estimate(shape, load_of(policy, part, shape, longest, gpu=gpu), available=float(available))
    return found._replace(phases={name: of for name, of in found.phases.items() if name != "validation"}).peak
