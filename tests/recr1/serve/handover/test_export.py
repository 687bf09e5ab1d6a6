from __future__ import annotations

import csv
import json
import re
import sys

import numpy as np
import pytest

from recr1.cli.main import run as recr1
from recr1.errors import MissingLibrary
from recr1.judgements import read_judgements
from recr1.serve.handover import export
from recr1.serve.handover.effect import open_judged
from recr1.serve.handover.export import TARGETS, Given, hand_over
from recr1.serve.handover.synonyms import by_phrase, expanded_query, learn
from recr1.serve.table import Entry, Table
from rewards.base import Graded
from rewards.measures import parse_measure
from tests.recr1.serve.conftest import edit_facts
from tests.recr1.serve.handover.conftest import write


def facts(folder):
    return json.loads((folder / "effect.json").read_text())


def test_every_engine_gets_files_that_are_whole_and_a_readme_with_the_effect(bundle, table, tmp_path):
    for target in TARGETS:
        tables, lines = hand_over(Given(bundle, table), target, tmp_path / target)
        readme = (tmp_path / target / "README.md").read_text()
        assert all(line in readme for line in lines)
        assert tables[0].markdown() in readme
        assert "{{" not in re.sub(r"`\{\{\w+\}\}`", "", readme)
        for file in (tmp_path / target).glob("*.json"):
            json.loads(file.read_text())


def test_the_effect_is_that_of_the_rewrites_on_the_needs_of_the_split(bundle, env, table):
    judged, _ = open_judged(bundle, table)
    needs = env.task.needs("validation")
    assert judged.raw == [need.text for need in needs]
    hits = env.search(judged.rewrites)
    graded = Graded.join(hits.rows_QK, [env.task.qrels[need.id] for need in needs], env.task.catalog)
    np.testing.assert_allclose(judged.values(judged.rewrites), parse_measure("nDCG@10").of(graded), rtol=1e-6)


def test_synonyms_are_measured_in_their_own_form(exported, capsys):
    folder = exported("synonyms")
    effect, said = facts(folder)["effect"], capsys.readouterr().out
    raw, form, rewrite = (effect[name]["mean"] for name in ("the raw need", "what is exported", "the rewrite itself"))
    assert raw < form < rewrite
    assert effect["what is exported"]["versus_raw"]["difference"] == pytest.approx(form - raw)
    assert 0 < effect["touched"] <= effect["needs"] == 60
    rules = (folder / "synonyms-1.txt").read_text().splitlines()
    sets = json.loads((folder / "synonyms-1.json").read_text())["synonyms_set"]
    assert [rule["synonyms"] for rule in sets] == rules
    assert all(re.fullmatch(r"([\w' ]+) => \1(, [\w' ]+)+", rule) for rule in rules)
    rows = list(csv.DictReader((folder / "rules.csv").open()))
    assert f"{len(rules):,} rules with {len(rows):,} additions" in said
    assert all(int(row["support"]) >= 2 and float(row["gain"] or 1) > 0 for row in rows)
    assert any(row["gain"] for row in rows)


def test_needs_are_measured_without_the_rules_that_they_show_themselves(bundle, table):
    judged, _ = open_judged(bundle, table)
    own = [table.get(need) for need in judged.raw]
    given = Given(bundle, Table(bundle.id, own), support=1)
    known = by_phrase(export._rules(given, range(0))[0])
    seen = judged.values([expanded_query(need, known) for need in judged.raw]).mean()
    unseen = judged.values(TARGETS["synonyms"](given).queries).mean()
    assert seen > unseen + 0.1


def test_an_addition_that_gains_nothing_on_judged_needs_is_left_out(bundle, table):
    spoiled = [
        entry._replace(rewrite=f"{entry.rewrite} kettle") if "the" in entry.query.split() else entry
        for entry in table.entries
    ]
    given = Given(bundle, Table(bundle.id, spoiled))
    learned = learn([(entry.query, entry.rewrite) for entry in spoiled], 2)
    assert (("the",), ("kettle",)) in {(rule.left, rule.right) for rule in learned}
    found = TARGETS["synonyms"](given)
    assert "the,kettle" not in found.files["rules.csv"]
    kept = {tuple(row.values())[:2] for row in csv.DictReader(found.files["rules.csv"].splitlines())}
    assert f"{len(learned) - len(kept):,} additions that gain nothing there are left out" in found.size


