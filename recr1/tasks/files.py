"""The task of a folder of files: a catalog, needs and judgements, in the layout of BEIR or one close to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from recr1.config.build import build
from recr1.errors import DataError, UserError, shown
from recr1.tasks.base import SPLITS
from recr1.tasks.cells import MISSING
from recr1.tasks.disk import ENDINGS, encoding_problem, ending_of, find, is_file, kind_of, split_files
from recr1.tasks.grades import QrelsReader, gains_problem, grade_scale
from recr1.tasks.judged import ALL, JudgedTask, Judgements
from recr1.tasks.splits import share_problem
from recr1.tasks.tables import COLUMNS, TEXT_FIELDS, Reading, read_catalog, read_needs
from retrievers.options import NonNegativeFloat, PositiveInt, checked, did_you_mean
from retrievers.store import expanded

SPLIT_FILES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""The names of split files, without endings."""


@checked
class FilesTask(JudgedTask):
    """Needs, catalog and answer key from files.

    The folder holds a catalog, needs, and judgements in one file or in one file per split. Each file may be `.jsonl`,
    `.tsv`, `.csv` (each also `.gz`) or `.parquet`, whatever the ending in its option. Every flat column of the catalog
    except the id becomes a field (a list of plain values is joined with commas; nested values are left out).

    With one qrels file, needs are split by a hash of their text. With split files, those are the splits; without a
    validation file, validation is taken from train by hash (never from test; its share is that of `splits`, validation
    to train: 1/9 by default). A need whose text is also in a later split is left out.

    Rows of qrels with the same need and item are merged to their highest grade. A grade below `min_grade`, so every
    negative one, counts as 0.

    Args:
        path: the folder.
        corpus: the file of the catalog.
        queries: the file of the needs.
        qrels: a file, a folder of split files (train, dev or validation, test), or {split: file}. The default is
            `qrels/` or `qrels.tsv`, whichever exists.
        columns: the column of a role (a key of `COLUMNS`) that has another name than the usual ones: {item_id: sku}.
        encoding: the encoding of text files that are not UTF-8, such as cp1252.
        missing: the texts that, as a whole cell, mean a missing value; by default what tools write for one (`MISSING`:
            nan, None, null, N/A and the like); [] takes them as words.
        text_fields: the fields that together are an item's text; by default `title` and `text`, if they exist.
        splits: shares of the needs by split, if there are no split files; by default 0.8, 0.1 and 0.1.
        split_seed: another seed gives another split by hash.
        without_positive: if a judged need has no positive grade, refuse the data, or exclude the need.
        unknown_items: if a judged item is not in the catalog, refuse the data, or exclude the row.
        repeated_items: if an item id is on several rows, refuse the data, or keep the first of them.
        min_grade: the lowest grade that counts as relevant.
        gains: what a grade is worth to nDCG(gain=task)@k, by number {3: 1.0, 2: 0.1} or by what the files write
            instead {E: 1.0, S: 0.1, C: 0.01, I: 0}; such letters become the grades 0, 1, 2 ... in the order of gains.
        max_needs: keep at most this many needs of each split, chosen by hash; None for all.
        format: prompt and parser, `{type: plain}` by default.

    Raises:
        DataError: for anything wrong in a file, with its line and what to do.
        UserError: for options that contradict each other.
    """

    def __init__(
        self,
        *,
        path: str,
        corpus: str = "corpus.jsonl",
        queries: str = "queries.jsonl",
        qrels: str | dict[str, str] = "qrels",
        columns: dict[str, str] | None = None,
        encoding: str | None = None,
        missing: list[str] | None = None,
        text_fields: Annotated[list[str], MinLen(1)] | None = None,
        splits: dict[str, float] | None = None,
        split_seed: int = 0,
        without_positive: Literal["refuse", "exclude"] = "refuse",
        unknown_items: Literal["refuse", "exclude"] = "refuse",
        repeated_items: Literal["first", "error"] = "error",
        min_grade: PositiveInt = 1,
        gains: dict[str, NonNegativeFloat] | None = None,
        max_needs: PositiveInt | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        self.format = build("format", format or {"type": "plain"}, path="task.format")
        folder = expanded(path)
        if kind_of(folder) != "folder":
            what = "a file, not a folder" if kind_of(folder) else f"no such folder (relative to {Path.cwd()})"
            raise DataError(path, None, f"{what}: set the task's path to your data")
        # Every file is found before the first is read: a catalog may take a while.
        corpus_path, queries_path = find(folder, corpus, "catalog (corpus)"), find(folder, queries, "needs (queries)")
        counts = Counter[str]()
        qrels_paths = _qrels_files(folder, qrels, counts)
        if splits is not None and set(SPLITS) <= set(qrels_paths):
            raise UserError("splits: leave it out, because the data has a qrels file for each split")

        names = {role: (columns[role],) if columns and role in columns else usual for role, usual in COLUMNS.items()}
        how = Reading(names, encoding, frozenset(MISSING if missing is None else missing), counts)
        self.catalog = read_catalog(corpus_path, how, text_fields, keep_first=repeated_items == "first")
        self.text_fields = text_fields or [name for name in TEXT_FIELDS if name in self.catalog.fields]
        needs = read_needs(queries_path, how)
        grade_of, worth = grade_scale(gains) if gains else (None, None)
        reader = QrelsReader(self.catalog, needs, how, min_grade, unknown_items == "refuse", grade_of)
        judged = {split: reader.read(file) for split, file in qrels_paths.items()}
        _refuse_overlap(judged, qrels_paths)

        self.settle(
            judged,
            needs,
            qrels_paths,
            counts,
            worth=worth,
            shares=splits,
            seed=split_seed,
            max_needs=max_needs,
            refuse_without_positive=without_positive == "refuse",
        )

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        qrels = options.get("qrels")
        problems = _unknown_keys("columns", "role", options.get("columns"), COLUMNS)
        problems += _unknown_keys("qrels", "split", qrels if isinstance(qrels, Mapping) else None, SPLITS)
        twice = Counter(options.get("text_fields") or ()).most_common(1)
        if twice and twice[0][1] > 1:
            problems.append(f"text_fields: {twice[0][0]!r} is listed twice, and would count twice in every text")
        if qrels == {}:
            problems.append(f"qrels: must have a file for at least one of {', '.join(SPLITS)}, got {{}}")
        for name, check in (("splits", share_problem), ("gains", gains_problem), ("encoding", encoding_problem)):
            if options.get(name) is not None and (problem := check(options[name])):
                problems.append(f"{name}: {problem}")
        return problems


def _unknown_keys(option: str, kind: str, given: Mapping[str, str] | None, known: Collection[str]) -> list[str]:
    unknown = [key for key in given or {} if key not in known]
    return [f"{option}: no {kind} {key!r}{did_you_mean(key, known)} ({kind}s: {', '.join(known)})" for key in unknown]


def _qrels_files(folder: Path, qrels: str | Mapping[str, str], counts: Counter[str]) -> dict[str, Path]:
    """Split -> file, or `ALL` -> the one file. Counts other files in a folder of split files."""
    if isinstance(qrels, Mapping):
        return {split: find(folder, qrels[split], f"{split} qrels") for split in SPLITS if split in qrels}
    if kind_of(folder / qrels) != "folder":
        return {ALL: find(folder, qrels, "judgements (qrels)")}
    beside = [f"{qrels}{ending}" for ending in ENDINGS if is_file(folder / f"{qrels}{ending}")]
    if beside:
        raise DataError(folder, None, f"{qrels}/ and {beside[0]} could both be the judgements: choose one with qrels")
    found = split_files(folder / qrels, SPLIT_FILES)
    others = sorted(
        path.name for path in (folder / qrels).iterdir() if ending_of(path.name) and path not in found.values()
    )
    if others:
        counts[f"files in {(folder / qrels).name}/ that are not splits, the first {others[0]!r}"] = len(others)
    return found


def _refuse_overlap(judged: Judgements, paths: Mapping[str, Path]) -> None:
    seen: dict[str, str] = {}
    for split, answers in judged.items():
        shared = [need for need in answers if need in seen]
        if shared:
            other = paths[seen[shared[0]]].name
            what = f"{len(shared):,} needs are also in {other}, the first is {shown(shared[0])}"
            raise DataError(paths[split], None, f"{what}: a need belongs to one split")
        seen.update(dict.fromkeys(answers, split))
