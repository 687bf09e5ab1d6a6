"""The file of marks: it grows, a kill loses at most the mark being written, and other files are not touched."""

from __future__ import annotations

import json
import resource
import threading

import pytest

from recr1.errors import DataError, RunError, UserError
from recr1.serve.playground.marks import Mark, Marks
from tests.processes import plain_user


def mark(need="a lamp", better="raw", **more):
    return Mark(need, need, "red tent", "bm25", better, "2026-11-30T12:00:00+00:00", False, "0123")._replace(**more)


def test_marks_are_lines_that_another_process_finds(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    assert marks.tally() == {"raw": 0, "rewritten": 0, "same": 0} and not marks.path.exists()
    marks.add(mark())
    assert marks.add(mark("tents", "rewritten")) == {"raw": 1, "rewritten": 1, "same": 0}
    assert json.loads(marks.path.read_text().splitlines()[0]) == {
        "need": "a lamp",
        "raw": "a lamp",
        "rewritten": "red tent",
        "retriever": "bm25",
        "better": "raw",
        "time": "2026-11-30T12:00:00+00:00",
        "blind": False,
        "by": "0123",
    }
    assert Marks(marks.path).tally() == marks.tally()


def test_of_a_pair_that_was_marked_again_the_last_mark_counts(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    for better in ("raw", "same"):
        marks.add(mark(better=better))
    assert marks.add(mark(retriever="rank_bm25")) == {"raw": 1, "rewritten": 0, "same": 1}
    assert len(marks.path.read_text().splitlines()) == 3


@pytest.mark.parametrize("half", ['{"ne', '{"need": "a la', '{"need": "a", "by": "0'])
def test_a_mark_that_a_kill_left_half_written_is_cut_off(tmp_path, half):
    whole = Marks(tmp_path / "marks.jsonl")
    whole.add(mark())
    before = whole.path.read_text()
    whole.path.write_text(before + half)
    marks = Marks(whole.path)
    assert marks.path.read_text() == before
    marks.path.write_text(before + half)  # by a full disk, while it is open
    assert marks.add(mark("tents")) == {"raw": 2, "rewritten": 0, "same": 0}
    assert [json.loads(line)["need"] for line in marks.path.read_text().splitlines()] == ["a lamp", "tents"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("my notes", 1),
        ("my notes\n", 1),
        ('{"need": "a"}\n', 1),
        (json.dumps(mark()._asdict()) + "\n[]\n", 2),
        (json.dumps(mark(better="left")._asdict()) + "\n", 1),
        (json.dumps(mark()._asdict()) + "\nmy notes", 2),
    ],
)
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(tmp_path, content, line):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"notes\.txt:{line}: is not a mark.*name another file with --marks"):
        Marks(path)
    assert path.read_text() == content


def test_a_folder_that_is_missing_or_closed_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "marks.jsonl"):
        with pytest.raises(UserError, match="no file can be written there"):
            Marks(path)
    with plain_user() as folder:
        folder.chmod(0o500)
        with pytest.raises(UserError, match="no file can be written there"):
            Marks(folder / "marks.jsonl")


def test_a_mark_that_cannot_be_written_is_an_error_and_the_next_one_is_whole(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.add(mark())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (marks.path.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(RunError, match="cannot be written: File too large"):
            marks.add(mark("tents"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert marks.path.read_text().endswith('{"need": "tents", "r')
    assert marks.add(mark("two")) == {"raw": 2, "rewritten": 0, "same": 0}


def test_marks_of_several_threads_are_whole_lines(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    threads = [threading.Thread(target=marks.add, args=(mark(f"need {n} " * 500),)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Marks(marks.path).tally() == {"raw": 12, "rewritten": 0, "same": 0}
