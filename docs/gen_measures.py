"""Prints docs/measures.md from the registry of measures: python docs/gen_measures.py > docs/measures.md"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields

import rewards.measures
from rewards.measures import ANSWER_MEASURES, CORPUS_MEASURES, MEASURES, Measure, parse_measure

PAGE = """\
# Measures

<!-- Written by docs/gen_measures.py from rewards/measures: change the docstrings there, and run `make map`. -->

```bash
recr1 eval RUN --measures nDCG@10,R@100,RR@10
```

{intro}

| Name | What it is | Formula | Elsewhere |
|---|---|---|---|
{table}

Of [answers in text](formats.md#answers-in-text), which rank nothing, so that these names have no cutoff:

| Name | What it is | Formula | Elsewhere |
|---|---|---|---|
{answers}

A name that is not one of these is an error that suggests the nearest one: `{wrong}` gives

    {refusal}

## Settings

A setting that has its default is not part of the name: `RBP(p=0.8)@10` is `RBP@10`.

| Setting | Of | What it is |
|---|---|---|
{settings}

`nDCG(gain=task)@10` takes its gains from the [`gains` of the task](data.md#gains), such as 1.0, 0.1 and 0.01 for the
letters E, S and C of ESCI. In Python, they are the second argument of `Qrels`.

`nDCG(judged_only=True)@10` is nDCG@10 of the condensed ranking: items that nobody judged are removed from **everything
that the search returned**, and then the first 10 places are measured. Such numbers can be compared only at the same `k`
of the recipe.

## Over all needs together

Every evaluation also says how evenly the recommended items are spread over the catalog, at the cutoff of its first
measure. These numbers are not means over needs, so they have no interval and no test.

| Name | What it is |
|---|---|
{together}

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

A new measure is one frozen dataclass in `rewards/measures` and its place in `MEASURES`.
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
        answers="\n".join(map(row, ANSWER_MEASURES.values())),
        wrong=wrong,
        refusal=refusal(wrong),
        settings="\n".join(settings()),
        together="\n".join(
            f"| `{symbol}@k` | {' '.join((kind.__doc__ or '').split())} |" for symbol, kind in CORPUS_MEASURES.items()
        ),
        notes="\n".join(filter(None, map(note, (*MEASURES.values(), *ANSWER_MEASURES.values())))),
        ndcg="[" + ", ".join(f"{value:.3f}" for value in ndcg_B) + "]",
    )


def described(measure: type[Measure]) -> tuple[str, str, dict[str, str]]:
    """The first line of a measure's docstring, what follows as one line, and its last lines by their label."""
    first, *middle, last = inspect.cleandoc(measure.__doc__ or "").split("\n\n")
    labelled = dict(line.split(": ", 1) for line in last.splitlines())
    return first, " ".join(" ".join(middle).split()), labelled


SETTINGS = {
    "judged_only": "`True` removes unjudged items before the ranking is cut",
    "rel": "the lowest grade that is relevant",
    "gain": "the gain of an item: `linear` its grade, `exp` 2^grade - 1, `task` as the task says",
    "p": "the probability that a user looks at the next place",
    "alpha": "how much a kind that was seen before loses, from 0 to 1",
    "field": "the field of the catalog that is read (for `popularity`, the interactions if there is no such field)",
    "low": "the lowest rating",
    "high": "the highest rating",
    "cap": "the share of an answer's words that may be copied from the need in runs of three; 1 allows all",
    "head": "the share of the catalog that does not belong to the tail",
}


def settings() -> Iterator[str]:
    """A line a setting, with its default, and the measures that have it."""
    owners: dict[tuple[str, object], list[str]] = {}
    for measure in (*MEASURES.values(), *ANSWER_MEASURES.values()):
        for setting in fields(measure)[1:]:
            owners.setdefault((setting.name, setting.default), []).append(f"`{measure.symbol}`")
    for (name, default), of in owners.items():
        yield f"| `{name}={default}` | {', '.join(of)} | {SETTINGS[name]} |"


def row(measure: type[Measure]) -> str:
    first, _, labelled = described(measure)
    return f"| `{measure.symbol}{cut(measure)}` | {first} | {labelled['Formula']} | {labelled['Elsewhere']} |"


def note(measure: type[Measure]) -> str:
    middle = described(measure)[1]
    return f"- `{measure.symbol}{cut(measure)}`: {middle}" if middle else ""


def cut(measure: type[Measure]) -> str:
    return "" if measure.symbol in ANSWER_MEASURES else "@k"


def refusal(name: str) -> str:
    try:
        parse_measure(name)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{name} is a measure: choose a wrong name for the page")


if __name__ == "__main__":
    sys.stdout.write(page())
