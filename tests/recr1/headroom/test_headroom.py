"""What a scripted policy's samples say about what can be learned: every number by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recr1.baselines.without_model import Verbatim
from recr1.cli import main as cli
from recr1.env import Environment
from recr1.evaluate import Evaluator
from recr1.headroom import HeadroomOptions, find_headroom, tables, verdicts, write
from rewards.measures.reward import MeasureReward
from tests.recr1.baselines.world import Overlap, World

# Three needs: n1 wants mug-red (3) or mug-blue (1), n2 tea-green (1), n3 pot (2).
ANSWERS = {
    "something for coffee, red": ["mug", "mug", "mug", "mug"],  # mug-red first, always
    "green tea": ["green", "tea", "pan", "zzz"],  # tea-green at 1, 1, never, never
    "zzz": ["zzz", "mug", "red", "black"],  # never
}


class Samples:
    """Answers each need with its list of completions."""

    format = Verbatim()

    def __init__(self, answers=ANSWERS):
        self.answers = answers

    def generate(self, chats, n):
        return [self.answers[chat[-1]["content"]][:n] for chat in chats]


def headroom(*, answers=ANSWERS, measures=("RR@5",), cutoff=1, **options):
    world = World()
    reward = MeasureReward(measure=f"Success@{cutoff}")
    env = Environment(world, Overlap(world.catalog), [(reward, 1.0)], 5)
    evaluator = Evaluator(env, "train", list(measures))
    return find_headroom(evaluator, Samples(answers), 4, HeadroomOptions(**{"depth": 5, **options}), name="samples")


def test_floor_mean_best_and_ceiling_are_those_of_the_samples():
    bounds = headroom().summary["measures"]["RR@5"]
    # Floors: "something for coffee, red" finds mug-red first (1), "green tea" tea-green (1), "zzz" nothing (0).
    assert {name: interval["mean"] for name, interval in bounds.items()} == pytest.approx(
        {"floor": 2 / 3, "mean": (1 + 0.5 + 0) / 3, "best": 2 / 3, "ceiling": 1}
    )
    assert all(interval["low"] <= interval["mean"] <= interval["high"] for interval in bounds.values())


def test_needs_are_always_sometimes_or_never_solved():
    solved = headroom().summary["solved"]
    assert [solved[name]["mean"] for name in ("always", "sometimes", "never")] == pytest.approx([1 / 3] * 3)
    assert solved["unsolvable"] == 0


def test_solved_is_a_share_of_the_ceiling():
    answers = {**ANSWERS, "zzz": ["tea", "tea", "tea", "tea"]}  # green, black, then the pot: RR 1/3 of a ceiling of 1
    never = [headroom(answers=answers, solved=at).summary["solved"]["never"]["mean"] for at in (1 / 3, 0.34)]
    assert never == pytest.approx([0, 1 / 3])


def test_groups_have_the_spread_of_all_groups_that_the_samples_hold():
    groups = headroom().summary["groups"]
    # n1 and n3 earn the same each time; of n2's 1 1 0 0, two of six pairs are equal, and no four.
    assert {size: group["flat"]["mean"] for size, group in groups.items()} == pytest.approx(
        {"2": (1 + 1 / 3 + 1) / 3, "4": 2 / 3}
    )
    assert groups["2"]["best"]["mean"] == pytest.approx((1 + 5 / 6 + 0) / 3)


def test_the_first_relevant_item_has_its_rank():
    found = headroom(answers={**ANSWERS, "zzz": ["tea", "blue", "pot", "[]"]})
    assert found.first_ranks.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [3, 2, 1, 0]]
    shares = {(row["from"], row["to"]): (row["completions"], row["needs"]) for row in found.summary["ranks"]}
    assert shares == {
        (1, 1): pytest.approx((7 / 12, 1)),
        (2, 3): pytest.approx((2 / 12, 0)),
        (4, 5): (0, 0),
        (None, None): pytest.approx((3 / 12, 0)),
    }


def test_a_deeper_reward_is_suggested_where_the_first_places_are_empty(monkeypatch):
    monkeypatch.setattr("recr1.headroom.headroom.SHALLOWEST", 1)
    answers = {"something for coffee, red": ["mug"] * 4, "green tea": ["tea"] * 4, "zzz": ["tea"] * 4}
    found = headroom(answers=answers, group=2)
    depth = found.summary["depth"]
    assert depth["groups"] == pytest.approx({"1": 2 / 3, "3": 1, "5": 1})
    assert (depth["now"], depth["suggested"]) == (1, 3)
    assert any("within 3 it is 100%. A reward of depth k = 3 would reward 90%" in line for line in verdicts(found))


def test_a_recipe_whose_groups_were_not_sampled_is_told_how():
    assert any("use --samples 8" in line for line in verdicts(headroom(group=8)))


def test_the_sentences_say_what_is_never_solved_and_what_teaches_nothing():
    said = "\n".join(verdicts(headroom(group=4)))
    assert "RR@5 is 0.500 on average and 0.667 with the best of 4 samples: +0.167 can be learned" in said
    assert "33% of needs are never solved in 4 samples: the policy can learn them only from similar needs." in said
    assert "33% of needs are always solved" in said
    assert "67% of the recipe's groups of 4 would have equal rewards and teach nothing: use dynamic sampling" in said


def test_a_policy_below_the_floor_and_without_queries_is_told_so():
    answers = {"something for coffee, red": ["", "", "", "zzz"], "green tea": [""] * 4, "zzz": [""] * 4}
    said = "\n".join(verdicts(headroom(answers=answers)))
    assert "is below the floor of 0.667" in said and "100% of needs are never solved in 4 samples: most needs" in said
    assert "92% of completions are invalid, most often 'empty query' (92%)" in said
    assert "No completion found anything relevant in 5 items" in said


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        (4, "100% of completions search the words of their need and nothing else: sample at a higher temperature"),
        (1, "25% of completions search the words of their need and nothing else."),
    ],
)
def test_a_policy_that_copies_its_needs_is_told_so(copied, said):
    texts = ["something for coffee, red", "green tea", "zzz"]
    answers = {text: [text.upper()] * copied + ["cup"] * (4 - copied) for text in texts}
    assert any(line.startswith(said) for line in verdicts(headroom(answers=answers)))
    assert not any("and nothing else" in line for line in verdicts(headroom()))


def test_it_looks_no_deeper_than_the_catalog():
    assert headroom(depth=1000).depth == 6


def test_what_is_written_holds_every_number(tmp_path):
    found = headroom(group=2)
    assert write(found, tmp_path / "new") == tmp_path / "new"
    assert json.loads((tmp_path / "new/headroom.json").read_text()) == json.loads(json.dumps(found.summary))
    page = (tmp_path / "new/headroom.md").read_text()
    assert [table.title for table in tables(found) if f"## {table.title}\n" not in page] == []
    assert all(f"- {line}" in page for line in verdicts(found))
    lines = [json.loads(line) for line in (tmp_path / "new/per_need.jsonl").read_text().splitlines()]
    assert [line["solved"] for line in lines] == [4, 2, 0]
    assert lines[1]["rewards"] == [1, 1, 0, 0] and lines[1]["first_ranks"] == [1, 1, None, None]


def test_the_command_samples_a_recipe_and_prints_json_or_tables(capsys, tmp_path):
    few = ["toy/echo", "--split", "test", "--needs", "3", "--samples", "2"]
    assert cli.run(["headroom", *few, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["needs"], summary["samples"], list(summary["groups"])) == (3, 2, ["2"])
    assert summary["groups"]["2"]["flat"]["mean"] == 1  # the echo always says the same
    assert summary["verdicts"]
    assert cli.run(["headroom", *few, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "equal rewards" in said and f"written to {tmp_path / 'out'}" in said


def test_the_policy_samples_at_the_temperature_of_training():
    from recr1.cli.headroom import _as_trained
    from recr1.config.build import Part
    from recr1.recipe import load_recipe

    recipe = load_recipe("quickstart", ["trainer.trl.temperature=0.7"])
    assert _as_trained(recipe) == Part("transformers", {**recipe.policy.options, "temperature": 0.7})
    assert _as_trained(load_recipe("quickstart")) == recipe.policy


@pytest.mark.parametrize("option", [["--samples", "1"], ["--solved", "1.5"], ["--needs", "0"], ["--depth", "0"]])
def test_values_that_mean_nothing_are_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run(["headroom", "toy/echo", *option])
    assert ended.value.code == 2
    assert option[1] in capsys.readouterr().err


def test_solved_needs_no_more_than_rounding_allows():
    assert headroom(solved=1.0).solved.sum() == 6
    assert np.array_equal(headroom(solved=1e-6).solved.sum(axis=1), [4, 2, 0])
