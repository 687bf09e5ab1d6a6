"""The playground in a real browser, where there is one: a person types, reads, marks; with a keyboard alone too."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recr1.gate import Gate
from tests.browsers import CONTRAST, browser, open_tab  # noqa: F401 - a fixture
from tests.recr1.serve.playground.conftest import HOSTILE, NEEDS

SAID = {"raw": "Raw is better.", "rewritten": "Rewritten is better.", "same": "same."}
SIZES = {"light": ("light", 1280), "dark": ("dark", 1280), "telephone": ("dark", 390), "narrow": ("light", 320)}


@pytest.fixture
def tab(browser, opened):  # noqa: F811
    """Opens a page; what it says in the console, asks and is asked is kept, and none of it may be a fault."""
    pages = []

    def tab(address, scheme="light", width=1280, **more):
        page = open_tab(browser, scheme, width, **more)
        pages.append(page)
        page.goto(address)
        until(page, "document.querySelectorAll('#retriever option').length || !document.getElementById('key').hidden")
        return page

    yield tab
    for page in pages:
        page.context.close()


def until(page, true, *given):
    """Waits until an expression is true; Playwright's own way needs `eval`, which the page forbids."""
    for _ in range(200):
        if page.evaluate(true, *given):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {true}")


def search(page, need):
    page.fill("#need", need)
    page.press("#need", "Enter")
    until(page, "need => shown && shown.need === need && !document.getElementById('search').disabled", need)


def read(page):
    """What a person reads: for each list its name, its query, and the items with their moves."""
    return [
        (
            one.locator("h3").inner_text(),
            one.locator(".query").inner_text() if one.locator(".query").is_visible() else None,
            [re.sub(r"\s+", " ", item.inner_text()) for item in one.locator(".items li").all()],
        )
        for one in page.locator(".list").all()
    ]


def lines(marks):
    return [json.loads(line) for line in marks.path.read_text().splitlines()] if marks.path.exists() else []


def test_a_person_types_a_need_reads_both_lists_and_marks_one(opened, tab):
    with opened() as (address, marks):
        page = tab(address)
        assert page.evaluate("document.activeElement.id") == "need"
        search(page, "a lamp")
        raw, rewritten = read(page)
        assert raw[:2] == ("Raw", "a lamp") and rewritten[:2] == ("Rewritten", "red tent")
        assert [text.split(" ")[0] for text in raw[2]] == ["1", "2", "3", "4"]
        assert [text.rpartition(" ")[2] for text in raw[2]] == ["gone", "lamp", "gone", "gone"]
        assert [re.search("(↑ 1|new)$", text)[0] for text in rewritten[2]] == ["↑ 1", "new", "new"]
        facts = page.inner_text(".facts")
        assert re.search(r"Source\s+model\s+Reason\s+rewritten\s+Rewriter\s+[\d.]+ ms\s+Searches\s+[\d.]+ ms", facts)
        page.get_by_role("button", name="Rewritten").click()
        page.wait_for_selector("[aria-pressed=true]")
        [line] = lines(marks)
        assert (line["need"], line["rewritten"], line["better"], line["blind"]) == (
            "a lamp",
            "red tent",
            "rewritten",
            False,
        )
        assert page.inner_text("#tally").startswith("1 marked in ")
        page.get_by_role("button", name="Same").click()  # another opinion
        until(page, "document.getElementById('tally').textContent.endsWith('same 1.')")
        assert [line["better"] for line in lines(marks)] == ["rewritten", "same"]
        assert page.said == [] and all(url.startswith((f"{address}/", "data:")) for url in page.asked)


