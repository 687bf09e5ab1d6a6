"""What a task has read from large files, kept in the store: the next process opens it in seconds, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recr1.tasks
from recr1.tasks.cells import is_missing
from retrievers import analyzer, base, columns
from retrievers.base import Catalog
from retrievers.columns import Joined, Texts
from retrievers.store import Entry, Store, save_array, save_lines
from rewards.base import Need


@dataclass(frozen=True)
class ReadData:
    """The files of a task, read and joined, before its needs are split."""

    catalog: Catalog
    text_fields: Sequence[str]
    """The fields that together are an item's text."""
    needs: Mapping[str, Need]
    answers: Mapping[str, Mapping[str, Mapping[int, int]]]
    """Split -> need id -> catalog row -> grade."""
    counts: Counter[str]


def kept(
    store: str | None, task: str, files: Sequence[Path], options: Sequence[Any], read: Callable[[], ReadData]
) -> ReadData:
    """What `read` gives; from the store if files of this size and time were read with these options and this code."""
    if store is None:
        return read()
    stats = [(str(file.resolve()), file.stat()) for file in files]
    states = sorted([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)
    key = {"task": task, "files": states, "options": list(options), "code": _code()}
    return _opened(Store(store).open("task", key, lambda folder: _save(folder, read())))


def _code() -> str:
    """A hash of the modules that say what data mean, how they are kept, and what their fingerprint is."""
    digest = hashlib.sha256()
    others = [Path(str(module.__file__)) for module in (analyzer, base, columns)]
    for file in [*others, *sorted(Path(recr1.tasks.__path__[0]).rglob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _save(folder: Path, data: ReadData) -> None:
    save_lines(folder, "ids", data.catalog.ids)
    plain = {}
    for place, (name, column) in enumerate(data.catalog.fields.items()):
        if isinstance(column, Texts):
            save_array(folder, f"letters-{place}", column.letters)
            save_array(folder, f"ends-{place}", column.ends)
        else:
            plain[name] = list(column)
    rest = {
        "fields": list(data.catalog.fields),
        "plain": plain,
        "text_fields": list(data.text_fields),
        "fingerprint": data.catalog.fingerprint,
        "needs": {need.id: need.text for need in data.needs.values()},
        "answers": data.answers,
        "counts": data.counts,
    }
    (folder / "rest.json").write_text(json.dumps(rest), encoding="utf-8")


def _opened(entry: Entry) -> ReadData:
    rest = json.loads((entry.folder / "rest.json").read_text(encoding="utf-8"))
    fields: dict[str, Sequence[Any]] = {}
    for place, name in enumerate(rest["fields"]):
        packed = name not in rest["plain"]
        fields[name] = (
            Texts(entry.array(f"letters-{place}"), entry.array(f"ends-{place}")) if packed else rest["plain"][name]
        )
    texts = Joined([fields[name] for name in rest["text_fields"]], is_missing)
    catalog = Catalog(entry.lines("ids"), texts, fields)
    vars(catalog).update(fingerprint=rest["fingerprint"], entry=entry)  # the entry stays in use as long as the catalog
    answers = {
        split: {need: {int(row): grade for row, grade in key.items()} for need, key in of_split.items()}
        for split, of_split in rest["answers"].items()
    }
    needs = {need: Need(need, text) for need, text in rest["needs"].items()}
    return ReadData(catalog, rest["text_fields"], needs, answers, Counter(rest["counts"]))
