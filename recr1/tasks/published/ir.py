"""The task of any set of the library ir_datasets, by its name, from the files that are on this machine."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from recr1.errors import DataError, MissingLibrary, UserError, shown
from recr1.tasks.base import SPLITS
from recr1.tasks.judged import ALL
from recr1.tasks.published.source import SetTask, roles
from recr1.tasks.readers import Record
from recr1.tasks.tables import Reading, read_catalog
from retrievers.options import checked, did_you_mean

_BROKEN = (OSError, EOFError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SyntaxError, zlib.error)
"""What the library raises for files that it cannot read."""


class _Absent(BaseException):
    """A file that the library would download; no `Exception`, as the library tries again after each of those."""


@checked
@dataclass(kw_only=True, eq=False)
class IrTask(SetTask):
    """Any set of ir_datasets with documents, queries and judgements: BEIR, MS MARCO, TREC and hundreds of others.

    The library finds its files in the folder of IR_DATASETS_HOME, by default `~/.ir_datasets`. Nothing is downloaded:
    for a set that is not there, the error has the command that gets it. How many rows a set has is compared with what
    the library knows. Names are listed on https://ir-datasets.com.

    An item's fields are those of the set's documents, and its text is what the library takes for a document's text.
    """

    text_fields = ("text",)

    name: str | dict[str, str]
    """A set, such as `beir/nfcorpus/test`, which is split by hash; or a set for each split, with the same documents."""

    def read(self, counts: Counter[str]) -> None:
        """Read what the library has of the sets."""
        given = {ALL: self.name} if isinstance(self.name, str) else self.name
        sets = {split: Path(given[split]) for split in (*SPLITS, ALL) if split in given}
        library = _library([*given.values()])
        first, *_ = sets.values()
        how = Reading(roles("doc_id", "query_id", "text", "relevance"), None, (), counts)
        with _offline(library):
            self.catalog = read_catalog(first, replace(how, read=_rows(library, "docs")), self.text_fields)
            needs = self.asked(sets.values(), replace(how, read=_rows(library, "queries")))
            self.judge(sets, needs, replace(how, read=_rows(library, "qrels")))

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        given = options.get("name", "")
        splits = given if isinstance(given, Mapping) else {"train": given}
        unknown = [f"name: no split {split!r}{did_you_mean(split, SPLITS)}" for split in splits if split not in SPLITS]
        return super().check_options(options) + (unknown if splits else ["name: must have a set for a split, got {}"])


def _library(names: Sequence[str]) -> Any:
    """The library; raises `UserError` for sets that it does not have, that lack a part, or of other documents."""
    try:
        import ir_datasets as library
    except ImportError as error:
        raise MissingLibrary("ir_datasets", "ir", f"task.name: {names[0]}") from error
    for name in names:
        try:
            found = library.load(name)
        except KeyError as error:
            what = f"task.name: ir_datasets {library.__version__} has no set {shown(name)}"
            raise UserError(f"{what}{did_you_mean(name, library.registry)} (see https://ir-datasets.com)") from error
        if lacking := [part for part in ("docs", "queries", "qrels") if not found.has(part)]:
            parts = ", ".join([other for other in library.registry if other.startswith(f"{name}/")][:9])
            what = f"task.name: the set {name} has no {' and no '.join(lacking)}"
            raise UserError(f"{what}: take {f'one of {parts}' if parts else 'another'}")
        if library.docs_parent_id(name) != library.docs_parent_id(names[0]):
            what = f"task.name: {name} and {names[0]} have not the same documents"
            raise UserError(f"{what}: take sets of one collection")
    return library


def _rows(library: Any, part: str) -> Callable[..., Iterator[tuple[int, Record]]]:
    """What reads the documents, queries or judgements of a set, named by the path."""

    def read(path: Path, *_: object) -> Iterator[tuple[int, Record]]:
        name, row = str(path), 0
        found = library.load(name)
        counts = {key: value["count"] for key, value in found.metadata().items() if "count" in value}
        try:
            for row, one in enumerate(getattr(found, f"{part}_iter")(), 1):
                yield row, {**one._asdict(), **({} if part == "qrels" else {"text": one.default_text()})}
        except _Absent as absent:
            size = ", ".join(f"{count:,} {key}" for key, count in counts.items())
            page = f"https://ir-datasets.com/{name.partition('/')[0]}.html"
            what = f"the file {absent} is not here ({size}). The set is described at {page}; get it with:"
            each = "sum(1 for read in (d.docs_iter, d.queries_iter, d.qrels_iter) for _ in read())"
            command = f"python -c \"import ir_datasets; d = ir_datasets.load('{name}'); {each}\""
            raise DataError(path, None, f"{what} {command}") from absent
        except _BROKEN as error:
            what = f"ir_datasets cannot read the {part}: {type(error).__name__}: {error}"
            raise DataError(path, row + 1, f"{what} (remove the set's files, and get them again)") from error
        if row != counts.get(part, row) or not row:
            what = f"the set has {row:,} {part}, and should have {counts.get(part, 'some')}"
            raise DataError(path, None, f"{what}: remove its files from IR_DATASETS_HOME, and get them again")

    return read


@contextmanager
def _offline(library: Any) -> Iterator[None]:
    """The library as it is without a network: what it would download raises `_Absent`."""
    download = library.util.download
    network = [cls for cls in download.BaseDownload.__subclasses__() if cls is not download.LocalDownload]
    kept = {cls: cls.stream for cls in network}

    def refuse(self: Any) -> NoReturn:
        raise _Absent(getattr(self, "url", None) or getattr(self, "uri", "address"))

    for cls in network:
        cls.stream = refuse
    try:
        yield
    finally:
        for cls, stream in kept.items():
            cls.stream = stream