def test_examples_are_clicked_and_the_retriever_is_switched(opened, tab):
    with opened() as (address, _):
        page = tab(address)
        shown = page.locator("#examples button")
        assert shown.all_inner_texts() == NEEDS[:6]
        page.click("#others")
        assert shown.all_inner_texts() == [*NEEDS[6:], *NEEDS[:5]][:6]
        page.get_by_role("button", name="a lamp").click()
        until(page, "shown && shown.need === 'a lamp'")
        assert page.input_value("#need") == "a lamp"
        bm25 = read(page)
        page.select_option("#retriever", "rank_bm25")
        until(page, "shown.source === 'cache'")
        assert read(page)[1][1] == bm25[1][1]
        assert page.asked.count(f"{address}/try") == 2


def test_a_keyboard_is_enough(opened, tab):
    with opened() as (address, marks):
        page = tab(address)
        page.keyboard.type("a lamp 123")
        for _ in range(4):
            page.keyboard.press("Backspace")
        page.keyboard.press("Enter")
        until(page, "document.activeElement.id === 'result'")
        assert lines(marks) == []  # digits in a need are no marks
        for place, (key, better) in enumerate({"3": "rewritten", "ArrowLeft": "raw", "2": "same", "1": "raw"}.items()):
            page.keyboard.press(key)
            until(page, "all => document.getElementById('said').textContent.startsWith(all)", f"Marked: {SAID[better]}")
            assert [line["better"] for line in lines(marks)][place:] == [better]
        page.keyboard.press("Control+1")
        page.keyboard.press("Escape")
        assert page.evaluate("[document.activeElement.id, getSelection().toString()]") == ["need", "a lamp"]
        page.keyboard.type("tents")
        reached = []
        for _ in range(5):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert reached == ["retriever", "blind", "search", "others", "a lamp"]
        page.focus("#search")
        page.keyboard.press("Enter")
        until(page, "shown.need === 'tents'")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Raw"
        page.keyboard.press("Space")
        page.wait_for_selector("[aria-pressed=true]")
        assert len(lines(marks)) == 5 and lines(marks)[-1]["need"] == "tents"


