"""Amazon-C4 as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import pytest

from recr1.errors import DataError, UserError
from recr1.tasks.published.amazon_c4 import AmazonC4Task
from tests.recr1.tasks.published.c4_data import ITEMS, NEEDS, SECRET, tables, write

SPLITS = ("train", "validation", "test")


def opened(folder, rows, **options):
    return AmazonC4Task(path=str(write(folder, rows)), **options)


def needs_of(task):
    return [need for split in SPLITS for need in task.needs(split)]


def test_each_need_has_the_product_of_its_review(tmp_path):
    task, rows = opened(tmp_path, tables()), tables()
    assert len(needs_of(task)) == 60 and min(len(task.needs(split)) for split in SPLITS) > 0
    for row in rows[NEEDS]:
        assert dict(task.qrels[str(row["qid"])]) == {task.catalog.row(row["item_id"]): 1}
    assert task.catalog.texts == tuple(row["metadata"] for row in rows[ITEMS])
    assert list(task.catalog.fields) == ["category", "metadata"]
    assert task.counts == {"items with the text of an earlier item": 5}


def test_no_prompt_and_no_item_holds_a_review(tmp_path):
    task = opened(tmp_path, tables())
    prompts = [message["content"] for need in needs_of(task) for message in task.format.render(need)]
    assert not any(SECRET in text for text in (*prompts, *task.catalog.texts))
    assert not any(SECRET in str(need) for need in needs_of(task))


def test_a_seed_draws_the_splits_and_equal_needs_stay_together(tmp_path):
    rows = tables()
    rows[NEEDS][9]["query"] = rows[NEEDS][8]["query"].upper()
    tasks = [opened(tmp_path, rows, split_seed=seed) for seed in (0, 0, 1)]
    first, again, other = [{split: [n.id for n in task.needs(split)] for split in SPLITS} for task in tasks]
    assert first == again != other
    for task in (first, other):
        assert any({"8", "9"} <= set(ids) for ids in task.values())


def test_a_category_chooses_needs_and_leaves_the_catalog_whole(tmp_path):
    task = opened(tmp_path, tables(), category="Games", splits={"test": 1.0})
    assert [need.id for need in task.needs("test")] == [str(n) for n in range(60) if n % 5 == 0]
    assert len(task.catalog) == 40 and task.counts["needs left out, of another category"] == 48
    with pytest.raises(DataError, match=r"no category 'Game'; did you mean 'Games'\?"):
        AmazonC4Task(path=str(tmp_path), category="Game")
    with pytest.raises(DataError, match=r"no category 'zzz' \(categories: Baby, Games, Office, Pet, Sports\)"):
        AmazonC4Task(path=str(tmp_path), category="zzz")


def test_a_product_that_is_not_there_is_refused_or_counted(tmp_path):
    rows = tables()
    rows[NEEDS][0]["item_id"] = "B999"
    with pytest.raises(DataError, match=rf"{NEEDS}:2: unknown item 'B999': .* with unknown_items: exclude"):
        opened(tmp_path, rows)
    task = opened(tmp_path, rows, unknown_items="exclude")
    assert task.counts["judgements left out, unknown item"] == 1 and "0" not in task.qrels
    assert task.counts["needs left out, not judged"] == 1


def test_of_a_product_twice_the_first_is_kept_and_counted(tmp_path):
    rows = tables()
    rows[ITEMS].append({**rows[ITEMS][0], "metadata": "x"})
    task = opened(tmp_path, rows)
    assert task.counts["items left out, id repeated with another row"] == 1 and "x" not in task.catalog.texts


@pytest.mark.parametrize("name", [NEEDS, ITEMS])
def test_a_file_that_is_missing_empty_or_cut_off_is_refused(tmp_path, name):
    path = write(tmp_path, tables()) / name
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match=rf"{name}:\d+: not (CSV|JSON): "):
        AmazonC4Task(path=str(tmp_path))
    path.write_text("")
    with pytest.raises(DataError, match=f"{name}: no .*: the file has no rows"):
        AmazonC4Task(path=str(tmp_path))
    path.unlink()
    with pytest.raises(
        DataError, match=rf"no {name} \([\d.]+ MB\). The set is published at .*McAuley-Lab/Amazon-C4; get it"
    ):
        AmazonC4Task(path=str(tmp_path))


def test_shares_are_checked_before_a_file_is_opened():
    with pytest.raises(UserError, match=r"splits: the shares must sum to 1, got 0\.5"):
        AmazonC4Task(path="nowhere", splits={"train": 0.5})
