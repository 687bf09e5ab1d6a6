"""The head table, the cache, the model, the raw need: in this order, and never worse than off."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from recr1.cli.main import run as recr1
from recr1.env import open_environment
from recr1.errors import DataError, UserError
from recr1.gate import Gate
from recr1.policies.base import Likely
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.serve import Entry, Rewriter, Table
from recr1.serve.export import export
from recr1.serve.rewriter import Known
from recr1.serve.table import normal, read_queries, write_table


class Model:
    """Writes each need backwards, word by word; some needs have an answer of their own."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def greedy(self, chats):
        needs = [chat[-1]["content"] for chat in chats]
        self.asked += needs
        written = [self.answers.get(need, " ".join(reversed(need.split()))) for need in needs]
        return [Likely(text, -0.5) for text in written]

    def generate(self, chats, n):
        return [[one.text] for one in self.greedy(chats)]


def of(bundle, model=None, *rows, **more):
    table = Table(bundle.id, rows) if rows else None
    return Rewriter(bundle.id, bundle.format, model or Model(), table=table, **more)


def short(rewrites):
    return [(one.query, one.source, one.reason) for one in rewrites]


def test_table_then_cache_then_model(bundle):
    model = Model()
    rewriter = of(bundle, model, Entry("Red Shoes", "crimson footwear", None, {"reason": "rewritten"}))
    needs = ["red  shoes", "warm coat"]
    assert short(rewriter(needs)) == [
        ("crimson footwear", "table", "rewritten"),
        ("coat warm", "model", "rewritten"),
    ]
    again = rewriter(["WARM coat", *needs])
    assert [one.source for one in again] == ["cache", "table", "cache"]
    assert again[0].likelihood == -0.5 and again[0].need == "WARM coat"
    assert model.asked == ["warm coat"]


def test_equal_needs_ask_the_model_once(bundle):
    model = Model()
    assert [one.query for one in of(bundle, model)(["warm coat", "Warm  Coat"])] == ["coat warm"] * 2
    assert len(model.asked) == 1


def test_the_real_model_and_the_real_parser(bundle):
    one, blank = Rewriter.load(bundle.path)(["a gift for my aunt", " "])
    assert one.source == "model" and one.likelihood < 0 and one.query
    assert (blank.query, blank.source, blank.reason) == (" ", "raw", "empty")


def test_a_run_writes_what_its_bundle_writes(run, bundle):
    recipe = load_recipe(run.path / "recipe.yaml")
    needs = ["a gift for my aunt", "warm coat for a small dog"]
    of_run = Rewriter.of_run(run, recipe, open_environment(recipe.task, recipe.retriever, [], recipe.k))
    assert short(of_run(needs)) == short(Rewriter.load(bundle)(needs))
    assert of_run.by == "run"


def test_an_answer_that_cannot_be_read_leaves_the_need_as_it_is(bundle):
    rewriter = of(bundle, Model(**{"warm coat": "x" * 2000, "red shoe": "  "}))
    assert short(rewriter(["warm coat", "red shoe"])) == [
        ("warm coat", "raw", "unreadable answer"),
        ("red shoe", "raw", "unreadable answer"),
    ]


def test_a_need_that_does_not_fit_is_not_asked(bundle):
    rewriter = Rewriter.load(bundle)
    assert short(rewriter(["lamp " * 5000]))[0][1:] == ("raw", "too long")


def test_a_need_that_the_model_fails_for_leaves_the_others_rewritten(bundle):
    model = Model()
    works = model.greedy

    def broken(chats):
        if any("bad" in chat[-1]["content"] for chat in chats):
            raise RuntimeError("out of memory")
        return works(chats)

    model.greedy = broken
    assert short(of(bundle, model)(["warm coat", "bad need", "red shoe"])) == [
        ("coat warm", "model", "rewritten"),
        ("bad need", "raw", "model failed"),
        ("shoe red", "model", "rewritten"),
    ]


@pytest.mark.parametrize("wrong", ["raises", "too few"])
def test_a_model_that_fails_leaves_the_needs_as_they_are_and_is_asked_again(bundle, wrong, caplog):
    model = Model()
    rewriter, works = of(bundle, model), model.greedy

    def broken(chats):
        if wrong == "raises":
            raise RuntimeError("out of memory")
        return []

    model.greedy = broken
    assert short(rewriter(["warm coat"])) == [("warm coat", "raw", "model failed")]
    assert caplog.text.count("the model failed, and needs are searched as they are") == 1
    model.greedy = works
    assert short(rewriter(["warm coat"])) == [("coat warm", "model", "rewritten")]


