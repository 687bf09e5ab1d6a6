"""Judgements in files: which item a need is judged for, and what a grade means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recr1.errors import DataError, shown
from recr1.tasks.cells import text_of, whole_number
from recr1.tasks.readers import Record
from recr1.tasks.tables import Reading, Rows, refuse_alike, refuse_unknown, rows_of
from retrievers.base import Catalog
from rewards.base import Need

_GRADE, _LONG = re.compile(r"[+-]?[0-9]{1,9}"), re.compile(r"[+-]?[0-9]{10,}")


@dataclass
class QrelsReader:
    """Reads files of judgements for one catalog and its needs.

    Rows of the same need and item are merged to their highest grade; a grade below `min_grade` counts as 0. `grade_of`
    maps what a file writes ("E", "2") to grades; then nothing else is allowed. Counts how many rows were left out,
    merged or changed, over all files.
    """

    catalog: Catalog
    needs: Mapping[str, Need]
    how: Reading
    min_grade: int
    refuse_unknown_items: bool
    grade_of: Mapping[str, int] | None

    def read(
        self, path: Path, rows: Rows | None = None, answers: dict[str, dict[int, int]] | None = None
    ) -> dict[str, dict[int, int]]:
        """Need id -> catalog row -> grade, added to `answers`; `rows` are those of the file where a task has read them.

        Raises `DataError`, also for needs and items that do not exist.
        """
        answers = {} if answers is None else answers
        unknown_needs: list[tuple[int, str]] = []
        unknown_items: list[tuple[int, str]] = []
        rows = rows or rows_of(path, "judgements", self.how, "qrels_need", "qrels_item", "grade")
        for line, record, columns in rows:
            need, item = (text_of(path, line, record, column, self.how.missing) for column in columns[:2])
            grade = self._grade(path, line, record, columns[2])
            if need not in self.needs:
                unknown_needs.append((line, need))
            elif item not in self.catalog:
                unknown_items.append((line, item))
            else:
                self._add(answers.setdefault(need, {}), self.catalog.row(item), grade)
        refuse_alike(path, "need", unknown_needs, self.needs)
        refuse_alike(path, "item", unknown_items, self.catalog.ids)
        refuse_unknown(path, "need", unknown_needs, "add them to the file of needs, or remove these rows")
        if self.refuse_unknown_items:
            remedy = "add them to the catalog, or leave these rows out with unknown_items: exclude"
            refuse_unknown(path, "item", unknown_items, remedy)
        self.how.counts["judgements left out, unknown item"] += len(unknown_items)
        return answers

    def _grade(self, path: Path, line: int, record: Record, column: str) -> int:
        value = record.get(column)
        grade = whole_number(value)
        if self.grade_of is not None:
            for written in [str(form).strip() for form in (value, grade) if form is not None]:
                if written in self.grade_of:
                    return self.grade_of[written]
            what = f"grade {shown(value)} has no gain (known: {', '.join(self.grade_of)})"
            raise DataError(path, line, f"{what}: add it to the task's gains, or correct this row")
        if grade is not None:
            return grade
        wrong = "has more than 9 digits" if _LONG.fullmatch(str(value).strip()) else "is not an integer"
        what = f"grade {shown(value)} {wrong}" if column in record else f"no field {column!r}"
        raise DataError(path, line, f"{what}: write grades as integers such as 0, 1, 2")

    def _add(self, key: dict[int, int], row: int, grade: int) -> None:
        if grade and grade < self.min_grade:
            self.how.counts[f"judgements with a grade below {self.min_grade}, counted as 0"] += 1
            grade = 0
        before = key.get(row)
        key[row] = grade if before is None else max(before, grade)
        if before is not None:
            self.how.counts[f"judgements merged, {'same grade' if before == grade else 'highest grade kept'}"] += 1


def grade_scale(gains: Mapping[str, float]) -> tuple[dict[str, int], dict[int, float]]:
    """What a file writes -> grade, and positive grade -> gain, of gains without a problem.

    Numbers are grades. Letters become grades in the order of their gains: 0 for a gain of 0, 1 for the lowest gain
    above 0, and so on.
    """
    steps = sorted({0.0, *map(float, gains.values())})
    numbered = all(map(_GRADE.fullmatch, map(str, gains)))
    grade_of = {str(name): int(name) if numbered else steps.index(gain) for name, gain in gains.items()}
    return grade_of, {grade_of[str(name)]: float(gain) for name, gain in gains.items() if grade_of[str(name)] > 0}


def gains_problem(gains: Mapping[str, float]) -> str | None:
    """What is wrong with gains, or None."""
    numbers = [name for name in map(str, gains) if _GRADE.fullmatch(name)]
    if 0 < len(numbers) < len(gains):
        other = next(name for name in map(str, gains) if name not in numbers)
        return f"{numbers[0]!r} is a number and {other!r} is not: write all grades in one way"
    for name, gain in gains.items():
        if numbers and int(name) <= 0 < gain:
            return f"the gain of {name} must be 0, got {gain:g}: only a grade above 0 is relevant"
    if len({int(name) for name in numbers}) < len(numbers):
        return "a grade number is listed twice"
    return None if any(gains.values()) else "all gains are 0: give at least one grade a gain above 0"
