"""The task of a folder of files: a catalog, needs and judgements, in the layout of BEIR or one close to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recr1.config.build import build
from recr1.errors import DataError, UserError
from recr1.formats import Format
from recr1.tasks.base import SPLITS
from recr1.tasks.readers import ENDINGS, find
from recr1.tasks.splits import DEFAULT_SHARES, hash_split, sample, share_problem, without_leaks
from recr1.tasks.tables import COLUMNS, QrelsReader, Scale, gains_problem, read_catalog, read_needs
from retrievers.options import did_you_mean
from rewards.base import Need, Qrels

SPLIT_FILES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""The names of split files, without endings."""

ALL = "all"
"""The place of needs that no split file has put into a split."""

Judged: TypeAlias = Mapping[str, Mapping[str, Mapping[int, int]]]
"""Split, or `ALL` -> need id -> catalog row -> grade."""


class FilesTask:
    """Needs, catalog and answer key from files.

    The folder holds a catalog, needs, and judgements in one file or in one file per split. Each file may be `.jsonl`,
    `.tsv`, `.csv` (each also `.gz`) or `.parquet`, whatever ending its option names. Of the catalog, every flat column
    but the id becomes a field (a list of plain values is joined with commas; nested ones are left out).

    With one qrels file, needs are split by a hash of their text. With split files, those are the splits, except that
    validation is taken from train by hash where it has no file (never from test; its share is what `splits` gives
    validation against train: 1/9 by default), and a need whose text is also in a later split is left out.

    Rows of qrels that repeat a pair of need and item are merged to their highest grade. A grade below `min_grade`, and
    so every negative one, counts as 0.

    Args:
        path: the folder.
        corpus: the file of the catalog.
        queries: the file of the needs.
        qrels: a file, a folder of split files (train, dev or validation, test), or {split: file}. The default is
            `qrels/` or `qrels.tsv`, whichever is there.
        columns: the column of a role (a key of `COLUMNS`) where it is none of the usual names: {item_id: sku}.
        text_fields: the fields that together are an item's text; by default those of `title` and `text` that are there.
        splits: shares of the needs by split where no split files say; by default 0.8, 0.1 and 0.1.
        split_seed: another seed gives another split by hash.
        without_positive: what to do where a judged need has no positive grade: refuse the data, or leave the need out.
        unknown_items: what to do where a judged item is not in the catalog: refuse the data, or leave the row out.
        min_grade: the lowest grade that counts as relevant.
        gains: what a grade is worth to nDCG(gain=task)@k, by number {3: 1.0, 2: 0.1} or by what the files write in its
            place {E: 1.0, S: 0.1, C: 0.01, I: 0}; such letters become the grades 0, 1, 2 ... in the order of gains.
        max_needs: keep so many needs of each split, chosen by hash; None for all.
        format: prompt and parser, `{type: plain}` by default.

    Attributes:
        excluded: why needs were left out -> how many.
        judgements: what happened to the rows of qrels -> how many.

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
        text_fields: list[str] | None = None,
        splits: dict[str, float] | None = None,
        split_seed: int = 0,
        without_positive: Literal["refuse", "exclude"] = "refuse",
        unknown_items: Literal["refuse", "exclude"] = "refuse",
        min_grade: int = 1,
        gains: dict[str, float] | None = None,
        max_needs: int | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        given = {"columns": columns, "splits": splits, "qrels": qrels, "min_grade": min_grade, "max_needs": max_needs}
        given["gains"] = gains
        problems = self.check_options({name: value for name, value in given.items() if value is not None})
        if problems:
            raise UserError("; ".join(problems))
        self.format: Format = build("format", format or {"type": "plain"}, path="task.format")
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise DataError(path, None, f"no such folder (seen from {Path.cwd()}): set the task's path to your data")
        # Every file is looked for before the first is read: a catalog may take a while.
        corpus_path, queries_path = find(folder, corpus, "catalog (corpus)"), find(folder, queries, "needs (queries)")
        qrels_paths = _qrels_files(folder, qrels)
        if splits is not None and set(SPLITS) <= set(qrels_paths):
            raise UserError("splits: leave it out; the data has a qrels file for each split already")

        names = {role: (columns[role],) if columns and role in columns else usual for role, usual in COLUMNS.items()}
        self.catalog = read_catalog(corpus_path, names, text_fields)
        needs = read_needs(queries_path, names)
        scale = Scale.of(gains) if gains else None
        reader = QrelsReader(
            self.catalog,
            needs,
            names,
            min_grade=min_grade,
            refuse_unknown_items=unknown_items == "refuse",
            grade_of=scale.grade_of if scale else None,
        )
        judged = {split: reader.read(file) for split, file in qrels_paths.items()}
        _refuse_overlap(judged, qrels_paths)
        self.judgements: Mapping[str, int] = reader.counts

        left_out: Counter[str] = Counter()
        positive = _with_positive(judged, needs, left_out)
        if without_positive == "refuse":
            _refuse_without_positive(judged, positive, needs, qrels_paths)
        by_split = _assign(positive, splits or DEFAULT_SHARES, split_seed)
        left_out["same text as a need of a later split"] = _count(positive) - _count(by_split)
        _refuse_empty(by_split, qrels_paths)
        if max_needs is not None:
            whole, by_split = by_split, {s: sample(members, max_needs, split_seed) for s, members in by_split.items()}
            left_out["beyond max_needs"] = _count(whole) - _count(by_split)
        self.excluded: Mapping[str, int] = +left_out
        self._needs = {split: tuple(members) for split, members in by_split.items()}
        grades = {need: key for answers in judged.values() for need, key in answers.items()}
        kept, worth = [n.id for members in by_split.values() for n in members], scale.worth if scale else None
        self.qrels: Mapping[str, Qrels] = {need: Qrels(grades[need], worth) for need in kept}

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problems = [*_column_problems(options.get("columns")), *_qrels_problems(options.get("qrels"))]
        wrong_shares = share_problem(options["splits"]) if options.get("splits") is not None else None
        if wrong_shares:
            problems.append(f"splits: {wrong_shares}")
        wrong_gains = gains_problem(options["gains"]) if options.get("gains") is not None else None
        if wrong_gains:
            problems.append(f"gains: {wrong_gains}")
        for name in ("min_grade", "max_needs"):
            if options.get(name) is not None and options[name] < 1:
                problems.append(f"{name}: must be at least 1, got {options[name]}")
        return problems

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split, in the order of their file; raises `UserError` for a split that is not there."""
        if split not in self._needs:
            known = ", ".join(self._needs)
            raise UserError(f"no split {split!r} in this data{did_you_mean(split, self._needs)}; it has: {known}")
        return self._needs[split]


