"""`recr1 check`: everything wrong with a recipe, without loading a model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero, add_recipe, at_least
from recr1.terminal import say

if TYPE_CHECKING:
    from recr1.recipe import Recipe
    from recr1.tasks.base import Task
    from retrievers.options import Problem


def add(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("--data", action="store_true", help="open the task too, and count its items and needs")
    text = "import parts from outside of recr1, and so run their code, to check them too"
    parser.add_argument("--trust", action="store_true", help=text)
    text = "estimate the memory of training from the model's config, and say whether it fits here"
    parser.add_argument("--memory", action="store_true", help=text)
    parser.add_argument("--gpu-gb", metavar="N", type=above_zero, help="estimate for a GPU of N GB")
    text = "the configuration file for accelerate launch, such as launch/zero3"
    parser.add_argument("--launch", metavar="FILE", help=text)
    text = "number of processes (default: what the configuration says, or 1)"
    parser.add_argument("--processes", metavar="N", type=at_least(1), help=text)
    text = "what they divide: none, zero2, zero3 or fsdp2 (default: what the configuration says, or none)"
    parser.add_argument("--shard", metavar="KIND", choices=("none", "zero2", "zero3", "fsdp2"), help=text)


def run(args: argparse.Namespace) -> int:
    """Check a recipe, with `--data` its task too, with `--memory` whether it fits; `UserError` with all faults."""
    from retrievers.parts import own_code_only

    with ExitStack() as stack:
        return _check(args, {} if args.trust else stack.enter_context(own_code_only()))


def _check(args: argparse.Namespace, foreign: Mapping[str, str]) -> int:
    from recr1.config.shipped import find_recipe
    from recr1.errors import UserError
    from recr1.recipe import load_recipe

    path = find_recipe(args.recipe)
    remarks: list[str] = []
    recipe = load_recipe(path, args.overrides, also=partial(_refusals, args, remarks))
    unchecked = [f"not checked: {line}" for line in remarks]
    if foreign:
        unchecked.append("not checked, as it is code from outside of recr1 that --trust would run:")
        unchecked += [f"  {place}: {name}" for place, name in foreign.items()]
    say(f"{path}: the recipe is fine{', as far as it was checked' if unchecked else ''}")
    for line in unchecked:
        say(line)
    for missing in recipe.missing_libraries():
        say(f"not on this machine: {missing}")
    if args.data:
        say(_described(recipe, trust=args.trust))
    if args.memory or any(value is not None for value in (args.gpu_gb, args.launch, args.shard)):
        from recr1.memory import memory_report, sharding_of

        if recipe.policy.options.get("trust_remote_code") and not args.trust:
            raise UserError("policy.trust_remote_code: the estimate would run the model's own code: add --trust")
        shards = sharding_of(args.launch, args.processes, args.shard)
        say(memory_report(recipe, args.gpu_gb, shards).rstrip())
    return 0


def _refusals(args: argparse.Namespace, remarks: list[str], recipe: Recipe) -> list[Problem]:
    """What the configs of the recipe's trainers refuse; a recipe that trains nothing has none, and loads nothing."""
    if not any(part.options.get("trl") for part in recipe.stages):
        return []
    from recr1.memory import sharding_of
    from recr1.trainers.trl.config import config_problems

    return config_problems(recipe, sharding_of(args.launch, args.processes, args.shard).processes, remarks)


def _described(recipe: Recipe, *, trust: bool) -> str:
    from recr1.config.build import build
    from recr1.env.checks import check_candidates, check_fit
    from recr1.errors import UserError
    from recr1.evaluate.report import shortened
    from recr1.evaluate.second import described
    from recr1.tasks.base import SPLITS, HasTextFields, needs_of
    from recr1.tasks.cells import is_missing
    from recr1.tasks.splits import find_overlaps, refuse_leaks
    from retrievers.parts import left_out

    task: Task = build("task", recipe.task)
    check_candidates(task.format, task)
    catalog, judged = task.catalog, sum(map(len, task.qrels.values()))
    first = "".join(filter(str.isprintable, " ".join(catalog.texts[0].split())))
    texts = " + ".join(task.text_fields) if isinstance(task, HasTextFields) else "as the task makes it"
    lines = [f"items       {len(catalog)}", f"judgements  {judged} of {len(task.qrels)} needs"]
    lines += [f"text        {texts}; the first item's:", f"  {shortened(first, 78)}"]
    for place, (part, _) in enumerate(recipe.rewards):
        if not left_out(f"rewards.{place}"):
            check_fit(build("reward", part, path=f"rewards.{place}"), task)
    held = {name: len(column) - sum(map(is_missing, column)) for name, column in catalog.fields.items()}
    fields = ", ".join(f"{name} ({count})" if count < len(catalog) else name for name, count in held.items())
    lines.append(f"fields      {fields or 'none'}")
    wanted = {recipe.evaluate.split} | ({"train"} if recipe.trainer else set())
    for split in SPLITS:
        needs, missing = needs_of(task, split)
        if missing and split in wanted:
            raise UserError(missing)
        lines.append(f"{split:<11} " + (f"none ({missing})" if missing else f"{len(needs)} needs"))
    overlaps = find_overlaps(task)
    refuse_leaks(overlaps, accepted=recipe.evaluate.accept_leaks)
    lines += [f"counted     {what}: {count}" for what, count in task.counts.items()]
    for overlap in overlaps:
        remarks = [*overlap.leaks(), *overlap.remarks()]
        if overlap.targets:
            shared = f"{overlap.shared_targets} of {overlap.targets} targets of {overlap.other}"
            remarks.append(f"{shared} are targets of {overlap.one}")
        lines += [f"{overlap.pair}: {remark}" for remark in remarks]
    lines += described(recipe.evaluate.second_opinion, task)
    if prompts := _prompts(recipe, task, trust=trust):
        lines.append(f"prompts     {prompts}")
    return "\n".join(lines)


def _prompts(recipe: Recipe, task: Task, *, trust: bool) -> str | None:
    """Whether the prompts fit into the context of the policy's model; without what the retriever adds to them."""
    from recr1.policies.context import prompts_fit
    from recr1.tasks.base import splits_of
    from retrievers.parts import left_out

    if left_out("policy"):
        return None
    if recipe.policy.options.get("trust_remote_code") and not trust:
        return "not checked, as policy.trust_remote_code would run the model's own code: add --trust"
    return prompts_fit(
        recipe.policy, splits_of(task), lambda needs: [task.format.render(need) for need in needs], local=True
    )
