"""Prints docs/measures.md from the registry of measures: python docs/gen_measures.py > docs/measures.md"""

from __future__ import annotations

import inspect
import sys

import rewards.measures
from rewards.measures import MEASURES, Measure, parse_measure

PAGE = """\
# Measures

<!-- Written by docs/gen_measures.py from rewards/measures.py: change the docstrings there, and run it again. -->

{intro}

| Name | What it is | Formula | trec_eval |
|---|---|---|---|
{table}

A name that is not one of these is refused with the nearest right one: `{wrong}` gives

    {refusal}

## Settings

`nDCG(gain=exp)@10` gains 2^grade - 1 for an item instead of its grade. All others ask only whether an item is relevant,
and take the least grade that is: `R(rel=2)@100`, `RR(rel=3)@10`. A setting at its default is left out of the name.

## Notes

{notes}

## In Python

```python
import numpy as np
from rewards.base import Qrels
from rewards.measures import measure_all, parse_measure

rows_BK = np.array([[4, 7, 2], [7, -1, -1]], np.int32)  # two rankings of catalog rows; -1: no item
qrels_B = [Qrels({{7: 3, 2: 1}}), Qrels({{7: 1, 5: 2}})]  # the answer key to each: row -> grade
parse_measure("nDCG@3")(rows_BK, qrels_B)  # {ndcg}
measure_all([parse_measure("R@3"), parse_measure("RR@3")], rows_BK, qrels_B)  # by name, in one pass
```

A new measure is one frozen dataclass in `rewards/measures.py` and its place in `MEASURES`.
"""


def page() -> str:
    import numpy as np

    from rewards.base import Qrels

    rows_BK = np.array([[4, 7, 2], [7, -1, -1]], np.int32)
    ndcg_B = parse_measure("nDCG@3")(rows_BK, [Qrels({7: 3, 2: 1}), Qrels({7: 1, 5: 2})])
    wrong = "Recall@5"
    return PAGE.format(
        intro=inspect.getdoc(rewards.measures),
        table="\n".join(map(row, MEASURES.values())),
        wrong=wrong,
        refusal=refusal(wrong),
        notes="\n".join(filter(None, map(note, MEASURES.values()))),
        ndcg="[" + ", ".join(f"{value:.3f}" for value in ndcg_B) + "]",
    )


def described(measure: type[Measure]) -> tuple[str, str, dict[str, str]]:
    """The first line of a measure's docstring, what follows as one line, and its last lines by their label."""
    first, *middle, last = inspect.cleandoc(measure.__doc__ or "").split("\n\n")
    labelled = dict(line.split(": ", 1) for line in last.splitlines())
    return first, " ".join(" ".join(middle).split()), labelled


def row(measure: type[Measure]) -> str:
    first, _, labelled = described(measure)
    return f"| `{measure.symbol}@k` | {first} | {labelled['Formula']} | {labelled['trec_eval']} |"


def note(measure: type[Measure]) -> str:
    middle = described(measure)[1]
    return f"- `{measure.symbol}@k`: {middle}" if middle else ""


def refusal(name: str) -> str:
    try:
        parse_measure(name)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{name} is a measure: choose a wrong name for the page")


if __name__ == "__main__":
    sys.stdout.write(page())
