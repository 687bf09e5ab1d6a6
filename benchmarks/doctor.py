"""Time of each check of `recr1 doctor`: `python benchmarks/doctor.py [--items 100000]`.

Opens the generated shop with its BM25 index, then times every check. Opening includes generating the shop, which a
catalog on disk does not need; the target of one minute is for both together.
"""

from __future__ import annotations

import argparse
from time import perf_counter

from recr1.doctor import CHECKS, open_setup, worst
from recr1.recipe import load_recipe

TARGET = 60.0
"""Seconds for 100,000 items, opening included."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    args = parser.parse_args()
    start = perf_counter()
    setup = open_setup(load_recipe("quickstart", [f"task.items={args.items}"]))
    task, index = setup.opened["task"], setup.opened["index"]
    print(f"{args.items} items, {len(setup.needs)} needs, samples of {setup.sample}, k={setup.env.k}; seconds")
    print(f"  open: generate the shop {task:6.2f}   {task / TARGET:6.1%} of the target")
    print(f"  open: build the index   {index:6.2f}   {index / TARGET:6.1%}")
    findings = []
    for name, check in CHECKS.items():
        begin = perf_counter()
        findings.append(check(setup))
        seconds = perf_counter() - begin
        print(f"  check: {name:<16} {seconds:6.2f}   {seconds / TARGET:6.1%}   {findings[-1].verdict}")
    whole = perf_counter() - start
    print(f"all: {whole:.1f} s, {whole / TARGET:.0%} of the target of {TARGET:.0f} s; verdict: {worst(findings)}")


if __name__ == "__main__":
    main()
