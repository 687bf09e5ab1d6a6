"""`recr1 interleave`: how many sessions of a live test show that rewrites are better than raw needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from recr1.cli.arguments import add_split, at_least

if TYPE_CHECKING:
    from recr1.judge.stats import Doubles


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that 'recr1 export' wrote")
    text = "a head table that 'recr1 rewrite' wrote, with judged needs of the split"
    parser.add_argument("--table", metavar="TABLE", required=True, help=text)
    add_split(parser, "validation")
    parser.add_argument("--places", metavar="N", type=at_least(1), default=10, help="items of a page (default: 10)")
    text = "the JSON that 'recr1 judgements clicks' wrote: how often places are examined (default: 1/place)"
    parser.add_argument("--examined", metavar="FILE", type=Path, help=text)


def run(args: argparse.Namespace) -> int:
    """Simulate clicks on both rankings of the needs, and print the sessions needed."""
    from recr1.errors import UserError
    from recr1.evaluate.references import AGAIN
    from recr1.judge.table import print_tables
    from recr1.serve.bundle import Bundle
    from recr1.serve.handover.effect import open_judged
    from recr1.serve.interleave import plan
    from recr1.serve.table import Table

    examined_K = _examined(args.examined, args.places)
    bundle = Bundle.open(args.bundle)
    judged, why = open_judged(bundle, Table.load(args.table, bundle=bundle.id), args.split)
    if judged is None:
        raise UserError(why)
    if args.places > judged.env.k:
        raise UserError(f"--places {args.places}: the recipe searches for {judged.env.k} items: choose fewer")
    raw_NK, rewritten_NK = (judged.env.search(texts, again=AGAIN).rows_QK for texts in (judged.raw, judged.rewrites))
    keys = [judged.env.task.qrels[need.id] for need in judged.needs]
    table, lines = plan(raw_NK, rewritten_NK, keys, examined_K, seed=judged.seed)
    print_tables([table] if table.rows else [], lines)
    return 0


def _examined(path: Path | None, places: int) -> Doubles:
    """How often each place is examined, from 0 to 1."""
    import numpy as np

    from recr1.errors import DataError, UserError

    if path is None:
        return 1 / np.arange(1, places + 1)
    try:
        found = [float(row["examined"]) for row in json.loads(path.read_text(encoding="utf-8"))["positions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "not the JSON that 'recr1 judgements clicks' writes, with how often each position is examined"
        raise DataError(path, None, f"{what} ({type(error).__name__})") from error
    if len(found) < places:
        raise UserError(f"{path} has {len(found)} positions: choose --places {len(found)} or fewer")
    return np.array(found[:places])
