"""Grades: how they are spread over items and needs, whatever the needs say."""

from __future__ import annotations

from collections import Counter

import numpy as np

from recr1.doctor.base import Faults, Setup, Verdict
from recr1.doctor.texts import ENOUGH


def grade_faults(faults: Faults, setup: Setup) -> None:
    """Grades that tell no items or needs apart, or that are of another scale or catalog.

    One item relevant to a fifth of the needs, an error for half; one of the ten most wanted items best for 60% of 40
    needs or more in a catalog of 40 items or more, an error for 90%; half of all judgements on one need; grades above
    10 without gains; one grade above 1 for all, or one grade for more items than are searched; a tenth of the judged
    items not in the catalog, an error for half.
    """
    qrels, needs = setup.env.task.qrels, [need for need in setup.needs if setup.best_rows(need)]
    if len(needs) < ENOUGH:
        return
    keys = [qrels[need.id] for need in needs]
    wanted = Counter(row for key in keys for row, grade in key.items() if grade > 0)
    ((row, count),) = wanted.most_common(1)
    what = "needs are met by one item {}: a policy learns one query; judge items by the need"
    faults.share("one item", [setup.titles[row]] * count, len(needs), what, warn=0.2, fail=0.5)
    best = [set(setup.best_rows(need)) for need in needs]
    ten = {row for row, _ in Counter(row for rows in best for row in rows).most_common(10)}
    if len(needs) >= 2 * ENOUGH <= len(setup.catalog):
        met = [setup.titles[min(rows & ten)] for rows in best if rows & ten]
        what = "needs want one of the same ten items {}: popularity answers them; judge items by the need"
        faults.share("popular items", met, len(needs), what, warn=0.6, fail=0.9)
    most = max(keys, key=len)
    if 2 * len(most) >= sum(map(len, keys)):
        what = f"{len(most)} of {sum(map(len, keys))} judgements are of one need: judge the others as well"
        faults.add("one need", "warning", what)
    grades = {int(grade) for key in keys for grade in key.grades_J}
    faults.numbers["grades"] = sorted(grades)[:20]
    if max(grades) > 10 and not any(key.gains for key in keys):
        what = f"grades go up to {max(grades)}, and each is its own gain: say with task.gains what a grade is worth"
        faults.add("grade scale", "warning", what)
    many = np.median([len(key) for key in keys]) > setup.env.k
    if len(grades) == 1 and (max(grades) > 1 or many):
        what = f"every judged item has the grade {max(grades)}: are items that do not meet the need missing?"
        faults.add("one grade", "warning", what)
    unknown = setup.env.task.counts.get("judgements left out, unknown item", 0)
    total = unknown + sum(map(len, keys))
    if unknown >= 0.1 * total:
        verdict: Verdict = "error" if 2 * unknown >= total else "warning"
        what = f"{unknown} of {total} judgements are of items that the catalog does not have"
        faults.add("other catalog", verdict, f"{what}: use the catalog that was judged")
