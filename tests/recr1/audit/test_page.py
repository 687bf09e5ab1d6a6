"""The page of an audit in a real browser, where there is one."""

from __future__ import annotations

import pytest

from recr1.audit import find_biases
from recr1.audit.report import write
from recr1.config.build import AuditSpec
from tests.browsers import CONTRAST, browser  # noqa: F401 - a fixture
from tests.recr1.audit.world import Lists, World, environment, shown_rows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    world = World(users=40)
    policy = Lists(shown_rows, lambda titles: [float(len(title)) for title in titles])
    found = find_biases(environment(world), policy, "test", AuditSpec(orders=2), name="<b>first</b>")
    return write(found, tmp_path_factory.mktemp("audit")) / "audit.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_it_can_be_read_on_a_desktop_and_on_a_telephone(browser, written, scheme, width):  # noqa: F811
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    tab, said = context.new_page(), []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(written.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert said == []
    assert tab.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert tab.evaluate(CONTRAST) == []
    assert tab.evaluate("document.querySelectorAll('.picture svg').length") == 2
    assert tab.inner_text("h1") == "<b>first</b> on test: 40 needs"  # what is named is text, never markup
    assert "2 of 13 numbers with a limit are above it" in tab.inner_text(".sentence")
    context.close()
