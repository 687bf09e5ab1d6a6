"""The verdict on evaluations made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recr1.errors import UserError
from recr1.judge.stats import bootstrap_interval
from recr1.report.figures import rank_change
from recr1.report.groups import Group, PooledPolicy, comparisons, grouped, verdict
from recr1.report.run_data import EvaluatedPolicy, RunData
from recr1.report.tables import check_category, slices


def judged(policy, values, floor, *, split="test", ranks=None):
    """N needs with a measure that is given, of the policy and of the raw need."""
    lines = [
        {
            "need": f"n{place}",
            "text": "a need of some words",
            "query": "q",
            "relevant_ranks": ranks[place][1] if ranks else [],
            "floor": {"relevant_ranks": ranks[place][0] if ranks else [], "found": []},
            "measures": {"nDCG@10": {"policy": value, "floor": raw, "ceiling": 1.0}},
        }
        for place, (value, raw) in enumerate(zip(values, floor, strict=True))
    ]
    summary = {"policy": policy, "split": split, "measures": {"nDCG@10": {}}, "settings": {"seed": 0}, "k": 10}
    return EvaluatedPolicy(summary, lines, {})


def group(*runs, name="run"):
    sources = [
        RunData(Path(f"/{name}{place}"), {}, {"seed": place}, "", [], [], [], run) for place, run in enumerate(runs)
    ]
    return Group(name, sources)


RNG = np.random.default_rng(0)
FLOOR = RNG.uniform(0.2, 0.4, 200)
NOISE = RNG.normal(0, 0.05, 200)


def test_a_real_gain_is_said_with_its_size():
    said = verdict(group([judged("trained", FLOOR + 0.3 + NOISE - NOISE.mean(), FLOOR)]))
    assert said.tone == "good"
    assert said.sentence.startswith(
        "On held-out needs of 'test', trained against the raw need: +0.300 nDCG@10 (95% interval +0.29"
    )
    assert said.sentence.endswith(", p < 0.001, 200 needs): better.")


def test_a_real_loss_is_said_as_one_with_its_bounds_in_order():
    said = verdict(group([judged("trained", FLOOR - 0.1 + NOISE, FLOOR)]))
    assert said.tone == "bad" and said.sentence.endswith("): worse.")
    low, high = said.sentence.split("95% interval ")[1].split(",")[0].split(" to ")
    assert float(low) < float(high)


def test_chance_is_called_no_clear_difference():
    noise = NOISE - NOISE.mean()
    said = verdict(group([judged("trained", FLOOR + noise, FLOOR)]))
    assert said.tone == "open" and said.sentence.endswith("): no clear difference.")


def test_the_sentence_is_about_the_trained_policy_against_every_other():
    policies = [judged("trained", FLOOR + 0.3 + NOISE, FLOOR), judged("best of 8", FLOOR + 0.3 - NOISE, FLOOR)]
    said = verdict(group(policies))
    assert said.sentence.count("trained against ") == 2 and "; trained against best of 8: " in said.sentence


def test_p_values_are_corrected_for_the_number_of_comparisons():
    noise = NOISE + 0.007 - NOISE.mean()
    pair = [PooledPolicy([judged("a", FLOOR, FLOOR)]), PooledPolicy([judged("b", FLOOR + noise, FLOOR)])]
    two, one = comparisons(pair, "nDCG@10"), comparisons(pair[1:], "nDCG@10")
    assert two["the raw need"].p == pytest.approx(2 * one["the raw need"].p)


def test_a_need_of_several_seeds_counts_once():
    group_of_two = group([judged("trained", FLOOR + 0.2, FLOOR)], [judged("trained", FLOOR + 0.4, FLOOR)])
    pooled = group_of_two.splits["test"][0]
    assert pooled.values("nDCG@10") == pytest.approx(FLOOR + 0.3)
    assert pooled.gains("nDCG@10") == pytest.approx([0.2, 0.4])
    assert pooled.measures["nDCG@10"]["versus_floor"]["wins"] == 200


def test_runs_of_other_needs_are_not_pooled():
    other = judged("trained", FLOOR[:50], FLOOR[:50])
    said = verdict(group([judged("trained", FLOOR, FLOOR)], [other]))
    (remark,) = said.remarks
    assert remark == "The runs were not evaluated with the same policies on the same needs, so they are not pooled."


def test_what_was_held_out_is_believed_before_the_validation():
    kinds = [judged("trained", FLOOR, FLOOR, split=split) for split in ("validation", "test")]
    assert list(group(kinds).splits) == ["test", "validation"]


def test_runs_are_grouped_by_recipe_but_for_the_seed():
    recipes = [{"seed": 0, "k": 10}, {"seed": 0, "k": 20}, {"seed": 1, "k": 10}]
    sources = [RunData(Path(f"/r{n}"), {}, r, "", [], [], []) for n, r in enumerate(recipes)]
    assert [[run.name for run in one.runs] for one in grouped(sources)] == [["r0", "r2"], ["r1"]]


def test_ranks_are_counted_where_they_were_and_where_they_went():
    ranks = [([1], [2]), ([], [1, 4]), ([12], [])]
    policy = PooledPolicy([judged("trained", [0.5] * 3, [0.5] * 3, ranks=ranks)])
    policy.first.summary["k"] = 20
    found = rank_change(policy)
    assert found.labels == ["1", "2-3", "4-10", "11-20", "none"]
    assert found.counts_RR.tolist() == [
        [0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0],
    ]


def test_slices_have_their_own_gains():
    ranks = [([1], [1])] * 10 + [([], [1])] * 20
    values, floor = [1.0] * 30, [0.8] * 10 + [0.0] * 20
    table = slices(PooledPolicy([judged("trained", values, floor, ranks=ranks)]), "nDCG@10")
    assert table.rows == [
        ["raw need: first place", "10", "0.800", "1.000", "+0.200\n+0.200 to +0.200"],
        ["raw need: nothing relevant", "20", "0.000", "1.000", "+1.000\n+1.000 to +1.000"],
    ]


def test_slices_by_category_and_popularity_are_those_that_the_evaluation_kept():
    one = judged("trained", [1.0] * 30, [0.8] * 10 + [0.0] * 20)
    for place, line in enumerate(one.lines):
        brand, kind = ("x" if place % 2 else "y"), ("lamp" if place < 10 else "mug")
        side = "head" if place < 10 else "tail"
        line |= {"popularity": {"popularity": side}, "fields": {"brand": brand, "kind": kind}}
    rows = {row[0]: [*row[1:4], row[4].split("\n")[0]] for row in slices(PooledPolicy([one]), "nDCG@10").rows}
    assert rows == {
        "popularity: head": ["10", "0.800", "1.000", "+0.200"],
        "popularity: tail": ["20", "0.000", "1.000", "+1.000"],
        "kind: lamp": ["10", "0.800", "1.000", "+0.200"],
        "kind: mug": ["20", "0.000", "1.000", "+1.000"],
    }
    named = {row[0] for row in slices(PooledPolicy([one]), "nDCG@10", "brand").rows}
    assert named == {"popularity: head", "popularity: tail", "brand: x", "brand: y"}


def test_a_category_that_no_evaluation_kept_is_refused():
    sources = group([judged("trained", FLOOR, FLOOR)]).runs
    sources[0].evaluated[0].lines[0]["fields"] = {"kind": "lamp"}
    check_category(sources, "kind")
    with pytest.raises(
        UserError, match=r"--category: what the evaluations saved .* has no field 'colour'; it has: kind"
    ):
        check_category(sources, "colour")


def test_slices_have_their_own_intervals():
    values = np.concatenate([FLOOR[:100] + 0.3, FLOOR[100:] + NOISE[100:]])
    one = judged("trained", values, FLOOR)
    for place, line in enumerate(one.lines):
        line["fields"] = {"kind": "a" if place < 100 else "b"}
    first, second = (row[4] for row in slices(PooledPolicy([one]), "nDCG@10").rows)
    own = bootstrap_interval(NOISE[100:], seed=0)
    assert first == "+0.300\n+0.300 to +0.300"
    assert second == f"{own.mean:+.3f}\n{own.low:+.3f} to {own.high:+.3f}"
