"""Comparisons: what is tested, corrected, pooled, sliced, said and written."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from recr1.baselines.ceilings import BestItem
from recr1.baselines.feedback import RM3
from recr1.baselines.without_model import Echo, Verbatim
from recr1.cli.main import run
from recr1.compare import Comparison, measured, tables, verdict, verdicts, write
from recr1.compare.policies import read_policies
from recr1.env import Environment
from recr1.errors import RecipeError, UserError
from recr1.evaluate import Evaluator
from recr1.policies.base import Spent
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.tasks.toy import ToyTask
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.base import Need, Qrels

TOY = ToyTask()
LEVELS = 21


class Ladder:
    """N needs over 21 items: the query "at 7" finds the one relevant item at rank 7, "nothing" finds none."""

    def __init__(self, needs=500):
        self.catalog = Catalog([str(n) for n in range(LEVELS)], ["x"] * LEVELS, {"category": ["a", "b", "c"] * 7})
        self.format, self.counts = Verbatim(), {}
        self.all = [Need(f"n{place}", " ".join(["w"] * (place % 8 + 1))) for place in range(needs)]
        self.qrels = {need.id: Qrels({place % LEVELS: 1}) for place, need in enumerate(self.all)}

    def needs(self, split):
        if split != "test":
            raise UserError("only test")
        return self.all


class Placed:
    """Finds for "7 of 3" item 3 at rank 7, others before and after it; other queries find nothing."""

    def __init__(self, catalog):
        self.size = len(catalog)

    def search(self, queries, k):
        from retrievers.base import Hits

        rows = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for place, query in enumerate(queries):
            rank, _, item = query.partition(" of ")
            if not item:
                continue
            others = [row for row in range(self.size) if row != int(item)]
            rows[place] = [*others[: int(rank) - 1], int(item), *others[int(rank) - 1 :]][:k]
            scores[place] = -np.arange(k)
        return Hits(rows, scores)


class AtRank:
    """Puts each need's item at a rank that was drawn."""

    format = Verbatim()

    def __init__(self, ranks):
        self.queries = (f"{rank} of {place % LEVELS}" for place, rank in enumerate(ranks))

    def generate(self, chats, n):
        return [[next(self.queries)] for _ in chats]


def ladder(*all_ranks, needs=500):
    """An entry for each list of ranks; of several lists in one, seeds."""
    task = Ladder(needs)
    evaluator = Evaluator(Environment(task, Placed(task.catalog), [], k=20), "test", ["nDCG@10"])
    entries = []
    for name, ranks in zip("abcdefgh", all_ranks, strict=False):
        seeds = ranks if isinstance(ranks, tuple) else (ranks,)
        entries.append(measured(evaluator, [lambda seed=seed: AtRank(seed) for seed in seeds], name, name))
    return Comparison(entries)


def drawn_ranks(rng, needs=500, shift=0.0):
    """Ranks from 1 to 20; nDCG@10 of rank r is 1 / log2(r + 1) up to 10, and 0 beyond."""
    return np.clip(rng.geometric(0.15 + shift, needs), 1, 20)


