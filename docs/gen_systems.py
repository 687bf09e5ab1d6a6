"""Prints docs/systems.md from docs/systems.jsonl; `record` runs a command and appends what it says of a system.

    python docs/gen_systems.py record "Rec-R1" --bar "trained above the raw need" --check "gain from > 0" \
        --values "gain from=1/measures/nDCG@10/versus_floor/low" --after runs/toy -- recr1 eval runs/toy --json

The values are paths into the JSON that the command prints, or patterns with a group where it prints a table. With
`--result FILE` the command is not run again: the file is what it printed or wrote, such as a run's eval.json. A check
compares a value with a number or another value: `trained > floor`, `mixed >= 0.9*single`, `ease >= dae + 0.03`.
`--after RUN` adds the command that trained this run, whose folder is called runs/NAME. The page has the latest record
of each system.
"""

from __future__ import annotations

import argparse
import json
import operator
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).with_name("systems.jsonl")
FIELDS = ("system", "commands", "bar", "checks", "paths", "values", "passed", "date")
SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
PAGE = """\
# Systems

<!-- Written by docs/gen_systems.py from docs/systems.jsonl: record a run with it, and run `make map`. -->

What each system of the toolkit reached in a run on a CPU: the bar that it has to pass, the numbers, and the commands
that gave them. Each row was written from what its last command printed (`python docs/gen_systems.py record`): a system
without a run has no row. Seeds, settings and what did not work are in the [log](log.md).

| System | Bar | Passed | Numbers | Commands | Date |
|---|---|---|---|---|---|
"""


def page() -> str:
    newest = {one["system"]: one for one in records()}
    return PAGE + "".join(map(row, newest.values()))


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]


def row(one: Mapping[str, Any]) -> str:
    bar = f"{one['bar']} ({', '.join(f'`{check}`' for check in one['checks'])})"
    numbers = "<br>".join(f"{name}: {value:.4g}" for name, value in one["values"].items())
    commands = "<br>".join(f"`{command}`" for command in one["commands"])
    cells = (one["system"], bar, "yes" if one["passed"] else "no", numbers, commands, one["date"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def looked_up(result: Any, path: str) -> float:
    if isinstance(result, str):
        return float(re.search(path, result, re.MULTILINE)[1])  # type: ignore[index]
    for key in path.split("/"):
        result = result[int(key)] if isinstance(result, list) else result[key]
    return float(result)


def holds(check: str, values: Mapping[str, float]) -> bool:
    """Whether a comparison of values is true."""
    form = r"(.+) ([<>]=?) (?:([\d.]+)\*)?(.+?)(?: \+ ([\d.]+))?"
    left, sign, factor, right, more = re.fullmatch(form, check).groups()  # type: ignore[union-attr]
    bound = values[right] if right in values else float(right)
    return bool(SIGNS[sign](values[left], bound * float(factor or 1) + float(more or 0)))


def record(args: argparse.Namespace) -> None:
    """Run the command and append what it says."""
    program = {"recr1": [sys.executable, "-m", "recr1"], "python": [sys.executable]}[args.command[0]]
    if args.result:
        printed, when = (
            args.result.read_text(encoding="utf-8"),
            datetime.fromtimestamp(args.result.stat().st_mtime, UTC),
        )
    else:
        done = subprocess.run([*program, *args.command[1:]], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 3):  # 3: it found something, as `recr1 audit` does
            sys.exit(done.returncode)
        printed, when = done.stdout, datetime.now(UTC)
    result = json.loads(printed) if printed.lstrip()[:1] in ("{", "[") else printed
    commands = [json.loads((run / "run.json").read_text(encoding="utf-8"))["command"] for run in args.after]
    commands = [*(re.sub(r"^\S+", "recr1", command) for command in commands), shlex.join(args.command)]
    for run in args.after:
        commands = [command.replace(str(run), f"runs/{run.name}") for command in commands]
    paths = dict(value.split("=", 1) for value in args.values)
    values = {name: looked_up(result, path) for name, path in paths.items()}
    passed = all(holds(check, values) for check in args.check)
    kept = (args.system, commands, args.bar, args.check, paths, values, passed, when.date().isoformat())
    with RECORDS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(zip(FIELDS, kept, strict=True))) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(do=lambda _: sys.stdout.write(page()))
    adding = parser.add_subparsers().add_parser("record", help="run a command and record what it says")
    adding.add_argument("system")
    adding.add_argument("--bar", required=True, help="what it has to pass, in words")
    adding.add_argument("--values", nargs="+", required=True, metavar="NAME=PATH")
    adding.add_argument("--check", nargs="+", required=True, help="the bar, as comparisons of values")
    adding.add_argument(
        "--after", nargs="*", type=Path, default=[], metavar="RUN", help="runs that were trained before"
    )
    adding.add_argument("--result", type=Path, help="what the command printed or wrote before")
    adding.add_argument("command", nargs="+", help="after --")
    adding.set_defaults(do=record)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