def test_sets_are_split_where_elasticsearch_ends_one(bundle, table, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "SET", 5)
    hand_over(Given(bundle, table), "synonyms", tmp_path / "out")
    sets = sorted((tmp_path / "out").glob("synonyms-*.txt"))
    assert len(sets) > 2
    assert max(len(file.read_text().splitlines()) for file in sets) == 5
    settings = json.loads((tmp_path / "out/settings-elasticsearch.json").read_text())["analysis"]
    names = [name for name in settings["analyzer"]["recr1_search"]["filter"] if name != "lowercase"]
    assert names == list(settings["filter"]) == [f"recr1_{number}" for number in range(1, len(sets) + 1)]


def test_querqy_is_measured_on_what_its_rules_make_of_a_need(exported, table):
    folder = exported("querqy")
    effect, rules = facts(folder)["effect"], (folder / "rules.txt").read_text()
    plain = [entry for entry in table.entries if f'"{" ".join(entry.query.split())}" =>' in rules]
    assert rules.count("=>\n") == len(plain) > 100
    assert effect["the raw need"]["mean"] < effect["what is exported"]["mean"] <= effect["the rewrite itself"]["mean"]
    assert all(re.match(r'^(".*" =>|  SYNONYM\([\d.]+\): \S+|  DELETE: .+|)$', line) for line in rules.splitlines())
    made = {engine: json.loads((folder / f"rewriter-{engine}.json").read_text()) for engine in ("opensearch", "solr")}
    assert made["solr"]["class"] == "querqy.solr.rewriter.commonrules.CommonRulesRewriterFactory"
    assert made["opensearch"]["class"] == "querqy.opensearch.rewriter.SimpleCommonRulesRewriterFactory"
    assert made["solr"]["config"]["rules"] == made["opensearch"]["config"]["rules"] == rules


def test_a_closed_gate_is_the_raw_need_in_every_form(bundle, table, tmp_path):
    closed = [entry._replace(gate=place % 2 == 0) for place, entry in enumerate(table.entries)]
    half = Table(bundle.id, closed)
    raw = {entry.query for entry in closed if not entry.gate}
    hand_over(Given(bundle, half), "querqy", tmp_path / "querqy")
    hand_over(Given(bundle, half), "workbench", tmp_path / "workbench")
    rules = (tmp_path / "querqy/rules.txt").read_text()
    assert not any(f'"{need}" =>' in rules for need in raw)
    queries = json.loads((tmp_path / "workbench/query_set.json").read_text())["querySetQueries"]
    closed = [one for one in queries if one["queryText"] in raw]
    assert len(closed) > 20 and all(one["queryText"] == one["rewrite"] for one in closed)


def test_the_kit_of_the_workbench_is_of_the_documented_shape(exported, env, table):
    folder = exported("workbench", "--index", "shop", "--fields", "title^2,brand")
    queries = json.loads((folder / "query_set.json").read_text())
    assert len(queries["name"]) <= 50 and len(queries["description"]) <= 250 and queries["sampling"] == "manual"
    needs = env.task.needs("validation")
    assert [one["queryText"] for one in queries["querySetQueries"]] == [need.text for need in needs]
    assert queries["querySetQueries"][0]["rewrite"] == table.get(needs[0].text).rewrite
    for name, field in (("raw", "queryText"), ("rewritten", "rewrite")):
        search = json.loads((folder / f"search_{name}.json").read_text())
        assert search["index"] == "shop"
        query = json.loads(search["query"])["query"]["multi_match"]
        assert query == {"query": f"{{{{{field}}}}}", "fields": ["title^2", "brand"]}
    judged = read_judgements([folder / "judgments.json"], "workbench")
    ids, key = env.task.catalog.ids, env.task.qrels[needs[0].id]
    assert {row.item: row.grade for row in judged.rows if row.text == needs[0].text} == {
        ids[r]: g for r, g in key.items()
    }
    assert "POINTWISE_EVALUATION" in (folder / "README.md").read_text()