def nodes(page):
    """Role and name of what a screen reader finds."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    told = [node for node in tree if not node.get("ignored")]
    return [(node["role"]["value"], node.get("name", {}).get("value", ""), node) for node in told]


def test_a_screen_reader_finds_names_for_all_and_hears_what_happened(opened, tab):
    with opened() as (address, _):
        page = tab(address)
        search(page, "a lamp")
        found = nodes(page)
        names = {(role, name) for role, name, _ in found}
        assert names >= {
            ("heading", "Raw and rewritten"),
            ("textbox", "What does the shopper need?"),
            ("combobox", "Retriever"),
            ("checkbox", "Blind: hide which list is which until I mark"),
            ("button", "Search"),
            ("region", "Raw"),
            ("region", "Rewritten"),
            ("region", "Needs of validation"),
            ("group", "Which list is better?"),
            *(("button", name) for name in ("Raw", "Same", "Rewritten", *NEEDS[:6])),
        }
        wanted = ("button", "textbox", "combobox", "checkbox", "region", "group", "heading", "search")
        assert [role for role, name, _ in found if role in wanted and not name and role != "search"] == []
        assert [role for role, _, _ in found].count("list") == 3
        assert page.locator("li").filter(has_text="lamp").nth(1).is_visible()
        heard = page.get_by_role("status").text_content()
        assert heard == "Rewritten as red tent. 2 new, 1 up, 0 down, 3 gone."
        texts = [name for role, name, _ in found if role == "StaticText"]
        assert ", up 1, was at 2" in texts and ", new" in texts and "↑ 1" not in texts
        live = {role: node for role, _, node in found if role in ("status", "alert")}
        assert {prop["name"]: prop["value"]["value"] for prop in live["status"]["properties"]}["live"] == "polite"


@pytest.mark.parametrize("name", SIZES)
def test_all_of_it_fits_and_can_be_read(opened, tab, name):
    with opened() as (address, _):
        page = tab(address, *SIZES[name])
        search(page, "x" * 300)
        search(page, "a lamp")
        page.keyboard.press("3")
        page.wait_for_selector("[aria-pressed=true]")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        selector = CONTRAST.replace(".tag", "label, legend, button, span, select, textarea")
        assert page.evaluate(selector) == []
        assert page.evaluate("document.querySelector('.list h3').getBoundingClientRect().height") > 10
        small = """[...document.querySelectorAll("button, select, textarea")].filter(one => one.offsetParent)
            .filter(one => one.getBoundingClientRect().height < 24).map(one => one.textContent)"""
        assert page.evaluate(small) == []


def test_nothing_moves_where_that_is_not_wanted(opened, tab):
    with opened() as (address, _):
        for wanted, seconds in (("no-preference", "0.15s"), ("reduce", "0s")):
            page = tab(address, reduced_motion=wanted)
            search(page, "a lamp")
            assert page.evaluate("getComputedStyle(document.querySelector('.items li')).transitionDuration") == seconds


def test_texts_of_others_are_shown_and_never_run(opened, tab):
    with opened(examples=[HOSTILE, "hostile"]) as (address, _):
        page = tab(address)
        page.locator("#examples button").first.click()
        until(page, "shown")
        assert read(page)[0][1] == HOSTILE
        search(page, "hostile")
        rewritten = read(page)[1]
        assert rewritten[1] == "<script>alert(2)</script> bold" and HOSTILE in rewritten[2][0]
        assert (
            page.evaluate("document.querySelectorAll('.items img, .items b, #examples img, main script').length") == 0
        )
        # The rules hold even where a fault would put markup into the page.
        fails = "try { document.body.innerHTML = '<img src=x onerror=alert(3)>'; 'done' } catch (e) { e.name }"
        assert page.evaluate(fails) == "TypeError"
        assert "dialog" not in page.said and all(url.startswith((f"{address}/", "data:")) for url in page.asked)


def test_blind_marks_hide_which_list_is_which(opened, tab):
    with opened() as (address, marks):
        page = tab(address)
        page.check("#blind")
        orders = set()
        for number in range(12):
            search(page, "a lamp")
            one, other = read(page)
            assert (one[:2], other[:2]) == (("List A", None), ("List B", None))
            assert page.locator("#how").is_hidden() and page.locator(".move").count() == 0
            whole = (
                page.inner_text("main")
                + page.text_content("#said")
                + " ".join(page.locator(".quiet").all_text_contents())
            )
            assert "red tent" not in whole and "new" not in page.inner_text(".lists")
            orders.add(len(one[2]))
            page.keyboard.press("1")
            page.wait_for_selector("[aria-pressed=true]")
            assert {name for name, _, _ in read(page)} == {"Raw", "Rewritten"}
            line = lines(marks)[number]
            assert line["blind"] and line["better"] == ("raw" if len(one[2]) == 4 else "rewritten")
            if orders == {3, 4}:
                break
        assert orders == {3, 4}  # by chance, once in two thousand
        page.keyboard.press("2")  # changed after the names were shown
        until(page, "document.getElementById('said').textContent.startsWith('Marked: same')")
        assert not lines(marks)[-1]["blind"]


def test_what_the_gate_expects_is_shown(opened, tab):
    gate = Gate(intercept=0.0, weights={"query_words": 0.1}, threshold=0.15, facts={})
    with opened(gate=gate) as (address, _):
        page = tab(address)
        assert page.inner_text("#about").endswith(", behind its gate.")
        search(page, "a lamp")
        assert re.search(r"Gain that the gate expects\s+\+0\.200$", page.inner_text(".facts"))
        search(page, "kettle")
        assert re.search(r"Source\s+raw\s+Reason\s+gate\s", page.inner_text(".facts"))
        assert re.search(r"Held back by the gate\s+pot\s", page.inner_text(".facts"))
        assert page.text_content("#said") == "Searched as it came: gate."


def test_lists_of_one_query_are_not_marked(opened, tab):
    with opened() as (address, marks):
        page = tab(address)
        search(page, "broken")
        assert page.text_content("#said") == "Searched as it came: model failed."
        assert page.locator("#marking").is_hidden()
        page.keyboard.press("1")
        assert lines(marks) == []
        search(page, "nothing else")
        assert read(page)[0][2] == ["Found nothing."]


def test_faults_are_said_and_a_later_search_goes_on(opened, tab):
    with opened() as (address, _):
        page = tab(address)
        page.select_option("#retriever", "moody")
        page.fill("#need", "a lamp")
        page.press("#need", "Enter")
        page.wait_for_selector("#fault:not([hidden])")
        assert page.get_by_role("alert").inner_text() == "moody at http://engine, after 3 attempts: no answer"
        page.select_option("#retriever", "bm25")
        search(page, "a lamp")
        assert page.locator("#fault").is_hidden()
    page.press("#need", "Enter")
    page.wait_for_selector("#fault:not([hidden])")
    assert page.inner_text("#fault") == "The playground does not answer. Was it stopped?"


def test_a_late_answer_does_not_replace_a_newer_one(opened, tab):
    with opened() as (address, _):
        page, held = tab(address), []
        page.route("**/try", lambda route: held.append(route) if not held else route.continue_())
        page.fill("#need", "tents")
        page.press("#need", "Enter")
        until(page, "document.getElementById('search').disabled")
        page.fill("#need", "a lamp")
        page.press("#need", "Enter")
        until(page, "shown && shown.need === 'a lamp'")
        with page.expect_response("**/try"):
            held[0].continue_()
        page.wait_for_timeout(100)
        assert read(page)[0][1] == "a lamp"


def test_a_token_is_asked_for_once(opened, tab):
    with opened(token="open sesame") as (address, marks):
        page = tab(address)
        assert page.evaluate("document.activeElement.id") == "token"
        assert page.locator("#ask").is_hidden() and page.locator("#fault").is_hidden()
        for token in ("wrong", "open sesame"):
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.wait_for_selector("#fault:not([hidden])" if token == "wrong" else "#examples button")
        search(page, "a lamp")
        page.reload()
        search(page, "tents")
        page.keyboard.press("3")
        page.wait_for_selector("[aria-pressed=true]")
        assert len(lines(marks)) == 1


class Evil(BaseHTTPRequestHandler):
    """A page of another site that tries to mark."""

    target = ""

    def do_GET(self):
        page = f"""<form id=f method=post enctype=text/plain action="{self.target}/mark">
            <input name='{{"trial":"x","better":"raw","a":"' value='"}}'></form><script>
            const body = JSON.stringify({{trial: TRIAL, better: "raw"}});
            const go = (path, how) => fetch("{self.target}" + path, how).then(answer => answer.type, () => "refused");
            const post = mode => go("/mark", {{method: "POST", mode, body}});
            window.done = Promise.all([post("no-cors"), post("cors"), go("/info")]);
            </script><iframe src="{self.target}/"></iframe>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.replace("TRIAL", json.dumps(self.trial)).encode())

    def log_message(self, *_):
        pass


def test_a_page_of_another_site_cannot_read_frame_or_mark(opened, tab, browser):  # noqa: F811
    with opened() as (address, marks):
        page = tab(address)
        search(page, "a lamp")
        Evil.target, Evil.trial = address, page.evaluate("shown.trial")
        with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            context = browser.new_context()
            evil = context.new_page()
            evil.goto(f"http://localhost:{server.server_port}/")
            assert evil.evaluate("window.done") == ["opaque", "refused", "refused"]
            assert evil.frames[1].url.startswith("chrome-error:")
            evil.evaluate("document.getElementById('f').submit()")
            evil.wait_for_url("**/mark")
            assert "another site" in evil.inner_text("body")
            context.close()
            server.shutdown()
        assert lines(marks) == []
        page.keyboard.press("1")  # the same lists, by the person
        page.wait_for_selector("[aria-pressed=true]")
        assert len(lines(marks)) == 1
