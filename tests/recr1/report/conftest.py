"""One finished run for all tests of reports; a test that changes it takes a copy."""

from __future__ import annotations

import shutil

import pytest

from recr1.cli.main import run as recr1
from tests.recr1.report.runs import make_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("reported") / "lamp-run").path


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "lamp-run")


@pytest.fixture(scope="session")
def attached(finished, tmp_path_factory):
    """The same run with a comparison, a swap test and two rescored results in its folder."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("attached") / "lamp-run")
    swap = ["--policy", "echo", "--retrievers", "rank_bm25", "--split", "test"]
    assert recr1(["rescore", str(run), "retriever.b=0.1", "--name", "bm25"]) == 0
    assert recr1(["rescore", str(run), "--measures", "RR@10"]) == 0
    assert recr1(["compare", str(run), "--policies", "raw,prf(items=3),best_item"]) == 0
    assert recr1(["eval", str(run), *swap]) == 0
    return run
