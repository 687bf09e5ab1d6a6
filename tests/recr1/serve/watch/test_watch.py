"""`recr1 watch` day after day, its files and its page."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from recr1.cli.main import run as recr1
from recr1.config.build import build
from recr1.recipe import load_recipe
from tests.browsers import CONTRAST, browser, open_tab  # noqa: F401 - a fixture

SHOP = ["task.items=300", "task.validation=60", "task.test=60"]
HOSTILE = "<script>alert(1)</script> {{ 7 * 7 }} lamp"


@pytest.fixture(scope="module")
def needs():
    return [need.text for need in build("task", load_recipe("quickstart", SHOP).task).needs("train")][:300]


@pytest.fixture(scope="module")
def judged():
    return [need.text for need in build("task", load_recipe("quickstart", SHOP).task).needs("validation")]


@pytest.fixture(scope="module")
def first(bundle, needs, judged, tmp_path_factory):
    """A folder with the first day; searches of judged needs are among them."""
    folder = tmp_path_factory.mktemp("watched")
    assert watched(bundle, folder, [*needs, *judged[:40], HOSTILE], "2026-12-01") == 0
    return folder


@pytest.fixture
def days(first, tmp_path):
    return shutil.copytree(first, tmp_path / "days")


def watched(bundle, folder, needs, day, *more):
    log = folder.parent / f"{day}.txt"
    log.write_text("\n".join(needs) + "\n")
    return recr1(["watch", str(bundle.path), "--queries", str(log), "--out", str(folder), "--day", day, *more])


def read(folder, day):
    return json.loads((folder / f"{day}.json").read_text())


def found(held):
    return {check["kind"] for check in held["checks"] if check["found"]}


def test_the_first_day_is_kept_and_a_second_like_it_is_silent(bundle, days, needs, judged, capsys):
    held = read(days, "2026-12-01")
    assert (held["baseline"], held["checks"], held["searches"]) == ("2026-12-01", [], 341)
    assert held["facts"]["bundle"] == bundle.id
    assert list(held["numbers"]) == ["nDCG@10 of 40 judged needs", "length", "unknown words", "no hits"]
    again = random.Random(0).sample([*needs, *judged[:40]], 300)
    assert watched(bundle, days, again, "2026-12-02") == 0
    held = read(days, "2026-12-02")
    assert (held["verdict"], found(held)) == ("no change since 2026-12-01", set())
    assert held["numbers"]["same first items as 2026-12-01"] == ["100.0%", "100.0%"]
    assert "no change since 2026-12-01" in capsys.readouterr().out


def test_a_model_that_fails_for_all_is_no_first_day(bundle, needs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("recr1.policies.transformers.Transformers.greedy", lambda *_: [])
    assert watched(bundle, tmp_path / "days", [*needs[:3], "  "], "2026-12-01") == 2
    assert "the model failed for all 3 needs that it was asked" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "days").exists()


def test_a_library_that_the_page_needs_is_named_before_anything_is_searched(
    bundle, needs, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("recr1.cli.listening.find_spec", lambda name: None if name == "jinja2" else name)
    monkeypatch.setattr("recr1.env.open_environment", lambda *_: pytest.fail("it searches"))
    assert watched(bundle, tmp_path / "days", needs[:3], "2026-12-01") == 2
    assert "recr1 watch needs the library 'jinja2'" in " ".join(capsys.readouterr().err.split())


def test_what_changed_is_named_and_the_exit_status_is_3(bundle, days, needs, judged, capsys):
    same = [*needs, *judged[:40], HOSTILE]
    assert watched(bundle, days, same, "2026-12-02", "retriever.stemmer=english") == 3
    assert watched(bundle, days, same, "2026-12-03", "task.items=200") == 3
    stemmed, smaller = (read(days, day) for day in ("2026-12-02", "2026-12-03"))
    assert "word endings" in found(stemmed) and "items removed" not in found(stemmed)
    assert "items removed" in found(smaller) and "word endings" not in found(smaller)
    assert any("retriever.stemmer (was None, is 'english')" in note for note in stemmed["notes"])
    assert smaller["verdict"].startswith("changed since 2026-12-01: catalog (items removed")
    assert list(smaller["numbers"])[-2:] == ["same first items as 2026-12-01", "same first items as 2026-12-02"]
    assert "changed     items removed: items that were found are gone (" in capsys.readouterr().out


def test_an_engine_that_changed_by_itself_is_said_to_have(bundle, needs, tmp_path, monkeypatch):
    moody = "retriever={type: 'tests.recr1.serve.watch.shops:Moody'}"
    assert watched(bundle, tmp_path / "days", needs, "2026-12-01", moody) == 0
    monkeypatch.setenv("MOODY_STEMMER", "english")
    assert watched(bundle, tmp_path / "days", needs, "2026-12-02", moody) == 3
    assert read(tmp_path / "days", "2026-12-02")["notes"][-1] == (
        "Recipe and catalog are those of 2026-12-01: the engine itself has changed."
    )


def test_a_day_with_another_measure_is_refused(bundle, days, needs, capsys):
    assert watched(bundle, days, needs, "2026-12-02", "evaluate.measures=[R@10]") == 2
    assert "scores cannot be compared (nDCG@10 on 2026-12-01, and now R@10)" in capsys.readouterr().err
    assert not (days / "2026-12-02.json").exists()


def test_another_day_can_be_the_one_to_compare_with(bundle, days, needs):
    options = ["retriever.stemmer=english"]
    assert watched(bundle, days, needs, "2026-12-02", *options) == 3
    assert watched(bundle, days, needs, "2026-12-03", *options, "--against", str(days / "2026-12-02.json")) == 0
    held = read(days, "2026-12-03")
    assert (held["baseline"], found(held)) == ("2026-12-02", set())
    assert held["numbers"]["same first items as 2026-12-02"] == ["100.0%", "100.0%"]


def test_thresholds_of_a_file_are_heeded(bundle, days, needs, tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("analyzer: 1\nitems: 1\n")
    options = ["retriever.stemmer=english", "--thresholds", str(limits)]
    assert watched(bundle, days, needs, "2026-12-02", *options) == 0


def test_judged_needs_of_the_table_are_measured_and_searches_are_drawn_by_their_count(
    bundle, days, needs, judged, tmp_path
):
    queries, table, log = tmp_path / "head.txt", tmp_path / "table.jsonl", tmp_path / "log.csv"
    queries.write_text("\n".join(judged) + "\n")
    assert recr1(["rewrite", str(bundle.path), str(queries), "--out", str(table)]) == 0
    log.write_text(f'text,n\n"{needs[0]}",900000000000\n"{needs[1]}",100000000000\n')
    more = ["--columns", "query=text,count=n", "--table", str(table), "--day", "2026-12-02", "--sample", "200"]
    assert recr1(["watch", str(bundle.path), "--queries", str(log), "--out", str(days), *more]) == 3  # other traffic
    held = read(days, "2026-12-02")
    assert held["searches"] == 200 and 160 < held["seen"]["counts"][0] < 200
    assert sorted(held["seen"]["needs"]) == sorted([*needs[:2], *judged])
    assert sum(held["seen"]["counts"]) == 200 and held["seen"]["counts"][2:] == [0] * len(judged)
    assert next(iter(held["numbers"])) == f"nDCG@10 of {len(judged)} judged needs"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--day", "tomorrow"], "must be a day such as 2026-12-31, got 'tomorrow'"),
        (["--against", "run.json"], "run.json is not a day of 'recr1 watch' (KeyError: 'version')"),
        (["--against", "none.json"], "none.json is not a day of 'recr1 watch' (FileNotFoundError"),
        (["--against", "old.json"], "it has version 0, and this recr1 reads 1"),
        (["--table", "none.jsonl"], "none.jsonl"),
        (["--queries", "none.txt"], "none.txt"),
        (["--queries", "zero.csv"], "there are no searches to watch: every count is 0"),
        (["retriever.k1=-1"], "retriever.k1: must be a number >= 0"),
    ],
)
def test_a_mistake_is_told_in_one_message_and_nothing_is_written(bundle, args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("log.txt", "lamp\n"),
        ("zero.csv", "query,count\nlamp,0\n"),
        ("run.json", "{}"),
        ("old.json", '{"version": 0}'),
    ):
        (tmp_path / name).write_text(text)
    try:
        status = recr1(["watch", str(bundle.path), "--queries", "log.txt", "--out", "days", *args])
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr().err
    assert (status, said.count("error:")) == (2, 1)
    assert message in " ".join(said.split()) and not (tmp_path / "days").exists()


@pytest.fixture(params=[("light", 1200), ("dark", 390)], ids=["light-desktop", "dark-telephone"])
def seen(bundle, first, needs, browser, tmp_path_factory, request):  # noqa: F811
    folder = shutil.copytree(first, tmp_path_factory.mktemp("seen") / "days")
    shop = ["retriever.stemmer=english", "task.items=200"]
    assert watched(bundle, folder, [HOSTILE] * 100 + needs, "2026-12-02", *shop) == 3
    tab = open_tab(browser, *request.param)
    tab.goto((folder / "2026-12-02.html").as_uri())
    yield tab
    tab.context.close()


def test_the_page_says_what_changed_and_asks_no_network(seen):
    seen.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    said = seen.inner_text("main")
    assert "Changed since 2026-12-01: catalog (items removed" in said and HOSTILE in said
    assert {"Items removed", "Word endings", "Words"} <= {one.inner_text() for one in seen.query_selector_all("h3")}
    assert seen.said == [] and len(seen.asked) == 1
    assert seen.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert seen.evaluate(CONTRAST) == []
    seen.keyboard.press("Tab")
    seen.keyboard.press("Enter")
    assert seen.evaluate("document.activeElement.id") == "main"
