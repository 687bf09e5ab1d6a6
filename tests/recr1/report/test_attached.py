"""What other commands wrote into a run: shown with its numbers and its file, and said to be out of date where it is."""

from __future__ import annotations

import json
import shutil
from typing import NamedTuple

import pytest

from recr1.cli.main import run as recr1
from recr1.errors import RunError
from recr1.report import figures, html, markdown, page, read_run
from recr1.report.attached import compared, rescored, swapped, to_compare
from recr1.report.card import notices
from recr1.report.groups import grouped
from tests.recr1.report.runs import make_run

COMPARE, SWAP, RESCORE = "compare/test/compare.json", "eval/test/swap.json", "rescored/bm25/rescore.json"


class Parts(NamedTuple):
    compared: list
    swapped: list
    rescored: list
    to_compare: str


def part_of(*paths):
    group = grouped([read_run(path) for path in paths])[0]
    with figures.style():
        return Parts(compared(group, "g0"), swapped(group), rescored(group), to_compare(group))


def held(run, file):
    return json.loads((run / file).read_text())


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def keeps(run, step):
    """Let the run keep the policy of a step."""
    edit(run / "run.json", lambda facts: facts.update(policy={"keep": "best", "step": step}))


def about(run, *runs, step):
    """Let prf of a comparison be the policy of these runs after a step."""
    facts = [json.loads((one / "run.json").read_text()) for one in runs]
    of = [
        {"run": one.name, "started": f["started"], "seed": f["seed"], "step": step}
        for one, f in zip(runs, facts, strict=True)
    ]
    edit(run / COMPARE, lambda content: content["policies"]["prf(items=3)"].update(runs=of))


@pytest.fixture
def run(attached, tmp_path):
    return shutil.copytree(attached, tmp_path / "lamp-run")


def test_a_comparison_shows_all_policies_with_interval_corrected_p_tally_and_cost(attached):
    one = part_of(attached).compared[0]
    content = held(attached, COMPARE)
    assert [row[0] for row in one.tables[0].rows] == ["raw", "prf(items=3)", "best_item *"]
    test = next(t for t in content["comparisons"] if (t["policy"], t["measure"]) == ("best_item", "nDCG@10"))
    own = content["policies"]["best_item"]["measures"]["nDCG@10"]
    p = "p < 0.001" if test["p_holm"] < 0.001 else f"p = {test['p_holm']:.3f}"
    best = one.tables[0].rows[2]
    assert best[1] == "{mean:.3f} {p}\n{low:.3f} to {high:.3f}".format(p=p, **own)
    assert best[3] == f"{test['wins']}/{test['ties']}/{test['losses']}"
    assert one.tables[1].header[1:4] == ["ms", "tokens read", "tokens written"]
    assert one.tables[1].rows[1][1] == f"{content['policies']['prf(items=3)']['cost']['milliseconds']:.2f}"
    assert one.says == [content["verdict"]] and one.file == COMPARE and one.stale == []


def test_the_tables_are_those_that_the_command_wrote(attached):
    part = part_of(attached)
    for one, page_of in (
        (part.compared[0], "compare.md"),
        (part.swapped[0], "swap.md"),
        (part.rescored[0], "rescore.md"),
    ):
        written = (attached / one.file).with_name(page_of).read_text()
        assert all(table.markdown() in written for table in [*one.tables, *one.folded])


def test_the_swap_test_is_shown_with_what_it_says(attached):
    one = part_of(attached).swapped[0]
    assert one.tables[0].header == ["", "bm25", "rank_bm25"]
    assert [row[0] for row in one.tables[0].rows][:3] == ["floor", "echo", "ceiling"]
    assert one.says == held(attached, SWAP)["verdict"]
    assert one.says[0].startswith("On bm25, echo against the raw need: ")
    assert one.file == SWAP and one.stale == []


def test_rescored_results_have_before_after_and_change(attached):
    one = next(one for one in part_of(attached).rescored if one.file == RESCORE)
    numbers = held(attached, RESCORE)["results"]["test/trained"]["measures"]["nDCG@10"]
    row = next(row for row in one.tables[0].rows if row[0].startswith("test/trained"))
    assert one.tables[0].header[1:4] == ["before", "after", "change"]
    assert row[1:3] == [f"{numbers['before']['mean']:.3f}", f"{numbers['after']['mean']:.3f}"]
    assert row[3].startswith(f"{numbers['change']['difference']:+.3f} p")
    assert one.title == "Rescored with retriever.b=0.1" and one.stale == []


def test_html_and_markdown_have_a_heading_a_reading_aid_and_the_file_of_each(attached):
    made = page([read_run(attached)])
    for text in (html(made), markdown(made).replace("\\", "")):
        for part, file in (("Policies compared", COMPARE), ("Other retrievers", SWAP), ("Rescored", RESCORE)):
            assert part in text and file in text
        assert "Read the interval before the mean" in text and "levels of two engines do not compare" in text
        assert "nothing was generated" in text and "Out of date" not in text


