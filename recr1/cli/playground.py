"""`recr1 playground`: a page on which a person compares what needs and their rewrites find."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from recr1.cli.arguments import add_overrides, parts
from recr1.cli.listening import add_address, check_libraries, end_at_sigterm, listener, token_of
from recr1.cli.rewrite import add_engine, add_table, engine_options, opened
from recr1.terminal import note, say

if TYPE_CHECKING:
    from recr1.runs import Run
    from recr1.serve.bundle import Bundle

EXAMPLES = 60
"""Needs of validation to try."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="BUNDLE|RUN", help="a bundle, or a run folder with a trained policy")
    add_overrides(parser)
    text = "other retrievers to choose from, such as rank_bm25,'bm25(k1=0.9)'"
    parser.add_argument("--retrievers", metavar="A,B", type=parts, default=[], help=text)
    text = "the file that marks are added to (default: marks.jsonl)"
    parser.add_argument("--marks", metavar="FILE", default="marks.jsonl", help=text)
    add_table(parser)
    add_engine(parser)
    add_address(parser)


def run(args: argparse.Namespace) -> NoReturn:
    """Show the page until SIGTERM or Ctrl-C, then print the tally of the marks."""
    from recr1.config.spelling import read_retrievers, spell_part
    from recr1.env import open_environment
    from recr1.gate.outcome import remarks_on_gate
    from recr1.recipe import load_recipe
    from recr1.runs import Run
    from recr1.runs.targets import remarks_on_run
    from recr1.serve.playground.marks import Marks
    from recr1.serve.rewriter import Rewriter
    from recr1.swap import open_retrievers
    from recr1.tasks.base import needs_of

    token, marks = token_of(args.host, args.token_env), Marks(args.marks)
    check_libraries("recr1 playground")
    from recr1.serve.playground.app import Playground
    from retrievers.service.server import serving

    source = _source(args)
    recipe = load_recipe(source.path / "recipe.yaml", args.overrides)
    others = read_retrievers(args.retrievers, recipe.retriever)
    with listener(args.host, args.port) as socket:
        say(f"{args.folder}: opening the task, the retrievers and the policy")
        env = open_environment(recipe.task, recipe.retriever, [], recipe.k)
        env.refuse_candidates("recr1 playground", "it is for policies that write queries")
        engines = {spell_part(recipe.retriever): env.retriever, **open_retrievers(others, env)}
        envs = {name: env.with_retriever(engine) for name, engine in engines.items()}
        if isinstance(source, Run):
            rewriter = Rewriter.of_run(source, recipe, env, gate=not args.no_gate)
            remarks = remarks_on_run(source, recipe, env, "validation", edited=not args.overrides)
            for remark in (*remarks, *remarks_on_gate(rewriter.gate, source)):
                note(remark)
        else:
            rewriter = opened(args, source, env)
        needs = needs_of(env.task, "validation")[0]
        examples = [need.text for need in needs[:: max(len(needs) // EXAMPLES, 1)]][:EXAMPLES]
        end_at_sigterm()
        with serving(Playground(rewriter, envs, marks, examples, token), socket) as running:
            say(f"{args.folder}: open {running.address} in a browser; Ctrl-C ends")
            try:
                running.ended.wait()
            finally:
                said = ", ".join(f"{better} {count}" for better, count in marks.tally().items())
                say(f"{args.marks}: {said}")
    raise RuntimeError("the page ended without a signal; what it wrote before says why")


def _source(args: argparse.Namespace) -> Run | Bundle:
    """What writes the queries; raises `UserError` where it does not go with the other arguments."""
    from recr1.errors import UserError
    from recr1.runs import Run
    from recr1.serve.bundle import Bundle
    from retrievers.store import expanded

    engine_options(args)
    if (expanded(args.folder) / "run.json").exists():
        if given := [f"--{name}" for name in ("table", "engine") if getattr(args, name)]:
            what = f"is for a bundle, and {args.folder} is a run"
            raise UserError(f"{given[0]}: {what}: export it first, or leave it out")
        return Run.open(args.folder)
    if given := [override for override in args.overrides if override.startswith("policy")]:
        raise UserError(f"{given[0]}: a bundle writes as it was exported: name the run instead")
    return Bundle.open(args.folder)
