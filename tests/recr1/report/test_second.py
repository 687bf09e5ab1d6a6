"""The second opinion in a report: of one run, of several seeds, and of runs that have none in common."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recr1.cli.main import run as recr1
from recr1.report.groups import grouped, verdict
from recr1.report.run_data import read_run
from recr1.tasks.toy import ToyTask
from tests.recr1.report.runs import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs of other seeds and skills, two of them with labels that are one grade stricter than the toy's."""
    folder, task = tmp_path_factory.mktemp("second"), ToyTask()
    rows = [
        f"{n.id} 0 {task.catalog.ids[row]} {max(grade - 1, 0)}\n"
        for n in task.needs("test")
        for row, grade in task.qrels[n.id].items()
    ]
    (folder / "strict.trec").write_text("".join(rows))
    for seed, skill in enumerate((1.0, 0.5, 0.5)):
        make_run(
            folder / f"run-{seed}", seed=seed, skill=skill, second=str(folder / "strict.trec") if seed < 2 else None
        )
    return folder


def opinion_of(folder, seed):
    return json.loads((folder / f"run-{seed}/eval/test/trained/eval.json").read_text())["second_opinion"]


def test_a_report_has_the_table_and_the_sentence_of_one_run(folder):
    (group,) = grouped([read_run(folder / "run-0")])
    assert group.splits["test"][-1].second == opinion_of(folder, 0)
    assert recr1(["report", str(folder / "run-0")]) == 0
    for page in ("report.html", "report.md"):
        text = (folder / "run-0" / page).read_text()
        assert "Second opinion on test: " in text
        assert "inflation" in text
        assert "on the second labels" in text


def test_several_seeds_are_pooled(folder):
    (group,) = grouped([read_run(folder / f"run-{seed}") for seed in (0, 1)])
    pooled = group.splits["test"][-1].second["measures"]["nDCG@10"]
    one, other = (opinion_of(folder, seed)["measures"]["nDCG@10"] for seed in (0, 1))
    for labels in ("paid", "second"):
        mean = np.mean([one[labels]["difference"], other[labels]["difference"]])
        assert pooled[labels]["difference"] == pytest.approx(mean)
        assert pooled[labels]["low"] < one[labels]["low"]  # seeds are counted as chance
    assert any(remark.startswith("Second opinion: trained gains") for remark in verdict(group).remarks)


def test_runs_without_one_in_common_say_so(folder):
    (group,) = grouped([read_run(folder / f"run-{seed}") for seed in (1, 2)])
    assert group.splits["test"][-1].second is None
    assert "The runs have no second opinion in common: evaluate all with the same file." in verdict(group).remarks