def test_the_cache_drops_what_was_used_longest_ago(bundle):
    rewriter = of(bundle, memory=2)
    rewriter(["a b", "c d"])
    rewriter(["a b"])
    rewriter(["e f"])
    assert [one is not None for one in map(rewriter.known, ["a b", "c d", "e f"])] == [True, False, True]


def known(bundle, file, **more):
    return Known(disk=file, by=bundle, **more)


def kept(one, entries):
    one.save(one.remember(entries))


ROWS = [Entry(need, f"{need}s", True, {"reason": "rewritten", "gain": 0.1}) for need in ("coat", "lamp", "tent")]


def test_what_is_kept_on_disk_is_there_after_a_restart_and_a_kill(tmp_path):
    file = tmp_path / "new/cache.jsonl"
    kept(known("b", file), ROWS[:2])
    first = known("b", file)
    kept(first, [*ROWS, ROWS[0]._replace(rewrite="warm coats")])
    assert len(file.read_text().splitlines()) == 3
    file.write_text(file.read_text() + '{"query": "half')
    again = known("b", file, memory=2)
    assert [one and (one.query, one.source) for one in map(again.known, ["COAT", "lamp", "tent"])] == [
        None,
        ("lamps", "cache"),
        ("tents", "cache"),
    ]
    assert len(file.read_text().splitlines()) == 2


def test_of_a_need_that_came_twice_the_later_rewrite_is_kept(tmp_path):
    first = known("b", tmp_path / "cache.jsonl", memory=1)
    for entry in (*ROWS, ROWS[0]._replace(rewrite="warm coats")):
        kept(first, [entry])
    again = known("b", tmp_path / "cache.jsonl")
    assert [one.query for one in map(again.known, ["coat", "lamp", "tent"])] == ["warm coats", "lamps", "tents"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(ROWS[0].to_dict("other")) + "\n", "was written by the bundle other, and this is the bundle b"),
        ('{"need": "a"}\n', "has no rewrites"),
        ("[]\n", "has no rewrites"),
        ("lamp\nshoe\n", "not a line of JSON"),
        ("my only note", "has no rewrites"),
    ],
)
def test_another_file_is_no_cache_and_stays_as_it_is(tmp_path, text, said):
    file = write(tmp_path, text, "cache.jsonl")
    with pytest.raises(UserError, match=said):
        known("b", file)
    assert file.read_text() == text


def test_a_disk_that_fails_is_told_once_and_rewrites_stay_in_memory(tmp_path, caplog):
    one = known("b", tmp_path / "cache.jsonl")
    (tmp_path / "cache.jsonl").unlink()
    (tmp_path / "cache.jsonl").mkdir()
    for entry in ROWS:
        kept(one, [entry])
    assert caplog.text.count("are not kept in") == 1
    assert all(map(one.known, ["coat", "lamp", "tent"]))


def test_a_closed_row_of_the_table_is_searched_as_it_came(bundle):
    closed = Entry("warm coat", "coat warm", False, {"reason": "rewritten", "gain": -0.1})
    one = of(bundle, None, closed)(["warm coat"])[0]
    assert (one.query, one.source, one.reason, one.gain) == ("warm coat", "raw", "gate", -0.1)
    assert one.held_back == "coat warm"


def test_a_row_without_evidence_is_counted_as_what_it_is(bundle):
    rewriter = of(bundle, None, Entry("lamp", "lamp", None, {}), Entry("tent", "marquee", None, {}))
    assert short(rewriter(["lamp", "tent"])) == [("lamp", "table", "unchanged"), ("marquee", "table", "rewritten")]


LIKELY = Gate(intercept=0.0, weights={"likelihood": 1.0}, threshold=-1.0, facts={})
FEW_WORDS = Gate(intercept=0.0, weights={"query_words": -0.1}, threshold=-0.25, facts={})


