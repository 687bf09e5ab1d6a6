"""Lists that a policy wrote, and queries that rank candidates: what they find, and what they are paid."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from recr1.baselines.best_of import BestOf
from recr1.baselines.ceilings import TermOracle
from recr1.baselines.without_model import AsShown, Echo
from recr1.env import ContractError, Environment, chat_with, metrics
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.evaluate.files import write
from recr1.evaluate.report import examples, table
from recr1.headroom import HeadroomOptions, find_headroom
from recr1.ranking import Ranking
from retrievers.errors import MissingAnswers
from rewards.base import Candidate, Recommend
from rewards.measures.reward import GainReward, MeasureReward
from rewards.shaping import AcrossReward
from tests.recr1.baselines.world import Lossy, Overlap, World

SHOWN = {"n1": ["pan", "mug-red", "mug-blue"], "n2": ["tea-black", "tea-green", "pan"], "n3": ["mug-blue", "pot"]}
IDEAL = 3 + 1 / np.log2(3)  # n1: grades 3 and 1


class Shelf(World):
    """The world whose needs have candidates."""

    def __init__(self, *, mend=False):
        super().__init__()
        self.format = Ranking(mend=mend)
        for split, needs in self.splits.items():
            self.splits[split] = [
                replace(
                    need,
                    candidates=tuple(
                        Candidate(self.catalog.row(item), item) for item in SHOWN.get(need.id, ["mug-red", "pan"])
                    ),
                )
                for need in needs
            ]


def make(shelf=None, k=3, retriever=None, rewards=None):
    shelf = shelf or Shelf()
    rewards = [(MeasureReward(measure="nDCG@3"), 1.0)] if rewards is None else rewards
    return Environment(shelf, retriever or Overlap(shelf.catalog), rewards, k)


def run(env, ids, completions, **more):
    needs = [env.need(need_id) for need_id in ids]
    return env.step(needs, [chat_with(p, c) for p, c in zip(env.prompts(needs), completions, strict=True)], **more)


def found(env, step, row):
    return [env.task.catalog.ids[item] for item in step.batch.hits.rows_QK[row] if item >= 0]


def test_a_list_is_its_own_hits_and_nothing_is_searched():
    env = make()
    step = run(env, ["n1", "n1", "n2", "n1"], ["2 > 3 > 1", "1 > 3 > 2", "2 > 1 > 3", "2 > 3"])
    assert env.retriever.calls == []
    assert found(env, step, 0) == ["mug-red", "mug-blue", "pan"] and found(env, step, 2)[0] == "tea-green"
    paid = [1.0, (1 / np.log2(3) + 3 / 2) / IDEAL, 1.0, 0.0]
    assert step.rewards.tolist() == pytest.approx(paid)
    assert step.outcomes == ["ok", "ok", "ok", "invalid"]
    assert step.batch.hits.scores_QK[0].tolist() == [0, -1, -2]


def test_a_list_is_cut_at_k():
    env = make(k=2, rewards=[(MeasureReward(measure="nDCG@2"), 1.0)])
    assert found(env, run(env, ["n1"], ["2 > 3 > 1"]), 0) == ["mug-red", "mug-blue"]


def test_a_query_ranks_the_candidates_and_the_others_follow_as_they_are_shown():
    env = make().with_format(Echo().format)
    step = run(env, ["n1", "n2", "n3", "n2"], ["red", "pan tea", "zzz", " "])
    assert found(env, step, 0) == ["mug-red", "pan", "mug-blue"]  # both red, the lower row first; then the mug
    assert found(env, step, 1) == ["tea-green", "tea-black", "pan"]
    assert found(env, step, 2) == ["mug-blue", "pot"]
    assert found(env, step, 3) == [] and step.outcomes[3] == "invalid"


def test_raw_hits_are_those_of_the_candidates():
    env = make(rewards=[(GainReward(measure="RR@3"), 1.0)])
    step = run(env, ["n2", "n2"], ["2 > 1 > 3", "1 > 3 > 2"])  # "green tea" ranks tea-green first
    assert step.rewards.tolist() == pytest.approx([0.0, 1 / 3 - 1])


def test_a_search_without_an_answer_finds_no_candidate():
    env = make(retriever=Lossy(Shelf().catalog, {"lost": 9})).with_format(Echo().format)
    step = run(env, ["n1", "n2"], ["red mug", "lost"])
    assert list(step.faults) == [1] and found(env, step, 1) == [] and np.isnan(step.rewards[1])
    with pytest.raises(MissingAnswers):
        env.search(["lost"], needs=[env.need("n1")])


@pytest.mark.parametrize("mend", [False, True])
def test_faults_of_lists_are_counted_mended_or_not(mend):
    env = make(Shelf(mend=mend))
    logged = metrics(run(env, ["n1"] * 5, ["2 > 3 > 1", "2 > 3", "2 > 2 > 3 > 1", "9 > 1 > 2 > 3", "tea"]))
    assert {name: logged[f"list/{name}"] for name in ("partial", "repeated", "invented")} == {
        "partial": 0.2,
        "repeated": 0.2,
        "invented": 0.2,
    }
    assert logged["outcome/invalid"] == pytest.approx(0.2 if mend else 0.8)
    assert logged["query/words"] == 0 and logged["query/copies_need"] == 0


def test_no_list_is_counted_where_needs_have_no_candidates():
    world = World()
    env = Environment(world, Overlap(world.catalog), [], k=3)
    assert not any(name.startswith("list/") for name in metrics(run(env, ["n1"], ["[red]"])))
    assert not env.reranks and make().reranks


class Anything(Ranking):
    rows = (99,)

    def parse_for(self, need, completion):
        return Recommend(self.rows)


class Twice(Anything):
    rows = (1, 1)


@pytest.mark.parametrize(("form", "told"), [(Anything, "format Anything returned row 99"), (Twice, "one item twice")])
def test_a_format_that_names_no_item_or_one_twice_ends_the_run(form, told):
    with pytest.raises(ContractError, match=told):
        run(make().with_format(form()), ["n1"], ["x"])


def evaluated(env, policy, split="train", measures=("nDCG@3", "RR@3")):
    return Evaluator(env, split, measures)(policy, name="mine")


class Best:
    """Writes the best order of the three needs, once without a number."""

    def generate(self, chats, n):
        return [["2 > 3 > 1"], ["2 > 1 > 3"], ["2"]][: len(chats)]


def test_floor_order_shown_and_ceiling_are_orders_of_the_candidates(tmp_path):
    one = evaluated(make(), Best())
    references = one.references
    assert references.floor["RR@3"].tolist() == [1.0, 1.0, 0.5]  # by shared words; n3 as it is shown
    assert references.shown["RR@3"].tolist() == [0.5, 0.5, 0.5]
    assert references.ceiling["RR@3"].tolist() == [1.0, 1.0, 1.0] and references.ceiling["nDCG@3"][0] == 1.0
    assert one.values["RR@3"][:, 0].tolist() == [1.0, 1.0, 0.0]
    assert one.summary["invalid"] == pytest.approx(1 / 3) and one.summary["no_hits"] == 0
    assert one.summary["measures"]["RR@3"]["shown"]["mean"] == 0.5
    assert one.metrics()["eval/train/RR@3/shown"] == 0.5
    text = table([one]).text(80)
    assert "order shown" in text and "as a search for the raw need orders them" in text
    write(one, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "per_need.jsonl").open()]
    assert lines[0]["rows"] == [0, 1, 4] and lines[2]["invalid"] == "a candidate is missing"
    assert lines[1]["ceiling_query"] == "green tea" and lines[2]["ceiling_query"] == "(by grade)"
    assert "2 > 3 > 1" in examples(evaluated(make(), AsShown()), one)


def test_baselines_rank_the_candidates_too():
    assert evaluated(make(), AsShown()).values["RR@3"][:, 0].tolist() == [0.5, 0.5, 0.5]
    assert evaluated(make(), Echo()).values["RR@3"][:, 0].tolist() == [1.0, 1.0, 0.5]
    world = World()
    nothing = Evaluator(Environment(world, Overlap(world.catalog), [], k=3), "train", ["RR@3"])(AsShown())
    assert nothing.summary["invalid"] == 1.0


class Samples:
    def generate(self, chats, n):
        return [["1 > 2 > 3", "3 > 2 > 1"] * max(1, n // 2) for _ in chats]


def test_the_best_of_several_lists_is_chosen_by_reward():
    chosen = BestOf(policy={"type": f"{__name__}:Samples"}, n=2)
    assert evaluated(make(), chosen).values["nDCG@3"][0, 0] == pytest.approx((3 / np.log2(3) + 1) / IDEAL)


def test_headroom_counts_the_ranks_of_lists():
    evaluator = Evaluator(make(), "train", ["RR@3"], limit=2)
    result = find_headroom(evaluator, Samples(), 2, HeadroomOptions(group=2))
    assert result.first_ranks.tolist() == [[2, 1], [2, 2]]


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda: TermOracle(measure="nDCG@3").prepare(make()), "the policy 'term_oracle' searches the whole catalog"),
        (
            lambda: BestOf(policy={"type": f"{__name__}:Samples"}, choose="agreement").prepare(make()),
            "use choose: reward",
        ),
        (
            lambda: make(
                rewards=[
                    (AcrossReward(reward={"type": "measure", "measure": "RR@3"}, retrievers=[{"type": "bm25"}]), 1.0)
                ]
            ),
            "a reward on other retrievers searches the whole catalog",
        ),
    ],
)
def test_what_only_means_something_for_searches_is_refused(use, told):
    with pytest.raises(UserError, match=told):
        use()
