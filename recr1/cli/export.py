"""`recr1 export`: a trained policy as a bundle that needs no trainer."""

from __future__ import annotations

import argparse
from pathlib import Path

from recr1.cli.arguments import above_zero
from recr1.terminal import note, say


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="a run folder with a trained policy")
    text = "a new folder for the bundle; with --card a folder for the card, else it is printed"
    parser.add_argument("--out", metavar="DIR", help=text)
    text = "also convert the weights to 8 bits, for CTranslate2, which is faster on CPUs"
    parser.add_argument("--int8", action="store_true", help=text)
    text = "the dtype of the weights (default: the run's own)"
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=text)
    text = "what 8 bits or another dtype may cost in the recipe's first measure (default: 0.02)"
    parser.add_argument("--may-lose", metavar="X", type=above_zero, default=0.02, help=text)
    parser.add_argument("--card", action="store_true", help="write the model card alone")


def run(args: argparse.Namespace) -> int:
    """Write the bundle of a run, once it writes the same queries as the run; or its model card alone."""
    from recr1.errors import UserError
    from recr1.gate.outcome import gate_of, remarks_on_gate
    from recr1.recipe import load_recipe
    from recr1.runs import Run, write_text, writing
    from recr1.serve.card import card, checked_text
    from recr1.serve.export import export

    trained = Run.open(args.folder)
    recipe = load_recipe(trained.path / "recipe.yaml")
    unfinished = trained.unfinished()
    for remark in ([unfinished] if unfinished else []) + [*remarks_on_gate(gate_of(trained), trained)]:
        note(remark)
    if args.card:
        text = card(trained, recipe)
        if args.out is None:
            say(text)
        else:
            with writing(Path(args.out)):
                Path(args.out).mkdir(parents=True, exist_ok=True)
                write_text(Path(args.out) / "README.md", text)
            say(f"wrote {Path(args.out) / 'README.md'}")
        return 0
    if args.out is None:
        raise UserError("--out: missing: name a new folder for the bundle")
    bundle = export(trained, recipe, args.out, dtype=args.dtype, int8=args.int8, may_lose=args.may_lose)
    for line in checked_text(bundle.facts["check"]):
        say(line)
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    say(f"wrote the bundle {bundle.id} to {args.out} ({size / 2**20:.1f} MiB)")
    say(f"try it: recr1 rewrite {args.out} QUERIES --out table.jsonl")
    return 0