def test_the_gate_decides_of_what_the_model_rewrote(bundle):
    rewriter = of(bundle, None, gate=FEW_WORDS)
    few, many, same = rewriter(["warm coat", "warm coat for dogs", "coat"])
    assert (few.query, few.source, few.gain) == ("coat warm", "model", pytest.approx(-0.2))
    assert (many.query, many.source, many.reason) == ("warm coat for dogs", "raw", "gate")
    assert many.gain == pytest.approx(-0.4)
    assert (same.query, same.source, same.reason, same.gain) == ("coat", "model", "unchanged", None)
    assert short(rewriter(["warm coat for dogs"])) == [("warm coat for dogs", "raw", "gate")]


def test_a_gate_without_the_likelihood_that_it_needs_is_closed(bundle):
    class Silent:
        def generate(self, chats, n):
            return [["lamp"] for _ in chats]

    assert short(of(bundle, None, gate=LIKELY)(["warm coat"])) == [("coat warm", "model", "rewritten")]
    assert short(of(bundle, Silent(), gate=LIKELY)(["warm coat"])) == [("warm coat", "raw", "gate")]


@pytest.mark.parametrize("gate", [FEW_WORDS, Gate(intercept=0.0, weights={"overlap": 1.0}, threshold=0.0, facts={})])
def test_the_gate_of_a_run_goes_into_its_bundle(run, bundle, tmp_path, monkeypatch, gate):
    other = Run.open(shutil.copytree(run.path, tmp_path / "run"))
    gate.write(other.path / "gate.json")
    made = export(other, load_recipe(other.path / "recipe.yaml"), tmp_path / "bundle")
    assert made.gate == gate and made.id != bundle.id and bundle.gate is None
    one = Rewriter.load(made)(["a gift for my aunt"])[0]
    assert one.gain is not None and Rewriter.load(made, gate=False)(["a gift for my aunt"])[0].gain is None
    if gate.needs_search:
        assert 0 <= one.gain <= 1
    recipe = load_recipe(other.path / "recipe.yaml")
    env = open_environment(recipe.task, recipe.retriever, [], recipe.k)
    monkeypatch.setattr("recr1.serve.rewriter.open_environment", None)  # what is open is used
    assert Rewriter.load(made, env=env)(["a gift for my aunt"])[0].gain == one.gain
    before = Rewriter.of_run(other, recipe, env)(["a gift for my aunt"])[0]
    assert (before.query, before.reason, before.gain) == (one.query, one.reason, one.gain)
    assert Rewriter.of_run(other, recipe, env, gate=False).gate is None


def test_a_gate_of_another_policy_is_said_to_be_one_where_it_is_exported(run, tmp_path, capsys):
    other = Run.open(shutil.copytree(run.path, tmp_path / "run"))
    origin = {name: other.facts().get(name) for name in ("started", "seed")} | {"step": 1}
    Gate(intercept=0.0, weights={}, threshold=0.0, facts={"origin": origin}).write(other.path / "gate.json")
    assert recr1(["export", str(other.path), "--card"]) == 0
    assert "gate.json does not belong to this policy: it is of" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("text", ["\uff37arm  coat", "WARM\tcoat ", "warm coat"])
def test_one_key_for_width_case_and_space(text):
    assert normal(text) == "warm coat"


def write(tmp_path, text, name="queries.txt"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_queries_are_counted_by_their_key(tmp_path):
    lines = write(tmp_path, "Warm  coat\n\nlamp\nwarm coat\n")
    assert read_queries(lines, {}) == {"warm coat": ("Warm coat", 2), "lamp": ("lamp", 1)}
    table = write(tmp_path, "q,n\nlamp,3\nLamp,4\n", "queries.csv")
    assert read_queries(table, {"query": "q", "count": "n"}) == {"lamp": ("lamp", 7)}


def test_queries_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match=r"queries\.csv:3: count must be an integer >= 0, got '-1'"):
        read_queries(write(tmp_path, "query,count\nlamp,1\nshoe,-1\n", "queries.csv"), {})
    with pytest.raises(UserError, match="has no queries"):
        read_queries(write(tmp_path, "\n \n"), {})
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_queries(tmp_path / "latin.txt", {})