def test_a_true_difference_of_five_hundredths_over_500_needs_is_found():
    rng = np.random.default_rng(0)
    before = drawn_ranks(rng)
    after = np.where(rng.random(500) < 0.2, np.maximum(before // 2, 1), before)
    found = ladder(before, after).pair("nDCG@10", "b", "a")
    assert found.difference == pytest.approx(0.05, abs=0.015)
    assert found.corrected.tone == "good" and found.p_holm < 0.001 and found.p_bootstrap < 0.001
    assert found.low > 0 and found.effect > 0 and found.losses == 0


@pytest.mark.slow
def test_of_200_null_comparisons_no_more_than_5_percent_are_called_significant():
    rng = np.random.default_rng(0)
    alone, corrected = 0, 0
    task = Ladder(60)
    evaluator = Evaluator(Environment(task, Placed(task.catalog), [], k=20), "test", ["nDCG@10"])
    for _ in range(50):  # 4 pairs of each set of 5, the ones with the first
        ranks = [drawn_ranks(rng, 60) for _ in range(5)]
        made = [measured(evaluator, [lambda r=r: AtRank(r)], f"p{i}", "p") for i, r in enumerate(ranks)]
        tested = [d for d in Comparison(made).pairs if d.against == "p0"]
        alone += sum(one.p < 0.05 for one in tested)
        corrected += sum(one.corrected.tone != "open" for one in tested)
    assert alone <= 10
    assert corrected <= alone and corrected <= 4


def test_what_is_called_real_is_decided_by_the_corrected_p():
    one = ladder(np.arange(1, 21), np.arange(20, 0, -1), needs=20).pairs[0]
    assert replace(one, p=0.01, p_holm=0.06).corrected.tone == "open"
    assert replace(one, p=0.01, p_holm=0.04).corrected.tone != "open"


def test_all_pairs_are_tested_on_the_main_measure_and_those_with_the_first_on_the_others():
    evaluator = Evaluator(Environment(TOY, BM25(TOY.catalog), [], k=10), "test", ["nDCG@10", "R@10"])
    entries = [measured(evaluator, [cls], cls.__name__, "") for cls in (Echo, RM3, BestItem)]
    comparison = Comparison(entries)
    pairs = {(d.measure, d.policy, d.against) for d in comparison.pairs}
    assert pairs == {
        ("nDCG@10", "RM3", "Echo"),
        ("nDCG@10", "BestItem", "Echo"),
        ("nDCG@10", "BestItem", "RM3"),
        ("R@10", "RM3", "Echo"),
        ("R@10", "BestItem", "Echo"),
    }
    raw = sorted(d.p for d in comparison.pairs)
    assert min(d.p_holm for d in comparison.pairs) == pytest.approx(min(1, 5 * raw[0]))


def test_a_difference_reads_the_same_from_either_side():
    rng = np.random.default_rng(1)
    comparison = ladder(drawn_ranks(rng, 50), drawn_ranks(rng, 50, 0.2), needs=50)
    one, other = comparison.pair("nDCG@10", "b", "a"), comparison.pair("nDCG@10", "a", "b")
    assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
    assert (one.p, one.wins, one.losses, one.effect) == (other.p, other.losses, other.wins, -other.effect)
    with pytest.raises(KeyError, match="b was not compared with z"):
        comparison.pair("nDCG@10", "b", "z")


def test_the_verdict_says_better_worse_and_no_clear_difference():
    rng = np.random.default_rng(2)
    base = drawn_ranks(rng, 200)
    comparison = ladder(base, np.maximum(base // 3, 1), base + 0, np.minimum(base + 8, 20), needs=200)
    said = verdicts(comparison)
    found = comparison.pair("nDCG@10", "b", "a")
    assert said["b"] == (
        f"b against a: {found.difference:+.3f} nDCG@10 (95% interval {found.low:+.3f} to {found.high:+.3f}, p < 0.001, "
        "200 needs): better; better than c and d."
    )
    assert said["c"] == (
        "c against a: +0.000 nDCG@10 (95% interval +0.000 to +0.000, p = 1.000, 200 needs): no clear difference; "
        "better than d; worse than b."
    )
    assert said["d"].startswith("d against a: -0.") and said["d"].endswith("): worse; worse than b and c.")
    assert verdict(comparison) == said["b"]


def test_several_seeds_are_pooled_and_one_lucky_run_claims_nothing():
    rng = np.random.default_rng(3)
    base = drawn_ranks(rng, 300)
    lucky, other = np.maximum(base - 3, 1), np.minimum(base + 3, 20)
    alone = ladder(base, lucky, needs=300).pair("nDCG@10", "b", "a")
    both = ladder(base, (lucky, other), needs=300).pair("nDCG@10", "b", "a")
    assert alone.corrected.tone != "open" and alone.test == "randomisation"
    assert both.corrected.tone == "open" and both.test == "seeds and needs" and both.p_bootstrap is None


def test_entries_must_be_of_the_same_needs_and_have_different_labels():
    evaluator = Evaluator(Environment(TOY, BM25(TOY.catalog), [], k=10), "test", ["nDCG@10"])
    less = Evaluator(evaluator.env, "test", ["nDCG@10"], limit=2)
    one, two = measured(evaluator, [Echo], "a", ""), measured(less, [Echo], "b", "")
    with pytest.raises(ValueError, match="different needs"):
        Comparison([one, two])
    with pytest.raises(ValueError, match="labels must differ, got a, a"):
        Comparison([one, one])


class Clock:
    """Spends 10 tokens reading and 2 writing on each chat, and 7 before the first."""

    sees = ("training rewards",)

    def __init__(self):
        self.spent, self.calls = Spent(), count()

    def prepare(self, env):
        self.spent = Spent(7, 0)

    def generate(self, chats, n):
        self.spent = Spent(self.spent.read + 10 * len(chats), self.spent.written + 2 * len(chats) * max(n, 1))
        return [["[mug]"] * max(n, 1) for _ in chats]


def test_a_query_costs_what_was_spent_after_the_setup():
    evaluator = Evaluator(Environment(TOY, BM25(TOY.catalog), [], k=10), "test", ["nDCG@10"])
    entry = measured(evaluator, [Clock], "clock", "")
    cost = entry.as_mapping(seed=0)["cost"]
    assert (cost["tokens_read"], cost["tokens_written"], cost["setup_tokens"]) == (10, 2, 7)
    assert cost["milliseconds"] > 0 and entry.sees == ("training rewards",) and not entry.bound


# files and the command


def test_what_is_written_can_be_read_and_says_each_need(tmp_path):
    rng = np.random.default_rng(4)
    comparison = ladder(drawn_ranks(rng, 40), drawn_ranks(rng, 40, 0.3), needs=40)
    write(comparison, tmp_path)
    held = json.loads((tmp_path / "compare.json").read_text(), parse_constant=pytest.fail)
    assert len(held["needs"]) == len(held["texts"]) == 40 and held["format"] == 1
    policy = held["policies"]["b"]
    assert policy["per_need"]["nDCG@10"] == pytest.approx(comparison.policies[1].per_need("nDCG@10").tolist())
    assert policy["measures"]["nDCG@10"]["mean"] == pytest.approx(np.mean(policy["per_need"]["nDCG@10"]))
    rank = int(policy["queries"][0].split()[0])
    assert policy["first_relevant"][0] == rank
    assert {part["by"] for part in held["slices"]} == {"need length", "category"}
    page = (tmp_path / "compare.md").read_text()
    assert verdict(comparison) in page and "| a |" in page


def test_a_table_marks_bounds_and_says_what_is_seen():
    evaluator = Evaluator(Environment(TOY, BM25(TOY.catalog), [], k=10), "test", ["nDCG@10"])
    made = [measured(evaluator, [Echo], "raw", ""), measured(evaluator, [BestItem], "best", "")]
    main = tables(Comparison(made).summary)[0]
    assert [row[0] for row in main.rows] == ["raw", "best *"]
    assert "best: catalog, answers" in main.notes[1]
    assert "the raw need" in verdict(Comparison(made))


RECIPE = load_recipe("quickstart")


def test_policies_are_read_as_they_are_written():
    texts = ["raw", "untrained", "best_of_4", "mine = few_shot(shots=2, seed=5)", "untrained:8", "term_oracle"]
    found = read_policies(texts, RECIPE, "Success@1")
    assert [one.label for one in found] == ["raw", "untrained", "best_of_4", "mine", "untrained:8", "term_oracle"]
    assert [one.parts[0].type for one in found[:3]] == ["echo", "transformers", "best_of"]
    assert found[2].parts[0].options == {"policy": RECIPE.policy.to_dict(), "n": 4}
    assert found[3].parts[0].options["seed"] == 5 and found[3].parts[0].options["shots"] == 2
    assert (found[4].parts[0], found[4].samples) == (RECIPE.policy, 8)
    assert found[5].parts[0].options == {"measure": "Success@1"}


def trained_run(folder, name, **changes):
    run_folder = folder / name
    recipe = RECIPE.to_dict() | changes
    done = Run.create(run_folder, recipe, {"seed": 0})
    done.finish("finished")
    (run_folder / "policy").mkdir()
    (run_folder / "policy" / "config.json").write_text("{}")
    return run_folder


def test_runs_are_seeds_where_they_stand_together(tmp_path):
    one, two = trained_run(tmp_path, "one"), trained_run(tmp_path, "two")
    alone, both = read_policies([str(one), f"both={one}+{two}:4"], RECIPE, "nDCG@10")
    assert (alone.label, len(alone.parts), alone.trained, alone.notes) == ("one", 1, True, ())
    assert (both.label, len(both.parts), both.samples) == ("both", 2, 4)
    assert both.parts[1].options["model"] == str(two / "policy")


def test_a_run_of_another_task_is_noted(tmp_path):
    other = trained_run(tmp_path, "other", task={"type": "shop", "seed": 9})
    assert read_policies([str(other)], RECIPE, "nDCG@10")[0].notes == ("trained with another task, shop(seed=9)",)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["raw", "no_such_run"], "there is no policy or run folder 'no_such_run'"),
        (["raw", "runs/none"], r"there is no run folder 'runs/none' \(runs here: none\)"),
        (["raw", "raw"], "raw: is listed twice; call one of them LABEL="),
        (["prf(items=0)"], r"prf\(items=0\).items: must be an integer >= 1, got 0"),
        (["raw(", "x"], "must be a type, with options in brackets"),
    ],
)
def test_what_cannot_be_compared_is_said(texts, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        read_policies(texts, RECIPE, "nDCG@10")


def test_all_mistakes_are_said_at_once():
    with pytest.raises(RecipeError) as said:
        read_policies(["prf(items=0)", "best_of_1", "keywords(top=0)"], RECIPE, "nDCG@10")
    assert len(said.value.problems) == 3


def test_an_unfinished_run_is_refused(tmp_path):
    folder = trained_run(tmp_path, "early")
    (folder / "policy" / "config.json").unlink()
    with pytest.raises(UserError, match="has no trained policy yet"):
        read_policies([str(folder)], RECIPE, "nDCG@10")


def test_the_command_compares_prints_and_writes(tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["compare", "toy/echo", "--policies", "raw,keywords,prf(items=3),best_item,term_oracle", "--out", str(out)]
    assert run(asked) == 0
    printed = capsys.readouterr().out
    assert "term_oracle *" in printed and "What a query costs" in printed and "the raw need" in printed
    held = json.loads((out / "compare.json").read_text())
    assert list(held["policies"]) == ["raw", "keywords", "prf(items=3)", "best_item", "term_oracle"]
    assert (out / "compare.md").exists()


def test_json_in_place_of_tables(capsys):
    assert run(["compare", "toy/echo", "--policies", "raw,prf", "--json", "--needs", "4"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert len(held["needs"]) == 4 and held["verdict"].startswith("prf against the raw need: ")


def test_a_terminal_sees_each_phase_from_the_catalog_to_the_tests(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["compare", "toy/echo", "--policies", "raw,prf", "--needs", "4"]) == 0
    seen = capsys.readouterr().err
    phases = ("reading the catalog and building the index", "floor and ceiling", "prf", "tests")
    assert [phase for phase in phases if phase in seen] == list(phases)
    assert run(["compare", "toy/echo", "--policies", "raw,prf", "--needs", "4", "--json"]) == 0
    assert capsys.readouterr().err == ""
