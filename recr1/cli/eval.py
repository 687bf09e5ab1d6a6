"""`recr1 eval`: how good a policy is, between floor and ceiling; of a run, before and after training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.cli.arguments import add_json, add_measures, add_out, add_samples, add_split, add_target, parts
from recr1.terminal import note, say

if TYPE_CHECKING:
    from recr1.evaluate import Evaluation
    from recr1.gate import Gate
    from recr1.runs import Run
    from recr1.swap import Swap


def add(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--policy", metavar="TYPE", help="evaluate this policy instead, such as echo")
    add_split(parser, None)
    add_measures(parser)
    add_samples(parser)
    text = "other retrievers that search the same queries, such as rank_bm25,'bm25(k1=0.9)'"
    parser.add_argument("--retrievers", metavar="A,B", type=parts, default=[], help=text)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate the policy of a recipe, or of a run before and after training, and print and write the results."""
    from recr1.config.build import Part, build
    from recr1.config.spelling import read_retrievers, spell_part
    from recr1.env import open_environment
    from recr1.evaluate import Evaluator
    from recr1.gate.outcome import gate_of
    from recr1.runs import origin_of
    from recr1.runs.targets import open_target, remarks_on_run, trained_part
    from recr1.swap import open_retrievers, swap
    from recr1.tasks.base import remarks_on
    from retrievers.progress import ProgressBar

    recipe, trained = open_target(args.target, args.overrides)
    if args.policy:
        policies = {args.policy: recipe.policy if args.policy == recipe.policy.type else Part(args.policy)}
    elif trained:
        policies = {"untrained": recipe.policy, "trained": trained_part(trained, recipe.policy)}
    else:
        policies = {recipe.policy.type: recipe.policy}
    others = read_retrievers(args.retrievers, recipe.retriever)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    if not args.json and (said := remarks_on(env.task)):
        say(said)
    opened = open_retrievers(others, env)
    split = args.split or recipe.evaluate.split
    of_run = trained if trained and not args.policy else None
    remarks = list(remarks_on_run(of_run, recipe, env, split, edited=not args.overrides)) if of_run else []
    gate = gate_of(of_run) if of_run else None
    remarks += _remarks_on_gate(gate, of_run, args.samples)
    for remark in remarks:
        note(remark)
    done = []
    with ProgressBar(quiet=args.json) as bar:
        evaluator = Evaluator(
            env,
            split,
            args.measures or recipe.evaluate.measures,
            limit=recipe.evaluate.needs,
            seed=recipe.seed,
            progress=bar.advance,
            second_opinion=recipe.evaluate.second_opinion,
        )
        for name, part in policies.items():
            bar.begin(name, len(evaluator.needs))
            own = gate if name == "trained" and not args.samples else None
            # The people of training are those who paid; and a sample of needs is asked for to save time.
            whole = split != "train" and recipe.evaluate.needs is None
            done.append(evaluator(build("policy", part), samples=args.samples, name=name, gate=own, whole=whole))
    home = Path(args.out) if args.out else trained.path / "eval" / evaluator.split if trained else None
    swapped = swap(done, opened, spell_part(recipe.retriever)) if args.retrievers else None
    if home:
        catalog = env.task.catalog.fingerprint
        _write(done, swapped, home, origin_of(trained, recipe.to_dict(), catalog) if trained else None, remarks)
    if args.json:
        summary = swapped.summary if swapped else [evaluation.summary for evaluation in done]
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        _show(done, swapped, home)
    return 0


def _remarks_on_gate(gate: Gate | None, run: Run | None, samples: int) -> list[str]:
    from recr1.gate.outcome import remarks_on_gate

    if not (gate and run):
        return []
    unseen = ["the gate is not shown: it decides on greedy completions (--samples 0)"] if samples else []
    return [*remarks_on_gate(gate, run), *unseen]


def _write(
    done: Sequence[Evaluation],
    swapped: Swap | None,
    home: Path,
    origin: Mapping[str, Any] | None,
    remarks: Sequence[str],
) -> None:
    """The files of an evaluation; of several, each in its own folder, and one common table."""
    from recr1.evaluate.files import write
    from recr1.evaluate.report import examples, tables, verdict
    from recr1.judge.table import page
    from recr1.runs import write_text, writing
    from recr1.swap import write_swap

    if swapped:
        write_swap(swapped, home, origin)
    if len(done) == 1:
        write(done[0], home, origin=origin)
        return
    for evaluation in done:
        write(evaluation, home / evaluation.name, origin=origin)
    shown = f"## Before and after\n\n```text\n{examples(done[0], done[-1])}\n```\n"
    with writing(home):
        write_text(home / "eval.md", f"{page(tables(done), [*verdict(done), *remarks])}\n{shown}")


def _show(done: Sequence[Evaluation], swapped: Swap | None, home: Path | None) -> None:
    from recr1.evaluate.report import examples, tables, verdict
    from recr1.judge.table import print_tables
    from recr1.swap import swap_tables

    shown = [examples(done[0], done[-1]), ""] if len(done) > 1 else []
    print_tables(tables(done), [*shown, *verdict(done)])
    if swapped:
        say()
        print_tables(swap_tables(swapped.summary), swapped.verdict())
    if home:
        say(f"written to {home}")