@pytest.mark.parametrize("name", ["table.jsonl", "table.parquet"])
def test_a_table_is_read_as_it_was_written(bundle, tmp_path, name):
    queries = {"warm coat": ("Warm coat", 2), "lamp": ("lamp", 1), "too": ("too", 1)}
    written = write_table(of(bundle, Model(too=" ")), queries, tmp_path / name)
    read = Table.load(tmp_path / name, bundle=bundle.id)
    assert read == written and len(read.entries) == 3
    assert read.get("WARM coat") == Entry(
        "Warm coat", "coat Warm", None, {"reason": "rewritten", "likelihood": -0.5, "count": 2}
    )
    assert [entry.used for entry in read.entries] == [True, False, False]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_was_written_before_a_kill_is_not_written_again(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("recr1.serve.table.CHUNK", 2)
    queries = {need: (need, 1) for need in ("a b", "c d", "e f", "g h")}
    dies, out = Model(), tmp_path / "table.jsonl"
    rewriter = of(bundle, dies)
    whole = rewriter.entries
    monkeypatch.setattr(rewriter, "entries", lambda needs: whole(needs) if "a b" in needs else sys.exit(9))
    with pytest.raises(SystemExit):
        write_table(rewriter, queries, out)
    begun = tmp_path / ".table.jsonl.part.jsonl"
    begun.write_text(begun.read_text() + '{"query": "half')
    again = Model()
    write_table(of(bundle, again), queries, out)
    assert again.asked == ["e f", "g h"]
    assert [json.loads(line)["rewrite"] for line in out.read_text().splitlines()] == ["b a", "d c", "f e", "h g"]


def test_a_table_of_another_bundle_is_refused(bundle, tmp_path):
    out = tmp_path / "table.jsonl"
    write_table(of(bundle), {"lamp": ("lamp", 1)}, out)
    with pytest.raises(UserError, match=f"was written by the bundle {bundle.id}, and this is the bundle 0123"):
        Table.load(out, bundle="0123")
    out.rename(tmp_path / ".other.jsonl.part.jsonl")  # as another bundle's call leaves it, that was interrupted
    with pytest.raises(UserError, match=r"other\.jsonl\.part\.jsonl was written by .+: remove it, and write it again"):
        write_table(Rewriter("0123", bundle.format, Model()), {"lamp": ("lamp", 1)}, tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"gate": "yes"}, "gate must be true, false or null, got 'yes'"),
        ({"evidence": "[]"}, r"evidence must be a JSON object, got '\[\]'"),
        ({"rewrite": None}, "rewrite"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, row, said):
    whole = {"query": "a", "rewrite": "b", "gate": None, "evidence": "{}", "bundle": "x", **row}
    with pytest.raises(DataError, match=rf"table\.jsonl:1: .*{said}"):
        Table.load(write(tmp_path, json.dumps(whole) + "\n", "table.jsonl"), bundle="x")


def test_two_rows_of_one_need_are_refused(tmp_path):
    rows = [{"query": text, "rewrite": "b", "gate": None, "evidence": {}, "bundle": "x"} for text in ("a", "A")]
    with pytest.raises(DataError, match="differ in case or white space alone"):
        Table.load(write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "table.jsonl"), bundle="x")


def test_the_command_counts_what_became_of_the_queries(bundle, tmp_path, capsys):
    queries, out = write(tmp_path, "a gift for my aunt\n" + "lamp " * 5000 + "\n"), tmp_path / "table.parquet"
    assert recr1(["rewrite", str(bundle.path), str(queries), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 different queries of 2" in said and "too long, searched as it came: 1" in said
    assert len(Table.load(out, bundle=bundle.id).entries) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "table.csv"], "a head table is a file with the ending .jsonl or .parquet"),
        (["--out", "t.jsonl", "--engine", "openai"], "name the address of the server with --url, and its model"),
        (["--out", "t.jsonl", "--url", "http://x"], "--url: is for --engine openai"),
        (["--out", "t.jsonl", "--engine", "ctranslate2"], "has no weights in 8 bits"),
    ],
)
def test_what_cannot_be_done_is_said(bundle, tmp_path, capsys, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    queries = write(tmp_path, "lamp\n")
    assert recr1(["rewrite", str(bundle.path), str(queries), *more]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["queries.txt"]


def test_a_missing_library_is_told_before_anything_is_rewritten(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("recr1.serve.table.find_spec", lambda name: None)
    monkeypatch.setattr(Rewriter, "entries", lambda *_: pytest.fail("the model was asked"))
    out = tmp_path / "table.parquet"
    assert recr1(["rewrite", str(bundle.path), str(write(tmp_path, "lamp\n")), "--out", str(out)]) == 2
    assert "pip install 'recr1[parquet]'" in capsys.readouterr().err
