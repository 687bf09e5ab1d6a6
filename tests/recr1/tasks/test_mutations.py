"""Folders with one fault each, by a seeded generator: refused, reported, or read with the same meaning.

A fault may also change one text or one grade into another: `VALUE` of `generated`. What no reader can know is allowed
where it can come about, and only there: another character in a text, another digit in a grade, a last text that was cut
off, in files without a checksum. Ids have check digits, so that a changed one never is another's. Whole judgements that
are missing cannot be known either: rows are lost in the catalog and the needs alone.
"""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from recr1.errors import UserError
from recr1.tasks.files import FilesTask
from tests.recr1.tasks.file_faults import FAULTS
from tests.recr1.tasks.generated import REFUSED, REPORTED, SAME, VALUE, Case, at_most

pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
CASES = 300


def opened(case, folder):
    folder.mkdir()
    case.write(folder)
    with at_most(seconds=20):
        return FilesTask(path=str(folder), **case.options)


def meaning(task):
    """Texts of items, needs by split, and grades."""
    ids = task.catalog.ids
    needs = {split: {need.id: need.text for need in task._needs[split]} for split in task._needs}
    grades = {(need, ids[row]): grade for need, key in task.qrels.items() for row, grade in key.items()}
    return dict(zip(ids, task.catalog.texts, strict=True)), needs, grades


def differences(one, other):
    """How many values differ; None where what there is differs."""
    (texts, needs, grades), (texts2, needs2, grades2) = (
        (texts, {need: text for split in needs.values() for need, text in split.items()}, grades)
        for texts, needs, grades in (one, other)
    )
    pairs = ((texts, texts2), (needs, needs2), (grades, grades2))
    if any(set(a) != set(b) for a, b in pairs):
        return None
    return sum(a[key] != b[key] for a, b in pairs for key in a)


def outcome(case, sound, folder):
    """What became of a case, and what there is to say about it."""
    try:
        task = opened(case, folder)
    except UserError as error:
        return REFUSED, str(error)
    before, after = meaning(sound), meaning(task)
    if before == after:
        return SAME, ""
    if Counter(task.counts) - Counter(sound.counts) or task.text_fields != sound.text_fields:
        return REPORTED, f"{task.counts} {task.text_fields}"
    changed = differences(before, after)
    return (VALUE if changed == 1 else "silent"), f"{changed} differences"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_a_fault_is_refused_or_reported_or_changes_no_meaning(seed, tmp_path):
    fault = FAULTS[seed % len(FAULTS)]
    case = Case(random.Random(seed))
    may = fault(case)
    plain = Case(random.Random(seed))
    for name, ending in case.ending.items():
        plain.ending[name] = ending
    found, why = outcome(case, opened(plain, tmp_path / "sound"), tmp_path / "faulty")
    assert found in may, f"{fault.__name__}: {found} ({why}); expected {sorted(may)}"
    if found == REFUSED:
        assert re.match(rf"{re.escape(str(tmp_path))}/faulty(/[\w./-]+)?(:\d+)?: ", why), why
        if case.line:
            assert f":{case.line}: " in why, f"{fault.__name__}: line {case.line} is not named: {why}"