def test_without_judged_needs_the_rules_are_written_and_not_measured(bundle, tmp_path, capsys):
    table = write(Table(bundle.id, [Entry("odd words", "better ones", None, {})] * 1), tmp_path / "t.jsonl")
    for engine in ("querqy", "workbench", "opensearch"):
        out = tmp_path / engine
        assert recr1(["handover", str(bundle.path), engine, "--table", str(table), "--out", str(out)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "not measured: none of the 60 needs of the split validation is in the table" in said
        assert "not measured" in (out / "README.md").read_text()
        assert facts(out)["effect"] == {}
    assert not (tmp_path / "workbench/judgments.json").exists()
    assert "POINTWISE_EVALUATION" not in (tmp_path / "workbench/README.md").read_text()


def test_without_the_data_of_the_recipe_the_rules_are_written_too(bundle, table, tmp_path, monkeypatch):
    """As on the machine of a search team that has no judgements."""
    recipe = bundle.recipe
    gone = type(recipe.task)("files", {"path": str(tmp_path / "gone")})
    monkeypatch.setitem(bundle.__dict__, "recipe", type(recipe)(**{**recipe.__dict__, "task": gone}))
    tables, lines = hand_over(Given(bundle, table), "synonyms", tmp_path / "out")
    assert tables == [] and "the data of the bundle's recipe is not at hand" in lines[-1]
    assert "0 of them tried on judged needs" in lines[0]
    assert (tmp_path / "out/synonyms-1.txt").read_text()


def refused(argv, capsys):
    assert recr1(argv) == 2
    said = capsys.readouterr().err
    assert said.count("recr1:") == 1 and "Traceback" not in said
    return " ".join(said.split())


def test_bad_input_is_one_message_and_nothing_is_written(bundle, table, written, copied, tmp_path, capsys):
    out = tmp_path / "out"

    def of(engine="querqy", folder=bundle.path, rows=written, *more):
        text = refused(["handover", str(folder), engine, "--table", str(rows), "--out", str(out), *more], capsys)
        assert not out.exists() and not list(tmp_path.glob(".out*"))
        return text

    other = write(Table("0" * 12, table.entries), tmp_path / "other.jsonl")
    assert "was written by the bundle 000000000000" in of(rows=other)
    same = write(Table(bundle.id, [Entry("cup", "cup", None, {})]), tmp_path / "same.jsonl")
    assert "rewrites none of its 1 queries" in of(rows=same)
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty.jsonl" in of(rows=tmp_path / "empty.jsonl")
    signs = write(Table(bundle.id, [Entry("a:b", "c", None, {})]), tmp_path / "signs.jsonl")
    assert "no need of the table can be a rule" in of(rows=signs)
    assert "no synonym is shown by 2 needs" in of("synonyms", rows=signs)
    assert "--url nowhere: must be an address" in of("proxy", bundle.path, written, "--url", "nowhere")
    assert "is not a bundle" in of(folder=tmp_path)
    edit_facts(copied, id="changed")
    assert "damaged" in of(folder=copied)


def test_a_missing_library_is_told_before_anything_is_measured(bundle, table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(export, "open_judged", lambda *_: pytest.fail("needs were searched"))
    with pytest.raises(MissingLibrary, match="writing a bundle or an export needs the library 'jinja2'"):
        hand_over(Given(bundle, table), "querqy", tmp_path / "out")


def test_a_folder_that_is_not_empty_stays_as_it_is(bundle, written, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    said = refused(["handover", str(bundle.path), "proxy", "--table", str(written), "--out", str(out)], capsys)
    assert "not empty" in said
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_the_sessions_of_a_live_test_are_planned(bundle, table, written, tmp_path, capsys):
    assert recr1(["interleave", str(bundle.path), "--table", str(written), "--places", "5"]) == 0
    said = capsys.readouterr().out
    needed = [int(text.replace(",", "")) for text in re.findall(r"^as simulated.*?%\s+([\d,]+)", said, re.MULTILINE)]
    assert needed and needed[0] < 200
    same = [entry._replace(rewrite=" ".join(reversed(entry.query.split()))) for entry in table.entries]
    argv = ["interleave", str(bundle.path), "--table", str(write(Table(bundle.id, same), tmp_path / "same.jsonl"))]
    assert recr1(argv) == 0
    assert "0 of 60 needs have other items in the first 10 places" in capsys.readouterr().out
    few = write(Table(bundle.id, [Entry("odd words", "better ones", None, {})]), tmp_path / "few.jsonl")
    assert "not measured: none" in refused(["interleave", str(bundle.path), "--table", str(few)], capsys)
    curve = tmp_path / "clicks.json"
    curve.write_text(json.dumps({"positions": [{"examined": 1.0}, {"examined": 0.5}]}))
    argv = ["interleave", str(bundle.path), "--table", str(written), "--examined", str(curve)]
    assert "has 2 positions" in refused(argv, capsys)
    assert recr1([*argv, "--places", "2"]) == 0
    curve.write_text("{}")
    assert "not the JSON that 'recr1 judgements clicks' writes" in refused(argv, capsys)
    assert "searches for" in refused([*argv[:4], "--places", "5000"], capsys)
    told = refused([*argv[:4], "--split", "tests"], capsys)
    assert told.endswith("not measured: the task 'shop' has no split 'tests'; it has: train, validation, test")
