"""What a report says, what it refuses, and that nothing written by a model becomes markup."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt

from recr1.cli.main import run as recr1
from recr1.errors import RunError
from recr1.report import html, markdown, page, read_run
from recr1.report.card import card
from recr1.report.figures import rank_change
from recr1.report.groups import changes, grouped, verdict
from tests.recr1.report.runs import HOSTILE, make_run


class Outline(HTMLParser):
    """Elements, headings, ids, and the addresses that a page names."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.ids, self.addresses, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        held = dict(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [held["id"]] if "id" in held else []
        self.addresses += [held[name] for name in ("src", "href", "xlink:href") if name in held]


@pytest.fixture(scope="module")
def made(finished):
    return page([read_run(finished)])


@pytest.fixture(scope="module")
def text(made):
    return html(made)


def edit(path, **facts):
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_the_verdict_leads_with_gain_interval_and_p(made):
    assert re.fullmatch(
        r"On held-out needs of 'test', trained against the raw need: [+]0\.\d{3} nDCG@10 \(95% interval .*, p = .*, "
        r"6 needs\): no clear difference; trained against untrained: .* 6 needs\): no clear difference\.",
        made.parts[0].verdict.sentence,
    )


def test_a_page_asks_no_other_place_for_anything(text):
    outline = Outline(text)
    assert [address for address in outline.addresses if not address.startswith(("#", "data:"))] == []
    assert not {"script", "iframe", "img", "object"} & set(outline.tags)
    assert re.findall(r"@import|url\((?!#)", text) == []


def test_what_a_model_wrote_is_text_in_html(text):
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_what_a_model_wrote_is_text_in_markdown(made):
    shown = MarkdownIt("commonmark").render(markdown(made))
    assert "<script" not in shown and "<a " not in shown and "<code>lamp" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; |[x](javascript:1)| `lamp`" in shown


def test_ids_are_distinct_and_every_link_within_the_page_has_its_target(text):
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert {a[1:] for a in outline.addresses if a.startswith("#")} <= set(outline.ids)


def test_headings_never_skip_a_level(text):
    levels = Outline(text).headings
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_every_picture_has_its_words_and_its_numbers(made):
    figures = [*made.curves, made.parts[0].standing, made.parts[0].moved]
    assert len(figures) > 8
    assert all(figure.says and figure.rows and len(figure.rows[0]) == len(figure.header) for figure in figures)


def test_pictures_take_their_colours_from_the_page(made):
    for figure in [*made.curves, made.parts[0].moved]:
        assert "var(--ink)" in figure.svg or "var(--faint)" in figure.svg
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", figure.svg)) == set()


def test_the_table_has_floor_policies_and_ceiling_with_the_numbers_of_the_evaluation(made, finished):
    table = made.parts[0].results[0]
    assert [row[0] for row in table.rows] == ["raw need (floor)", "untrained", "trained", "ceiling"]
    saved = json.loads((finished / "eval/test/trained/eval.json").read_text())["measures"]["nDCG@10"]["policy"]
    assert table.rows[2][1] == "{mean:.3f}\n{low:.3f} to {high:.3f}".format(**saved)


def test_where_the_first_relevant_item_moved_counts_every_need_once(made):
    rows = made.parts[0].moved.rows
    assert sum(int(cell) for row in rows for cell in row[1:]) == 6


def test_what_lost_most_says_what_each_query_found(made):
    worst = made.parts[0].lost[0]
    assert [one.by for one in worst.attempts] == ["raw need", "untrained", "trained"]
    assert worst.attempts[2].query == HOSTILE and worst.change < 0
    assert worst.attempts[0].found and worst.attempts[0].found[0]["title"]


def test_the_run_card_says_how_to_do_it_again(made, finished, text):
    card = made.cards[0]
    assert card.again.startswith(f"recr1 train {finished}/recipe.yaml --out ")
    assert dict(card.facts)["catalog fingerprint"] == json.loads((finished / "run.json").read_text())["catalog"]
    assert "type: bm25" in card.recipe and "numpy" in dict(card.versions)


def test_the_run_card_says_what_the_task_counted(copied, made):
    edit(copied / "run.json", data={"needs left out, not judged": 10, "needs without a word": 1})
    assert dict(card(read_run(copied)).facts)["data"] == "needs left out, not judged: 10; needs without a word: 1"
    assert "data" not in dict(made.cards[0].facts)


def test_the_command_writes_both_files_and_says_the_verdict(copied, capsys):
    assert recr1(["report", str(copied)]) == 0
    assert (copied / "report.html").stat().st_size > 50_000 and (copied / "report.md").read_text().startswith("# lamp")
    assert "trained against the raw need: " in capsys.readouterr().out


def test_a_run_that_was_not_evaluated_says_the_command_for_it(copied):
    shutil.rmtree(copied / "eval")
    said = verdict(grouped([read_run(copied)])[0])
    assert "an indication, not a result" in said.sentence
    assert f"recr1 eval {copied} --split test" in said.remarks[0]