def _column_problems(columns: Mapping[str, str] | None) -> list[str]:
    return [
        f"columns: no role {role!r}{did_you_mean(role, COLUMNS)} (roles: {', '.join(COLUMNS)})"
        for role in columns or {}
        if role not in COLUMNS
    ]


def _qrels_problems(qrels: str | Mapping[str, str] | None) -> list[str]:
    if qrels == {}:
        return [f"qrels: no split here: name a file for at least one of {', '.join(SPLITS)}"]
    return [
        f"qrels: no split {split!r}{did_you_mean(split, SPLITS)} (splits: {', '.join(SPLITS)})"
        for split in (qrels if isinstance(qrels, Mapping) else ())
        if split not in SPLITS
    ]


def _qrels_files(folder: Path, qrels: str | Mapping[str, str]) -> dict[str, Path]:
    """Split -> file, or `ALL` -> the one file."""
    if isinstance(qrels, Mapping):
        return {split: find(folder, qrels[split], f"{split} qrels") for split in SPLITS if split in qrels}
    if not (folder / qrels).is_dir():
        return {ALL: find(folder, qrels, "judgements (qrels)")}
    beside = [f"{qrels}{ending}" for ending in ENDINGS if (folder / f"{qrels}{ending}").is_file()]
    if beside:
        raise DataError(folder, None, f"{qrels}/ and {beside[0]} could each be the judgements: name one by qrels: ...")
    found = {}
    for split, stems in SPLIT_FILES.items():
        files = [file for stem in stems for ending in ENDINGS if (file := folder / qrels / f"{stem}{ending}").is_file()]
        if len(files) > 1:
            both = " and ".join(file.name for file in files)
            raise DataError(folder / qrels, None, f"{both} could each be the {split} split: name one by qrels: ...")
        if files:
            found[split] = files[0]
    if not found:
        looked = ", ".join(f"{stem}.tsv" for stems in SPLIT_FILES.values() for stem in stems)
        raise DataError(folder / qrels, None, f"no split file: looked for {looked}, and with other endings")
    return found


