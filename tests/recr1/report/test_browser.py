"""The report in a real browser, where there is one."""

from __future__ import annotations

import pytest

from recr1.report import page, read_run, write_report
from tests.browsers import CONTRAST, browser, open_tab  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def written(attached, tmp_path_factory):
    return write_report(page([read_run(attached)]), tmp_path_factory.mktemp("page") / "report.html")[0]


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light-desktop", "dark-telephone"])
def seen(browser, written, request):  # noqa: F811
    tab = open_tab(browser, *request.param)
    tab.goto(written.as_uri())
    yield tab
    tab.context.close()


def test_it_opens_without_errors_and_without_a_network(seen, written):
    assert seen.said == [] and seen.asked == [written.as_uri()]


def test_nothing_stands_over_its_edge_even_with_everything_unfolded(seen):
    seen.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert seen.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_pictures_are_as_wide_as_their_cards_and_text_in_them_can_be_read(seen):
    sizes = seen.evaluate(
        """[...document.querySelectorAll(".picture svg")].map(svg => [svg.getBoundingClientRect().width,
        Math.min(...[...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect().height))])"""
    )
    assert len(sizes) > 8
    assert all(width > 200 and smallest > 8 for width, smallest in sizes)


def test_all_text_has_enough_contrast(seen):
    assert seen.evaluate(CONTRAST) == []


def test_the_first_key_leads_past_the_navigation(seen):
    seen.keyboard.press("Tab")
    assert seen.evaluate("document.activeElement.className") == "skip"
    assert seen.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    seen.keyboard.press("Enter")
    assert seen.evaluate("document.activeElement.id") == "main"