def test_a_log_that_lost_lines_since_the_run_was_finished_is_told(copied):
    assert page([read_run(copied)]).notices == []
    whole = (copied / "metrics.jsonl").read_text()
    (copied / "metrics.jsonl").write_text(whole[: len(whole) // 2])
    (notice,) = page([read_run(copied)]).notices
    assert notice.title == "A log has changed"
    assert f"metrics.jsonl has {len(whole) // 2:,} bytes, and had {len(whole):,} when the run was" in notice.text


def test_a_run_that_only_began_has_a_report(copied):
    shutil.rmtree(copied / "eval")
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        (copied / name).write_text('{"step": 1, "ti')
    edit(copied / "run.json", status="running", seconds=None)
    made = page([read_run(copied)])
    assert "There is no result yet" in made.parts[0].verdict.sentence
    assert [notice.title for notice in made.notices] == ["Not finished"]
    assert "Nothing was logged yet" in html(made)
    assert markdown(made)


def test_an_accepted_leak_stands_at_the_top(copied):
    leak = "2 of 6 test needs stand in training"
    edit(copied / "run.json", splits={"accepted": [leak]}, status="failed", error="Boom: <b>")
    (copied / "alerts.jsonl").write_text('{"step": 3, "level": "warning", "sign": "kl", "text": "far"}\n')
    made = page([read_run(copied)])
    assert [(one.level, one.title) for one in made.notices] == [
        ("stop", "Leak accepted"),
        ("stop", "Failed"),
        ("warning", "Alarm: kl"),
    ]
    text = html(made)
    assert (
        text.index(leak) < text.index('id="verdict"') and "<b>" not in text.split('id="verdict"')[0].split("<main")[1]
    )


def test_a_validation_is_no_held_out_result(copied):
    for file in (copied / "eval/test").rglob("eval.json"):
        edit(file, split="validation")
    remarks = verdict(grouped([read_run(copied)])[0]).remarks
    assert any("checkpoint may have been chosen" in remark for remark in remarks)


def test_an_evaluation_that_kept_no_ranks_of_the_raw_need_has_none(copied):
    for file in copied.rglob("per_need.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            del line["floor"], line["found"]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pooled = grouped([read_run(copied)])[0].splits["test"]
    assert rank_change(pooled[-1]) is None
    won, _lost = changes(pooled, "nDCG@10")
    assert {one.found for one in won[0].attempts} == {None}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not a run folder: it has no run\.json"):
        read_run(tmp_path)


def test_an_evaluation_whose_files_do_not_go_together_is_refused(copied):
    file = copied / "eval/test/trained/per_need.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(RunError, match=r"eval\.json and per_need\.jsonl are not of one evaluation"):
        read_run(copied)


def test_a_broken_line_names_its_file(copied):
    (copied / "metrics.jsonl").write_text('{"step": 1}\n{"stp": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: no 'step' in this line"):
        read_run(copied)


def test_a_run_named_twice_is_refused(copied, capsys):
    assert recr1(["report", str(copied), f"{copied}/"]) == 2
    assert "is listed twice" in capsys.readouterr().err


def test_an_output_that_is_no_html_file_is_refused(copied, capsys):
    assert recr1(["report", str(copied), "--out", "here"]) == 2
    assert "name it here.html" in capsys.readouterr().err


def test_seeds_are_pooled_and_their_gains_told_apart(finished, tmp_path):
    other = make_run(tmp_path / "other", seed=1, skill=0.5).path
    made = page([read_run(finished), read_run(other)])
    assert [part.name for part in made.parts] == ["lamp-run and 1 more (seeds 0, 1)"]
    assert "On held-out needs of 'test', 2 runs, trained against " in made.parts[0].verdict.sentence
    means = [json.loads((run / "eval/test/trained/eval.json").read_text()) for run in (finished, other)]
    mean = sum(one["measures"]["nDCG@10"]["policy"]["mean"] for one in means) / 2
    assert made.parts[0].results[0].rows[2][1].startswith(f"{mean:.3f}\n")
    assert "over the 2 runs" in made.parts[0].verdict.remarks[0]
    assert made.curves[0].header == ["step", "lamp-run", "other"]


def test_recipes_stand_side_by_side(finished, tmp_path):
    other = make_run(tmp_path / "other", steps=3, judged=False)
    recipe = (other.path / "recipe.yaml").read_text()
    (other.path / "recipe.yaml").write_text(recipe.replace("k: 10", "k: 20"))
    made = page([read_run(finished), read_run(other.path)])
    assert [row[:2] for row in made.side_by_side.rows] == [["lamp-run", "test"], ["other", "not evaluated"]]
    assert made.side_by_side.notes == ["All runs searched the same catalog with the same retriever."]
    assert html(made)
