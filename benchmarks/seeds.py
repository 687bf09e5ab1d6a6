"""How often a test over few seeds claims a difference that is not there, and how often it finds one of 0.05.

    python benchmarks/seeds.py --trials 2000

Three tests side by side. Values are drawn as two-way random effects, all normal: needs (deviation 0.3 of the
difference to a fixed policy), seeds (deviation printed), both together (0.15). Under "collapse", one seed in five is
0.3 lower, and all are moved so that the mean difference is zero. Each cell is the share of trials in which a test
claims a difference at the level 0.05.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from recr1.judge.stats import pooled

Doubles = NDArray[np.float64]
SIZES = ((2, 1), (3, 1), (5, 1), (2, 2), (3, 3), (5, 5), (2, 5))
SPREADS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.06)


def of_recr1(first_SN: Doubles, second_SN: Doubles | None) -> bool:
    """What `recr1 compare` does."""
    found = pooled(first_SN, second_SN)
    return found.low > 0 or found.high < 0


def satterthwaite(first_SN: Doubles, second_SN: Doubles | None) -> bool:
    """One t distribution, with the degrees of freedom that fit the estimated variances."""
    arms = [first_SN] if second_SN is None else [first_SN, second_SN]
    means_N = first_SN.mean(axis=0) - (0 if second_SN is None else second_SN.mean(axis=0))
    seeds = [(arm.mean(axis=1).var(ddof=1) / len(arm), len(arm) - 1) for arm in arms]
    needs = means_N.var(ddof=1) / len(means_N) - sum(_interaction(arm) / arm.size for arm in arms)
    parts = [*seeds, (max(needs, 0.0), len(means_N) - 1)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / of for part, of in parts)
    return bool(abs(means_N.mean()) > special.stdtrit(freedom, 0.975) * np.sqrt(variance))


def over_needs(first_SN: Doubles, second_SN: Doubles | None) -> bool:
    """Seeds averaged first, as if there could be no others."""
    means_N = first_SN.mean(axis=0) - (0 if second_SN is None else second_SN.mean(axis=0))
    error = np.sqrt(means_N.var(ddof=1) / len(means_N))
    return bool(abs(means_N.mean()) > special.stdtrit(len(means_N) - 1, 0.975) * error)


WAYS: tuple[Callable[[Doubles, Doubles | None], bool], ...] = (of_recr1, satterthwaite, over_needs)


def _interaction(values_SN: Doubles) -> float:
    seeds, size = values_SN.shape
    rest = values_SN - values_SN.mean(axis=0) - values_SN.mean(axis=1, keepdims=True) + values_SN.mean()
    return float((rest**2).sum() / ((seeds - 1) * (size - 1)))


def drawn(rng: np.random.Generator, seeds: int, needs: int, spread: float, *, collapse: bool) -> Doubles:
    """(S, N) a policy by its seeds against a fixed one; 0 on average."""
    seed_S1 = spread * rng.normal(size=(seeds, 1))
    if collapse:
        seed_S1 += 0.06 - 0.3 * (rng.random((seeds, 1)) < 0.2)
    values: Doubles = 0.3 * rng.normal(size=(1, needs)) + seed_S1 + 0.15 * rng.normal(size=(seeds, needs))
    return values


def shares(seeds: int, against: int, spread: float, args: argparse.Namespace, *, collapse: bool) -> list[float]:
    """Of each way the share of null comparisons, then that of a difference of 0.05, that it claims."""
    rng = np.random.default_rng(args.seed)
    claimed = np.zeros((2, len(WAYS)))
    for _ in range(args.trials):
        first = drawn(rng, seeds, args.needs, spread, collapse=collapse)
        second = drawn(rng, against, args.needs, spread, collapse=collapse) if against > 1 else None
        for row, difference in enumerate((0.0, 0.05)):
            claimed[row] += [way(first + difference, second) for way in WAYS]
    return [float(share) for share in (claimed / args.trials).ravel()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--needs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = [way.__name__ for way in WAYS]
    print(f"{args.needs} needs, {args.trials} trials")
    print(f"{'seeds':10}{'spread':10}" + "".join(f"{name:>15}" for name in [*names, *[f"{n} .05" for n in names]]))
    for seeds, against in SIZES:
        for spread, collapse in [*[(spread, False) for spread in SPREADS], (0.01, True)]:
            cells = shares(seeds, against, spread, args, collapse=collapse)
            label = f"{spread}{' collapse' if collapse else ''}"
            print(f"{f'{seeds}:{against}':10}{label:14}" + "".join(f"{cell:15.1%}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
