"""A plugin of pytest for `make slow-share`: slow tests from a place that the commit decides, until the time is over.

Every slow test is the first one for some commit, so that all of them run sooner or later. Tests that the time did not
suffice for are skipped, which is no failure; the summary names the files that ran and those that did not.
"""

import time
from collections import Counter
from hashlib import sha256

import pytest

OVER = "time is over: this test is in the share of another commit"


def pytest_addoption(parser):
    parser.addoption("--commit", default="0", help="hash that decides which test comes first")
    parser.addoption("--minutes", type=float, default=15, help="no test is started after them")


def in_turn(tests, commit):
    """The tests, file by file in a fixed order that mixes the folders, from the one that the commit decides."""
    mixed = sorted(tests, key=lambda test: sha256(file_of(test).encode()).hexdigest())
    first = int(sha256(commit.encode()).hexdigest(), 16) % max(len(mixed), 1)
    return mixed[first:] + mixed[:first]


def file_of(test):
    return test.partition("::")[0]


@pytest.hookimpl(trylast=True)  # after -m has taken its part
def pytest_collection_modifyitems(config, items):
    place = {test: at for at, test in enumerate(in_turn([item.nodeid for item in items], config.getoption("--commit")))}
    items.sort(key=lambda item: place[item.nodeid])
    config.stop_at = time.monotonic() + 60 * config.getoption("--minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if time.monotonic() > item.config.stop_at:
        pytest.skip(OVER)


def pytest_terminal_summary(terminalreporter):
    ran, left = Counter(), Counter()
    for outcome in ("passed", "failed", "skipped", "error", "xfailed"):
        for report in terminalreporter.getreports(outcome):
            (left if OVER in str(report.longrepr) else ran)[file_of(report.nodeid)] += 1
    commit = terminalreporter.config.getoption("--commit")
    terminalreporter.section(f"slow tests of commit {commit[:12]}: {ran.total()} of {ran.total() + left.total()}")
    for title, files in (("ran", ran), ("left for other commits", left)):
        for file, tests in sorted(files.items()):
            terminalreporter.write_line(f"{title}: {file} ({tests})")