def test_a_run_without_a_comparison_says_the_command_for_it(copied):
    part = part_of(copied)
    assert part == ([], [], [], f"recr1 compare {copied}")
    text = html(page([read_run(copied)]))
    assert f"<code>recr1 compare {copied}</code>" in text and 'id="swap"' not in text


def test_seeds_without_a_comparison_are_compared_together(finished, tmp_path):
    other = make_run(tmp_path / "other", seed=1).path
    said = part_of(finished, other).to_compare
    assert said.startswith(f"recr1 compare {finished} --policies raw,") and said.endswith(f"trained={finished}+{other}")


def test_a_comparison_of_an_earlier_policy_is_out_of_date(run):
    keeps(run, 12)
    about(run, run, step=8)
    stale = ["it is of the policy of step 8, and the run now keeps that of step 12"]
    assert part_of(run).compared[0].stale == stale
    made = page([read_run(run)])
    assert "<strong>Out of date.</strong> It is of the policy of step 8" in html(made)
    assert "> **Out of date.** It is of the policy of step 8" in markdown(made)
    about(run, run, step=12)
    assert part_of(run).compared[0].stale == []


def test_what_was_made_with_another_setting_is_out_of_date(run):
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("k: 10", "k: 20"))
    part = part_of(run)
    stale = ["it was made with another k than the run's"]
    assert part.compared[0].stale == part.swapped[0].stale == stale
    said = notices([read_run(run)])
    assert [one.title for one in said] == ["Evaluation out of date"]
    assert said[0].text.startswith("eval/test: it was made with another k") and "recr1 eval" in said[0].text


def test_another_catalog_is_seen_in_results_that_name_nothing_else(run):
    for file, key in ((COMPARE, "setting"), (SWAP, "origin")):
        edit(run / file, lambda content, key=key: content.pop(key))
    assert part_of(run).compared[0].stale == part_of(run).swapped[0].stale == []
    edit(run / "run.json", lambda facts: facts.update(catalog="0" * 16))
    stale = ["it was made with another catalog than the run's, under the same name"]
    assert part_of(run).compared[0].stale == part_of(run).swapped[0].stale == stale


def test_a_comparison_without_this_runs_policy_says_whose_it_has(run, tmp_path):
    other = make_run(tmp_path / "other", seed=1, steps=3, judged=False).path
    about(run, other, step=3)
    assert part_of(run).compared[0].stale == ["it is not about this run, but about other"]


def test_what_was_rescored_before_the_run_resumed_is_out_of_date(run):
    lines = (run / "rollouts.jsonl").read_text().splitlines(keepends=True)
    (run / "rollouts.jsonl").write_text("".join([*lines, lines[-1]]))
    now, then = len(lines) + 1, len(lines)
    one = next(one for one in part_of(run).rescored if one.file == RESCORE)
    assert one.stale == [f"it is of {then} completions of 'training', and the run has {now} now"]


def test_what_was_rescored_of_another_run_is_out_of_date(run):
    edit(run / RESCORE, lambda content: content["origin"].update(seed=7))
    one = next(one for one in part_of(run).rescored if one.file == RESCORE)
    assert len(one.stale) == 1 and one.stale[0].startswith("it is of another run (started ")


def test_results_of_seeds_are_separate_and_say_which_seeds_they_are_about(run, tmp_path):
    other = make_run(tmp_path / "other", seed=1).path
    about(run, run, step=12)
    part = part_of(run, other)
    assert [one.run for one in part.compared] == ["lamp-run"] and part.compared[0].stale == []
    assert part.compared[0].says[1].startswith("This is only about lamp-run. For all 2 seeds: recr1 compare ")
    about(run, run, other, step=12)
    assert len(part_of(run, other).compared[0].says) == 1


@pytest.mark.parametrize("file", [COMPARE, SWAP, RESCORE])
def test_a_broken_result_names_its_file(run, file):
    (run / file).write_text('{"ha')
    with pytest.raises(RunError, match=rf"{file} is not JSON: .* \(write it again, or remove it\)"):
        part_of(run)
    (run / file).write_text('{"split": "test"}')
    with pytest.raises(RunError, match=rf"{file} cannot be read: KeyError"):
        part_of(run)


def test_a_comparison_of_a_run_is_kept_in_its_folder(copied, capsys):
    assert recr1(["compare", str(copied), "--policies", "raw,best_item", "--split", "validation"]) == 0
    content = held(copied, "compare/validation/compare.json")
    assert content["setting"]["k"] == 10 and content["setting"]["retriever"] == {"type": "bm25"}
    assert f"written to {copied}/compare/validation" in capsys.readouterr().out
