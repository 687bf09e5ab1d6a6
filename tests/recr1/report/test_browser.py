"""The report in a real browser, where there is one."""

from __future__ import annotations

import shutil

import pytest

from recr1.report import page, read_run, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CONTRAST = """() => {
  const light = c => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const e of document.querySelectorAll("p, th, td, h1, h2, h3, a, dt, dd, li, figcaption, summary, b, .tag")) {
    if (!e.textContent.trim() || e.closest(".hidden, .skip, svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push(e.className + ": " + e.textContent.trim().slice(0, 40));
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install one to see reports as readers do")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(attached, tmp_path_factory):
    return write_report(page([read_run(attached)]), tmp_path_factory.mktemp("page") / "report.html")[0]


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light-desktop", "dark-telephone"])
def seen(browser, written, request):
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    tab = context.new_page()
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("dialog", lambda dialog: (tab.said.append("dialog"), dialog.dismiss()))
    tab.on("request", lambda asked: tab.asked.append(asked.url))
    tab.goto(written.as_uri())
    yield tab
    context.close()


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