def _refuse_overlap(judged: Judged, paths: Mapping[str, Path]) -> None:
    seen: dict[str, str] = {}
    for split, answers in judged.items():
        shared = [need for need in answers if need in seen]
        if shared:
            other = paths[seen[shared[0]]].name
            what = f"{len(shared):,} needs are also in {other}, the first is {shared[0]!r}: a need belongs to one split"
            raise DataError(paths[split], None, what)
        seen.update(dict.fromkeys(answers, split))


def _with_positive(judged: Judged, needs: Mapping[str, Need], left_out: Counter[str]) -> dict[str, list[Need]]:
    """The needs that have something to find, by split, in the order of their file; the others are counted."""
    found = {}
    for split, answers in judged.items():
        good = {need for need, key in answers.items() if max(key.values()) > 0}
        found[split] = [need for need in needs.values() if need.id in good]
        left_out["no positive grade"] += len(answers) - len(good)
    left_out["not judged"] = len(needs) - sum(len(answers) for answers in judged.values())
    return found


def _refuse_without_positive(
    judged: Judged, positive: Mapping[str, Sequence[Need]], needs: Mapping[str, Need], paths: Mapping[str, Path]
) -> None:
    for split, answers in judged.items():
        good = {need.id for need in positive[split]}
        # A need that is in none of several split files is in no split; one that is not in the only file was forgotten.
        asked = list(needs if split == ALL else answers)
        lacking = [need for need in asked if need not in good]
        if lacking:
            first = ", ".join(map(repr, lacking[:3])) + (", ..." if len(lacking) > 3 else "")
            what = f"{len(lacking):,} of {len(asked):,} needs have no positive grade ({first})"
            raise DataError(paths[split], None, f"{what}: judge them, or leave them out by without_positive: exclude")


def _assign(
    positive: Mapping[str, Sequence[Need]], shares: Mapping[str, float], seed: int
) -> Mapping[str, Sequence[Need]]:
    """The needs by split: by hash from one file, as several files say, validation cut from train if need be."""
    if ALL in positive:
        return hash_split(positive[ALL], shares, seed)
    splits: dict[str, list[Need]] = without_leaks(positive)
    cut = {split: shares[split] for split in ("train", "validation") if split in shares}
    if len(cut) == 2 and "validation" not in splits and "train" in splits:
        cut = {split: share / sum(cut.values()) for split, share in cut.items()}
        splits |= hash_split(splits["train"], cut, seed)
    return {split: splits[split] for split in SPLITS if split in splits}


def _refuse_empty(by_split: Mapping[str, Sequence[Need]], paths: Mapping[str, Path]) -> None:
    for split, members in by_split.items():
        if members:
            continue
        if split in paths:
            what = f"the split {split!r} is empty: no need here has a positive grade and a text of its own"
            raise DataError(paths[split], None, f"{what} (judge more needs, or take the file away)")
        file = paths.get(ALL) or paths["train"]
        what = f"the split {split!r} is empty: none of {_count(by_split):,} needs fell into its share"
        raise DataError(file, None, f"{what} (give it a larger one in splits, or leave it out)")


def _count(splits: Mapping[str, Sequence[Need]]) -> int:
    return sum(len(members) for members in splits.values())
