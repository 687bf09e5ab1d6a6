"""Interactions from files: every form reads alike, every fault is refused with its line or counted; counts add up."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from recr1.errors import DataError, UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.reader import Interactions
from recr1.tasks.behaviour.sequential import SequentialTask

ROOT = Path(__file__).parents[4]
ITEMS = [{"id": f"i{number}", "title": f"{color} mug"} for number, color in enumerate(["red", "blue", "green", "pink"])]
EVENTS = [
    {"user": user, "item": f"i{(place + shift) % 4}", "rating": 1 + (place + shift) % 5, "timestamp": 100 + 10 * place}
    for shift, user in enumerate(["anna", "ben", "cleo"])
    for place in range(4)
]


def lines(rows, ending):
    if ending == ".jsonl":
        return [json.dumps(row) for row in rows]
    sign = "," if ending == ".csv" else "\t"
    return [sign.join(rows[0]), *(sign.join(str(value) for value in row.values()) for row in rows)]


def write(folder, events=EVENTS, items=ITEMS, ending=".jsonl", spoil=lambda rows: rows, packed=False):
    (folder / "items.jsonl").write_text("".join(f"{line}\n" for line in lines(items, ".jsonl")))
    content = "".join(f"{line}\n" for line in spoil(lines(events, ending))).encode()
    name = f"interactions{ending}" + (".gz" if packed else "")
    (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return folder


def said(source):
    everything = {split: source.all_pasts[split] for split in SPLITS}
    return source.user_ids, source.catalog.interactions.tolist(), everything


def total(source):
    """All events: those to learn from, and the targets of leave_last."""
    return len(source.catalog.interactions) + sum(
        len(past.targets) for split in SPLITS for past in source.all_pasts[split]
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_every_text_form_reads_alike(tmp_path, ending, packed):
    (tmp_path / "plain").mkdir()
    plain = Interactions(path=str(write(tmp_path / "plain")), scale=(1, 5))
    (tmp_path / "other").mkdir()
    other = Interactions(path=str(write(tmp_path / "other", ending=ending, packed=packed)), scale=(1, 5))
    assert said(other) == said(plain)
    assert plain.pasts("test")[0].history == (0, 1, 2)
    assert plain.pasts("test")[0].values == (1.0, 2.0, 3.0)
    assert total(plain) == 12


def test_parquet_with_dates_reads_like_seconds(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "plain").mkdir()
    plain = Interactions(path=str(write(tmp_path / "plain")))
    table = pyarrow.Table.from_pylist(EVENTS)
    times = pyarrow.array([1_000_000 * event["timestamp"] for event in EVENTS], pyarrow.timestamp("us"))
    parquet.write_table(table.set_column(3, "timestamp", times), tmp_path / "interactions.parquet")
    (tmp_path / "items.jsonl").write_text((tmp_path / "plain/items.jsonl").read_text())
    assert said(Interactions(path=str(tmp_path))) == said(plain)


def test_atomic_files_of_recbole_read_alike(tmp_path):
    (tmp_path / "plain").mkdir()
    plain = Interactions(path=str(write(tmp_path / "plain")), scale=(1, 5))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    rows = ["\t".join([e["user"], e["item"], f"{e['rating']}.0", f"{e['timestamp']}.0"]) for e in EVENTS]
    (tmp_path / "set.inter").write_text("\n".join([header, *rows]) + "\n")
    titles = [f"{item['id']}\t{item['title']}" for item in ITEMS]
    (tmp_path / "set.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
    atomic = Interactions(path=str(tmp_path), scale=(1, 5))
    assert said(atomic)[1:] == said(plain)[1:]
    assert atomic.catalog.title(0) == "red, mug"  # a sequence


def test_sequences_of_recbole_are_one_history_each(tmp_path):
    rows = ["a\ti0 i1\ti2\t5", "a\ti0\ti1\t4", "a\ti0 i1 i2\ti3\t6", "b\ti3\ti0\t1"]
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float"
    (tmp_path / "set.inter").write_text("\n".join([header, *rows]) + "\n")
    source = Interactions(path=str(tmp_path))
    assert [[source.catalog.ids[row] for row in (*past.history, *past.targets)] for past in source.pasts("test")] == [
        ["i0", "i1", "i2", "i3"],
        ["i3", "i0"],
    ]
    assert source.counts["rows whose items a longer row of the user has"] == 2
    assert source.counts["items without a file, whose id is their text"] == 4


def test_a_row_with_several_items_is_a_basket(tmp_path):
    rows = [{"user": "a", "items": ["i0", "i1"], "time": 1}, {"user": "a", "items": ["i2", "i3"], "time": 2}]
    source = Interactions(path=str(write(tmp_path, rows)))
    assert [(past.history, past.targets) for past in source.pasts("test")] == [((0, 1), (2, 3))]


@pytest.mark.parametrize("factor", [1, 1000, 10**6, 10**9])
def test_times_in_smaller_units_are_seconds(tmp_path, factor):
    events = [{**event, "timestamp": (1_600_000_000 + event["timestamp"]) * factor} for event in EVENTS]
    source = Interactions(path=str(write(tmp_path, events)))
    assert source.pasts("test")[0].time == 1_600_000_130


def test_without_times_events_are_in_the_order_of_the_file(tmp_path):
    events = [{name: event[name] for name in ("user", "item")} for event in EVENTS]
    source = Interactions(path=str(write(tmp_path, events)))
    assert [past.targets for past in source.pasts("test")] == [(3,), (0,), (1,)]
    assert {past.time for past in source.pasts("test")} == {0}


def test_an_event_without_a_time_is_no_event_at_the_second_of_its_place(tmp_path):
    events = [{"user": "a", "item": item, "time": time} for item, time in (("i0", 5), ("i1", 0), ("i1", 1))]
    source = Interactions(path=str(write(tmp_path, events)))
    assert total(source) == 3 and source.counts == {}


def test_a_file_of_which_nothing_is_left_is_refused_also_without_a_file_of_items(tmp_path):
    write(tmp_path)
    (tmp_path / "items.jsonl").unlink()
    with pytest.raises(DataError, match=r"jsonl: no event is left: see what was left out"):
        Interactions(path=str(tmp_path), scale=(6, 9))


def test_a_task_without_a_need_says_what_was_left_out(tmp_path):
    write(tmp_path, [{"user": "a", "item": "i0", "time": 1}, {"user": "b", "item": "i1", "time": 1}])
    with pytest.raises(UserError, match=r"there is no need \(users without a test need, too few baskets: 2\)"):
        SequentialTask(source={"type": "interactions", "path": str(tmp_path)})


def test_a_split_by_time_needs_times(tmp_path):
    events = [{name: event[name] for name in ("user", "item")} for event in EVENTS]
    write(tmp_path, events)
    for options in ({}, {"cuts": (1, 2)}):
        with pytest.raises(UserError, match=r"split: time needs to know when events were, .* use leave_last or users"):
            Interactions(path=str(tmp_path), split="time", **options)


def at(place, **changes):
    return [{**event, **changes} if number == place else event for number, event in enumerate(EVENTS)]


@pytest.mark.parametrize(
    ("events", "options", "what", "left"),
    [
        (at(3, item="i9"), {}, "events left out, unknown item", 1),
        (at(3, rating=7), {"scale": (1, 5)}, "events left out, rating outside of 1 to 5", 1),
        (at(3, rating=None), {"scale": (1, 5)}, "events left out, no rating", 1),
        (EVENTS, {"at_least": 3}, "events left out, rating below 3", 4),
        ([*EVENTS, EVENTS[3]], {}, "events merged, the same user, item and time", 1),
        ([*EVENTS, {**EVENTS[0], "user": "dora"}], {}, "users without a test need, too few baskets", 1),
    ],
)
def test_what_is_left_out_is_counted_and_nothing_else_is_lost(tmp_path, events, options, what, left):
    source = Interactions(path=str(write(tmp_path, events)), **options)
    assert source.counts[what] == left
    dropped = sum(count for name, count in source.counts.items() if name.startswith("events"))
    assert total(source) + dropped == len(events)


def test_users_held_out_with_one_basket_are_counted(tmp_path):
    path = str(write(tmp_path, [*EVENTS, {**EVENTS[0], "user": "dora"}]))
    source = Interactions(path=path, shares={"validation": 0.99})
    assert source.counts["users held out with one basket, no need"] == 1
    assert not len(source.catalog.interactions) and len(source.all_pasts["validation"]) == 3


@pytest.mark.parametrize(
    ("events", "options", "error"),
    [
        (at(3, timestamp="soon"), {}, r"interactions.jsonl:4: time 'soon' is neither a number of seconds nor a date"),
        (at(3, timestamp=None), {}, r":4: field 'timestamp' is 'None', which means that it is missing"),
        (at(3, rating="good"), {"scale": (1, 5)}, r":4: rating 'good' is not a number: correct it, or name the column"),
        (at(3, user=""), {}, r":4: field 'user' is empty"),
        (at(3, item="i3 "), {}, r":4: id 'i3 ' begins or ends with a blank"),
        (at(3, item="i9"), {"unknown_items": "refuse"}, r":4: unknown item 'i9': add them to the file of items, or"),
        ([{**e, "item": e["item"] + ".0"} for e in EVENTS], {}, r":1: unknown item 'i0.0', but there is 'i0'"),
        ([{**e, "item": "x" + e["item"]} for e in EVENTS], {}, r":1: unknown item 'xi0' \(the first of 12 such rows\)"),
        (EVENTS, {"scale": (6, 9)}, r"jsonl: no event is left"),
        ([{**e, "user_id": "x"} for e in EVENTS], {}, r":1: 'user_id' and 'user' could both be the user: .*columns"),
        ([{"who": "a", "item": "i1"}], {}, r":1: no field 'user_id' or .*name it with columns: \{user: \.\.\.\}"),
        (at(0, items={"a": 1}), {}, r":1: .* in 'items' is not a list of items"),
        ([{"user": "a", "items": ["i0", ["i1"]]}], {}, r":1: field 'items' is \['i1'\]: it must be text or an integer"),
        ([{"user": "a", "items": ["i0", "i1 "]}], {}, r":1: id 'i1 ' begins or ends with a blank"),
        (at(3, rating="4_0"), {"scale": (1, 99)}, r":4: rating '4_0' is not a number"),
        (at(3, timestamp="1_0"), {}, r":4: time '1_0' is neither a number of seconds nor a date"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line_and_a_remedy(tmp_path, events, options, error):
    with pytest.raises(DataError, match=error):
        Interactions(path=str(write(tmp_path, events)), **options)


def test_a_hostile_file_is_read_whole_or_refused_with_its_line(tmp_path):
    """Random faults in random places: never another error, and never a lost event."""
    faults = [
        lambda cells, rng: cells[:-1],
        lambda cells, rng: [*cells, "x"],
        lambda cells, rng: [
            rng.choice(["", "nan", "\u00a0", "i9", "-1", "1e999", "2020-01-01", "\ufeffi1"]),
            *cells[1:],
        ],
        lambda cells, rng: [*cells[:-1], rng.choice(["", "nan", "inf", "yesterday", "-5", "2020-01-01", "1e12"])],
        lambda cells, rng: [cells[0], rng.choice(["", "i9", "i1 ", "I1", "NULL"]), *cells[2:]],
        lambda cells, rng: cells,
    ]
    ended = {"read": 0, "refused": 0}
    for seed in range(120):
        rng = random.Random(seed)
        place = rng.randrange(1, 13)

        def spoil(rows, rng=rng, place=place):
            return [*rows[:place], ",".join(rng.choice(faults)(rows[place].split(","), rng)), *rows[place + 1 :]]

        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            source = Interactions(path=str(write(folder, ending=".csv", spoil=spoil)))
        except DataError as error:
            assert error.line == place + 1, error
            ended["refused"] += 1
        else:
            dropped = sum(count for name, count in source.counts.items() if name.startswith("events"))
            assert total(source) + dropped == 12
            ended["read"] += 1
    assert min(ended.values()) > 10


def test_files_that_are_not_there_are_told(tmp_path):
    with pytest.raises(DataError, match=r"no file of interactions \(looked for interactions.jsonl"):
        Interactions(path=str(tmp_path))
    with pytest.raises(DataError, match="no such file or folder"):
        Interactions(path=str(tmp_path / "nowhere"))
    write(tmp_path)
    write(tmp_path, ending=".csv")
    with pytest.raises(DataError, match=r"interactions.csv and interactions.jsonl could both be the interactions"):
        Interactions(path=str(tmp_path))
    with pytest.raises(ValueError, match="columns: no role 'usr'; did you mean 'user'"):
        Interactions(path=str(tmp_path), columns={"usr": "user"})


def test_what_users_say_and_their_groups_are_read_where_columns_are_named(tmp_path):
    events = [{**event, "head": "fine", "body": "red", "sex": "f"} for event in EVENTS]
    named = {"review_title": "head", "review_text": "body", "group": "sex"}
    source = Interactions(path=str(write(tmp_path, events)), columns=named)
    assert source.reviews[0, 1].title == "fine"
    assert source.reviews[0, 1].text == "red"
    assert source.groups == ["f", "f", "f"]
    again = write(tmp_path, [*events, {**events[0], "body": "blue"}])
    source = Interactions(path=str(again), columns=named)
    assert "blue" in {review.text for review in source.reviews.values()}
    assert source.counts["reviews replaced by a later row of the user and item"] >= 1


def test_every_event_of_online_retail_is_learned_from_or_asked_for():
    home = Path(os.environ.get("RECR1_DATA") or ROOT.parent / "shared" / "data")
    if not (home / "online_retail").is_dir():
        pytest.skip(f"no online_retail in {home}: set RECR1_DATA to the folder that holds it")
    source = Interactions(path=str(home / "online_retail"))
    assert (len(source.catalog), len(source.user_ids)) == (3659, 4334)
    assert total(source) == 386_250
    assert source.counts == {
        "items with the text of an earlier item": 28,
        "users without a test need, too few baskets": 1507,
    }
