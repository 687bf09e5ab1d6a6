"""The command line as it is written: what each command takes, its help, and what is refused before anything is done."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from recr1 import __version__

SHARDS = ("none", "zero2", "zero3", "fsdp2")
"""How processes can divide a model, see `recr1.memory.sharding`."""

_EPILOG = """\
a first look:
  recr1 ls                                   the recipes that come with recr1
  recr1 train quickstart                     train one
  recr1 train quickstart seed=1 trainer.steps=20
  recr1 cp quickstart my.yaml                start your own

exit status:
  0    done
  1    a failure that is not yours: a retriever, a reward or recr1 itself (the traceback says where)
  2    something to put right: the command line, a recipe, a data file, a missing library, a folder, an engine that
       does not answer
  3    'recr1 doctor' found an error
  130  interrupted with Ctrl-C
  141  the program that read the output closed it

RECR1_TRACEBACK=1 or --traceback shows where an error of status 2 came from.
"""


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, the command's name as `command`; ends the process for help, or with status 2 for a mistake."""
    parser, commands = _parser()
    if not argv:
        parser.print_help()
        parser.exit(0)
    named = next((arg for arg in argv if not arg.startswith("-")), None)
    if named is not None and named not in commands:
        _refuse_command(parser, named, commands)
    # Overrides may stand on both sides of an option, which argparse alone does not take.
    args, extra = parser.parse_known_args(argv)
    strange = [arg for arg in extra if arg.startswith("-") or "=" not in arg or not hasattr(args, "overrides")]
    if strange:
        commands[str(named)].error(f"unrecognized arguments: {' '.join(strange)}")
    if extra:
        args.overrides += extra
    return args


def _refuse_command(parser: argparse.ArgumentParser, name: str, known: dict[str, argparse.ArgumentParser]) -> NoReturn:
    from retrievers.options import did_you_mean

    parser.error(f"no command '{name}'{did_you_mean(name, known)} (commands: {', '.join(known)})")


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="recr1",
        description="RL fine-tuning of query-writing language models with recommender measures as rewards.",
        epilog=_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"recr1 {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        commands[name] = sub
        return sub

    _add_train(add("train", "Train a policy as a recipe says."))
    _add_eval(add("eval", "Evaluate the policy of a recipe or a run folder, or another one in its place."))
    _add_compare(add("compare", "Put policies and baselines in one table, and say which differences are real."))
    _add_cross(add("cross", "Run each policy on the catalogs of the others: does what it learned belong to its shop?"))
    _add_check(add("check", "Say everything that is wrong with a recipe, without loading a model."))
    _add_doctor(add("doctor", "Find faults of data, retriever and reward before a GPU is paid for them."))
    _add_headroom(add("headroom", "Sample the starting policy, and say what can be learned before any training."))
    _add_report(add("report", "Write what runs have reached: one HTML file, and Markdown."))
    _add_rescore(add("rescore", "Score what a run wrote with another retriever, measure or catalog."))
    _add_search(add("search", "Search the catalog of a recipe as its retriever does."))
    _add_serve(add("serve-retriever", "Hold the index of a recipe for every process that asks."))
    _add_store(add("store", "List the indexes and embeddings that are kept on disk, and remove old ones."))
    ls = add("ls", "List the recipes that come with recr1.")
    ls.add_argument("--parts", action="store_true", help="list the built-in types and their options instead")
    cp = add("cp", "Copy a recipe to start your own.")
    cp.add_argument("name", metavar="NAME", help="a recipe of 'recr1 ls', or a file")
    cp.add_argument("destination", metavar="DEST", help="a new file, or a folder")
    return parser, commands


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a name that 'recr1 ls' lists")


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    text = "values in place of the recipe's, such as retriever.k1=1.2 rewards.0.weight=2"
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[], help=text)


