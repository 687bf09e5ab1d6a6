"""Grades from clicks: values by hand, the truth of simulated logs, and logs with faults."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.errors import UserError
from recr1.judge.stats import wilson
from recr1.judgements import read_judgements
from recr1.judgements.base import values_of as row_values
from recr1.judgements.clicks import Impressions, read_log, read_rows
from recr1.judgements.grades import NEVER_MOVED, graded
from recr1.judgements.models import MODELS, values_of
from recr1.judgements.ubi import read_ubi

HEADER = "query,item,position,clicked,session\n"
BY_HAND = HEADER + "".join(
    f"tent,{item},{position},{int(row < clicks)},{session}{row}\n"
    for session, item, position, shown, clicks in (
        ("s", "a", 1, 10, 5),  # rate of position 1: 8 / 20
        ("t", "b", 1, 10, 3),
        ("t", "a", 2, 10, 2),  # rate of position 2: 4 / 40
        ("u", "b", 2, 30, 2),
    )
    for row in range(shown)
)


def put(folder, text, name="log.csv"):
    (folder / name).write_text(text)
    return folder / name


def simulated(seed, model, sessions=6000):
    """A log of 6 queries with 10 items each, shown roughly in the order of a bad ranking; and the true values."""
    rng = np.random.default_rng(seed)
    queries, items, depth = 6, 10, 8
    attractive, satisfying = rng.uniform(0.05, 0.9, (2, queries, items))
    ranked = attractive + rng.normal(0, 0.6, (queries, items))
    rows = []
    for session in range(sessions):
        query = int(rng.integers(queries))
        order = np.argsort(-(ranked[query] + rng.normal(0, 0.5, items)))[:depth]
        reading = True
        for position, item in enumerate(order):
            looks = rng.random() < 1 / (1 + position) if model != "sdbn" else reading
            clicked = bool(looks and rng.random() < attractive[query, item])
            if clicked and rng.random() < satisfying[query, item]:
                reading = False
            rows.append((query, int(item), position, clicked, session))
    names = ([f"q{n}" for n in range(queries)], [f"i{n}" for n in range(items)])
    truth = attractive * satisfying if model == "sdbn" else attractive
    return Impressions(*names, *np.array(rows, np.int32).T), truth.reshape(-1)


def tau(one, other):
    """Kendall's tau-a."""
    signs = (np.sign(np.subtract.outer(values, values)) for values in (one, other))
    return np.prod(list(signs), axis=0).sum() / (len(one) * (len(one) - 1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model", MODELS)
def test_each_model_is_nearer_to_the_truth_than_the_click_rate(model, seed):
    log, truth = simulated(seed, model)
    found = values_of(log, model, smoothing=10.0)
    true_P = truth[found.query_P * 10 + found.item_P]
    assert tau(found.value_P, true_P) > tau(found.clicks_P / found.shown_P, true_P) + 0.05
    assert ((found.low_P <= found.value_P) & (found.value_P <= found.high_P)).all()


def test_coec_equals_the_values_by_hand(tmp_path):
    found = values_of(read_log(put(tmp_path, BY_HAND), {}, sessions=False), "coec", smoothing=0.0)
    assert found.value_P == pytest.approx([7 / (10 * 0.4 + 10 * 0.1), 5 / (10 * 0.4 + 30 * 0.1)])
    assert found.examined_R == pytest.approx([1, 0.25])
    low, high = wilson(np.array([7 / 20]), np.array([20.0]))
    assert (found.low_P[0], found.high_P[0]) == pytest.approx((low[0] * 20 / 5, high[0] * 20 / 5))
    assert (low[0], high[0]) == pytest.approx((0.1812, 0.5671), abs=1e-4)  # as scipy.stats has it
    smoothed = values_of(read_log(tmp_path / "log.csv", {}, sessions=False), "coec", smoothing=6.0)
    assert smoothed.value_P == pytest.approx([(7 + 6 * 0.2) / (5 + 6 * 0.2), (5 + 6 * 0.2) / (7 + 6 * 0.2)])


def test_pbm_finds_the_examination_that_made_the_log():
    log, _ = simulated(0, "pbm", sessions=20000)
    found = values_of(log, "pbm", smoothing=0.0)
    assert found.examined_R == pytest.approx(1 / np.arange(1, 9), abs=0.02)


def test_rare_pairs_do_not_flatten_the_examination_of_pbm():
    rng = np.random.default_rng(0)
    item = np.concatenate([rng.integers(0, 100, 20_000), rng.integers(100, 10_000, 20_000)])
    position = rng.integers(0, 4, len(item))
    clicked = rng.random(len(item)) < 0.4 / (1 + position)
    log = Impressions(["q"], [f"i{n}" for n in range(10_000)], item * 0, item, position, clicked.astype(int), None)
    assert values_of(log, "pbm", 10.0, minimum=20).examined_R == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=0.05)
    assert values_of(log, "pbm", 10.0, minimum=1).examined_R[1] > 0.55
    facts = graded(log, "pbm", minimum=100).facts
    assert json.loads(json.dumps(facts, allow_nan=False))["positions"][0]["examined"] == 1


def test_sdbn_counts_last_clicks_of_what_was_read(tmp_path):
    pages = (("s", "101"), ("t", "100"), ("u", "000"))  # read to the last click, or all of a page without one
    rows = [
        f"tent,{item},{at},{clicks[at - 1]},{page}\n"
        for page, clicks in pages
        for at, item in ((1, "a"), (2, "b"), (3, "c"))
    ]
    found = values_of(read_log(put(tmp_path, HEADER + "".join(rows)), {}, sessions=True), "sdbn", smoothing=0.0)
    assert found.value_P == pytest.approx([1 / 3, 0 / 2, 1 / 2])
    assert found.support_P.tolist() == [3, 2, 2]
    assert found.examined_R == pytest.approx([1, 2 / 3, 2 / 3])


def test_a_log_whose_positions_never_moved_is_warned_of(tmp_path):
    rows = [f"tent,{item},{at},{int(row < 3)}\n" for at, item in enumerate("abc", 1) for row in range(12)]
    still = read_log(put(tmp_path, "query,item,position,clicked\n" + "".join(rows)), {}, sessions=False)
    assert graded(still, "pbm").facts["warnings"] == [NEVER_MOVED]
    moved = read_log(put(tmp_path, BY_HAND, "b.csv"), {}, sessions=False)
    assert graded(moved, "coec").facts["warnings"] == []


def test_grades_are_shares_of_the_values_or_begin_at_thresholds():
    log, _ = simulated(0, "coec", sessions=500)
    facts = graded(log, "coec", minimum=1).facts
    assert facts["grades"] == dict.fromkeys("0123", 15)
    steps = graded(log, "coec", minimum=1, thresholds=[0.5, 1.0])
    assert all(row[2] == (row[3] >= 0.5) + (row[3] >= 1.0) for row in steps.rows)
    with pytest.raises(UserError, match="no pair has 10,000 impressions, the most that a pair has is"):
        graded(log, "coec", minimum=10_000)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_a_log_is_the_same_in_every_kind_of_file(name, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.read_csv(put(tmp_path, BY_HAND))
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name.endswith("jsonl"):
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    one, other = read_log(tmp_path / "log.csv", {}, sessions=True), read_log(path, {}, sessions=True)
    assert (one.queries, one.items) == (other.queries, other.items)
    for array in ("query_N", "item_N", "position_N", "clicked_N", "session_N"):
        assert (getattr(one, array) == getattr(other, array)).all()


def test_quotes_and_line_breaks_in_queries_are_read(tmp_path):
    log = read_log(
        put(tmp_path, 'q,item,rank,hit\n"warm, dry ""tent""",a,0,true\ntent,"b,1",1,False\n'),
        NAMED,
        sessions=False,
        first=0,
    )
    assert (log.queries, log.items) == (['warm, dry "tent"', "tent"], ["a", "b,1"])
    assert (log.position_N.tolist(), log.clicked_N.tolist()) == ([0, 1], [1, 0])


def outcome(read, *args, **options):
    try:
        log = read(*args, **options)
    except UserError as error:
        return str(error)
    return log.queries, log.items, log.position_N.tolist(), log.clicked_N.tolist()


@pytest.mark.parametrize("sign", ["\ufeff", "\r", '"', '"a"', "\x0b", "\u2028"])
def test_blocks_are_read_as_rows_are(sign, tmp_path):
    """What another reader takes for a line end, a quote or nothing."""
    columns = {role: role for role in HEADER.strip().split(",")}
    for place in range(len(HEADER), len(HEADER) + 15):
        path = tmp_path / "log.csv"
        path.write_text(BY_HAND[:place] + sign + BY_HAND[place:], newline="")
        rows = row_values(path, "impressions", columns)
        assert outcome(read_log, path, {}, sessions=True) == outcome(read_rows, path, columns, rows, 1)


NAMED = {"query": "q", "clicked": "hit"}
FAULTS = [
    (lambda text: text.replace("tent,b,1,0", "tent,b,one,0", 1), r":\d+: position 'one' is not an integer from 1"),
    (lambda text: text.replace("tent,b,1,0", "tent,b,0,0", 1), r":\d+: position '0' .* set --first-position 0"),
    (lambda text: text.replace("tent,b,1,0", "tent,b,99999999,0", 1), r":\d+: position '99999999' is not an integer"),
    (lambda text: text.replace("tent,b,1,0", "tent,b,1.5,0", 1), r":\d+: position '1.5' is not an integer"),
    (lambda text: text.replace("tent,a,1,1", "tent,a,1,2", 1), r":2: clicked '2' is not 0, 1, true or false"),
    (lambda text: text.replace("tent,a,1,1", "tent,a,1,", 1), r":2: clicked '' is not 0, 1"),
    (lambda text: text.replace("tent,a,1,1", "tent,,1,1", 1), r":2: field 'item' is empty"),
    (lambda text: text.replace("tent,a,1,1", "tent,a ,1,1", 1), r":2: id 'a ' begins or ends with a blank"),
    (lambda text: text.replace("tent,a,1,1", "tent,nan,1,1", 1), r":2: field 'item' is 'nan'"),
    (lambda text: text.replace("tent,a,1,1", '"tent"x,a,1,1', 1), r":2: not CSV"),
    (lambda text: text.replace("tent,a,1,1", '"tent,a,1,1', 1), r":2: not CSV"),
    (lambda text: text.replace("tent,a,1,1", "tent,a,1", 1), r":2: 4 columns, but the header \(line 1\) has 5"),
    (lambda text: text + HEADER, r"the header again"),
    (lambda text: text.replace("clicked", "dwell", 1), r":2: no column for the clicked; the columns are: query, item"),
    (lambda text: text.replace("session", "rank", 1), r"'position' and 'rank' could both be the position"),
    (
        lambda text: text.replace(",1,s", ",0,s").replace(",1,t", ",0,t").replace(",1,u", ",0,u"),
        r"no row of 60 is clicked",
    ),
    (lambda text: text.replace("tent", "te\0nt", 1), r":2: a NUL character"),
    (lambda text: HEADER, r"no impressions: the file has no rows"),
    (lambda text: "", r"no impressions: the file has no rows"),
]


@pytest.mark.parametrize("place", range(len(FAULTS)))
def test_a_log_with_a_fault_is_refused_with_its_line(place, tmp_path):
    change, message = FAULTS[place]
    with pytest.raises(UserError, match=message):
        read_log(put(tmp_path, change(BY_HAND)), {}, sessions=False)


def test_sdbn_asks_for_sessions_and_roles_must_exist(tmp_path):
    path = put(tmp_path, "query,item,position,clicked\na,b,1,1\n")
    with pytest.raises(UserError, match=r"no column for the session .sdbn needs to know which rows were on one page"):
        read_log(path, {}, sessions=True)
    with pytest.raises(UserError, match="--columns: no role 'grade' here"):
        read_log(path, {"grade": "x"}, sessions=False)


# --- UBI

QUERIES = [
    {"query_id": "1", "user_query": "tent", "query_response_objects_ids": ["a", "b", "c"]},
    {"_source": {"query_id": "2", "user_query": "tent", "query_response_object_ids": ["b", "a", 7]}},
]


def event(query, action, item, position=None, **more):
    place = {"ordinal": position} if position else None
    attributes = {"object": {"object_id": item, "internal_id": f"_{item}"}, "position": place}
    return {"action_name": action, "query_id": query, "event_attributes": attributes, **more}


def jsonl(folder, name, rows):
    return put(folder, "".join(json.dumps(row) + "\n" for row in rows), name)


def ubi(folder, events, queries=QUERIES, **options):
    return read_ubi(jsonl(folder, "events.jsonl", events), jsonl(folder, "queries.jsonl", queries), **options)


def test_ubi_without_impressions_takes_what_the_search_answered(tmp_path):
    events = [
        event("1", "click", "b", 2),
        event("2", "click", "z"),
        event("9", "click", "a"),
        event("2", "on_search", None),
    ]
    log = ubi(tmp_path, events)
    assert (log.queries, log.items) == (["tent"], ["a", "b", "c", "7"])
    assert log.item_N.tolist() == [0, 1, 2, 1, 0, 3]
    assert log.position_N.tolist() == [0, 1, 2, 0, 1, 2]
    assert log.clicked_N.tolist() == [0, 1, 0, 0, 0, 0]
    assert +log.counts == {
        "events with another action, left out": 1,
        "events of a query_id that is not in the file of queries, left out": 1,
        "impressions from the answers of the search, as no event is an impression": 6,
        "clicks of items that were not shown, left out": 1,
    }


def test_ubi_with_impressions_takes_these(tmp_path):
    events = [event("1", "impression", "a", 1), event("1", "impression", "b", 2), event("1", "click", "b", 2)]
    log = ubi(tmp_path, events, item="event_attributes.object.internal_id")
    assert (log.items, log.position_N.tolist(), log.clicked_N.tolist()) == (["_a", "_b"], [0, 1], [0, 1])


@pytest.mark.parametrize(
    ("events", "queries", "message"),
    [
        ([event("1", "tap", "a")], QUERIES, r"no event with the action 'click'; there are tap \(1\): set --click"),
        ([event("1", "click", None)], QUERIES, r"events.jsonl:1: field 'event_attributes.object.object_id' is empty"),
        ([event("1", "impression", "a"), event("1", "click", "a")], QUERIES, r"events.jsonl:1: position None is not"),
        ([event("1", "click", "a")], QUERIES * 2, r"queries.jsonl:3: query_id '1' is on an earlier line"),
        (
            [event("1", "click", "a")],
            [{"query_id": "1", "user_query": "a", "query_response_objects_ids": "x"}],
            r":1: .* is 'x'",
        ),
        ([event("1", "click", "a")], [{"query_id": "1"}], r"queries.jsonl:1: field 'user_query' is empty"),
    ],
)
def test_ubi_with_a_fault_is_refused(events, queries, message, tmp_path):
    with pytest.raises(UserError, match=message):
        ubi(tmp_path, events, queries)


def test_the_command_writes_grades_and_facts_and_prints_the_curve(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, BY_HAND)
    words = "judgements clicks log.csv --model coec --out g/grades.csv --thresholds 0.9,1.2 --smoothing 0".split()
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "wrote g/grades.csv and g/grades.csv.json: 2 pairs by coec, grades 0: 1, 1: 0, 2: 1" in said
    assert "pairs shown at several positions: 2 of 2" in said
    rows = list(csv.DictReader((tmp_path / "g/grades.csv").open()))
    assert [(row["item"], row["grade"], row["value"]) for row in rows] == [("a", "2", "1.4"), ("b", "0", "0.714286")]
    facts = json.loads((tmp_path / "g/grades.csv.json").read_text())
    assert facts["positions"][1] == {"position": 2, "impressions": 40, "clicks": 4, "click rate": 0.1, "examined": 0.25}
    assert [row.grade for row in read_judgements([tmp_path / "g/grades.csv"]).rows] == [2, 0]
    assert run(words) == 2
    assert "exists already" in capsys.readouterr().err
