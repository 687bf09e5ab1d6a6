"""One finished run for all tests of reports; a test that changes it takes a copy."""

from __future__ import annotations

import shutil

import pytest

from tests.report.runs import make_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("reported") / "lamp-run").path


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "lamp-run")