def _add_train(parser: argparse.ArgumentParser) -> None:
    text = "a YAML file, a name that 'recr1 ls' lists, or the folder of a run to go on with"
    parser.add_argument("recipe", metavar="RECIPE", help=text)
    _add_overrides(parser)
    text = "the run folder (default: a new one under runs/); an unfinished run of the same recipe goes on"
    parser.add_argument("--out", metavar="DIR", help=text)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a recipe, a name that 'recr1 ls' lists, or a run folder")
    _add_overrides(parser)
    parser.add_argument("--policy", metavar="TYPE", help="evaluate this policy instead, such as echo")
    parser.add_argument("--split", metavar="S", help="train, validation or test (default: the recipe's)")
    parser.add_argument("--measures", metavar="A,B", type=_names, help="such as nDCG@10,R@100 (default: the recipe's)")
    parser.add_argument("--samples", metavar="N", type=_at_least(0), default=0, help="per need; 0 is greedy (default)")
    others = "what the policy wrote is searched by these too, such as rank_bm25,'bm25(k1=0.9)'"
    parser.add_argument("--retrievers", metavar="A,B", type=_outside_brackets, default=[], help=others)
    parser.add_argument("--out", metavar="DIR", help="write the results there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a recipe, a name that 'recr1 ls' lists, or a run folder")
    _add_overrides(parser)
    policies = "such as raw,keywords,prf,untrained,best_of_8,runs/mine; the others are compared with the first"
    parser.add_argument("--policies", metavar="A,B", type=_outside_brackets, help=policies)
    parser.add_argument("--split", metavar="S", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--measures", metavar="A,B", type=_names, help="such as nDCG@10,R@100 (default: the recipe's)")
    parser.add_argument("--needs", metavar="N", type=_at_least(2), help="at most so many needs, the first ones")
    category = "the field of the catalog that needs are sliced by (default: 'category' or the like)"
    parser.add_argument("--category", metavar="FIELD", help=category)
    parser.add_argument("--out", metavar="DIR", help="write the tables and every number there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_cross(parser: argparse.ArgumentParser) -> None:
    text = "a run folder; those with the same task and retriever share a catalog"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)
    parser.add_argument("--split", metavar="S", default="test", help="train, validation or test (default: test)")
    names = "such as nDCG@10,R@100 (default: those of the first run's recipe)"
    parser.add_argument("--measures", metavar="A,B", type=_names, help=names)
    parser.add_argument("--samples", metavar="N", type=_at_least(0), default=0, help="per need; 0 is greedy (default)")
    parser.add_argument("--out", metavar="DIR", help="write the tables and every number there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    _add_overrides(parser)
    parser.add_argument("--data", action="store_true", help="open the task too, and count its items and needs")
    memory = "estimate the memory of training, from the model's config alone, and say whether it fits here"
    parser.add_argument("--memory", action="store_true", help=memory)
    parser.add_argument("--gpu-gb", metavar="N", type=_above_zero, help="a GPU of N GB in place of what is here")
    launch = "the configuration of accelerate that it is launched with, such as launch/zero3"
    parser.add_argument("--launch", metavar="FILE", help=launch)
    processes = "how many processes (default: what the configuration says, or one)"
    parser.add_argument("--processes", metavar="N", type=_at_least(1), help=processes)
    shard = "what they divide: none, zero2, zero3 or fsdp2 (default: what the configuration says, or none)"
    parser.add_argument("--shard", metavar="KIND", choices=SHARDS, help=shard)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    _add_overrides(parser)
    step = "seconds that a training step takes without its search, to compare the latency with (default: 5)"
    parser.add_argument("--step", metavar="S", type=_above_zero, default=5.0, help=step)
    sample = "items, needs or queries that a check looks at, at most (default: 200)"
    parser.add_argument("--sample", metavar="N", type=_at_least(10), default=200, help=sample)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def _add_headroom(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    _add_overrides(parser)
    parser.add_argument("--split", metavar="S", default="train", help="whose needs (default: train)")
    needs = "at most so many needs, the first ones (default: 200)"
    parser.add_argument("--needs", metavar="N", type=_at_least(1), default=200, help=needs)
    samples = "completions per need (default: 32)"
    parser.add_argument("--samples", metavar="N", type=_at_least(2), default=32, help=samples)
    solved = "share of the need's ceiling with which a completion solves it (default: 0.5)"
    parser.add_argument("--solved", metavar="X", type=_share, default=0.5, help=solved)
    depth = "how deep the first relevant item is looked for (default: 1000)"
    parser.add_argument("--depth", metavar="K", type=_at_least(1), default=1000, help=depth)
    parser.add_argument("--out", metavar="DIR", help="write tables and numbers there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_report(parser: argparse.ArgumentParser) -> None:
    text = "a run folder; several stand side by side, and those that differ in the seed alone are pooled"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)
    out = "the HTML file (default: report.html in the run's folder; of several runs, here)"
    parser.add_argument("--out", metavar="FILE", help=out)
    category = "the field of the catalog that needs are sliced by (default: 'category' or the like)"
    parser.add_argument("--category", metavar="FIELD", help=category)


def _add_rescore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    _add_overrides(parser)
    parser.add_argument("--measures", metavar="A,B", type=_names, help="such as nDCG@10,R@100 (default: the recipe's)")
    parser.add_argument("--name", metavar="N", help="of the folder in RUN/rescored (default: what is overridden)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_search(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument("query", metavar="QUERY", help="the query, or - to read one from each line of standard input")
    _add_overrides(parser)
    parser.add_argument("-k", metavar="K", type=_at_least(1), default=5, help="items to show (default: 5)")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    _add_overrides(parser)
    parser.add_argument("--host", metavar="H", default="127.0.0.1", help="where to listen (default: this machine only)")
    parser.add_argument(
        "--port", metavar="P", type=_at_least(0), default=8080, help="0 takes a free one (default: 8080)"
    )
    parser.add_argument("--token-env", metavar="NAME", help="the environment variable with the token to ask for")
    window = "milliseconds to wait for more searches to join the first (default: 2)"
    parser.add_argument("--window", metavar="MS", type=_at_least(0), default=2, help=window)
    queue = "searches that may wait; more are sent away (default: 256)"
    parser.add_argument("--queue", metavar="N", type=_at_least(1), default=256, help=queue)
    size = "of a request, and of its answer (default: 64)"
    parser.add_argument("--max-mb", metavar="MB", type=_at_least(1), default=64, help=size)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", default="auto", help="the store (default: RECR1_CACHE, or ~/.cache)")
    parser.add_argument("--prune", action="store_true", help="show what would be removed; needs one of the next two")
    older = "what was not used for so long, such as 30d, 12h or 15m"
    parser.add_argument("--older-than", metavar="TIME", type=_seconds, help=older)
    fits = "what was not used for longest, until the rest fits"
    parser.add_argument("--max-gb", metavar="GB", type=_above_zero, help=fits)
    parser.add_argument("--yes", action="store_true", help="remove it")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 30d, 12h or 15m")
    return int(found[1]) * {"d": 86400.0, "h": 3600.0, "m": 60.0}[found[2]]


def _names(text: str) -> list[str]:
    # Not at a comma within brackets: nDCG(gain=exp,...)@10 is one name.
    return [name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip()]


def _outside_brackets(text: str) -> list[str]:
    from recr1.cli.swap import split_outside_brackets
    from recr1.errors import UserError

    try:
        return split_outside_brackets(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return whole


def _above_zero(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return float(text)


def _share(text: str) -> float:
    value = _above_zero(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share above 0 and up to 1")
    return value
