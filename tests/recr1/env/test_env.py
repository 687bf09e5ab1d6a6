from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from recr1.env import ContractError, Environment, chat_with, copies, metrics, repeated, words
from recr1.errors import DataError, UserError
from recr1.formats import Plain, Tag
from retrievers.abilities import CAPABILITIES
from retrievers.base import Hits
from retrievers.errors import MissingAnswers
from rewards.base import Invalid, Need, Search
from tests.recr1.baselines.world import Better, First, Lossy, Overlap, Valid, Verbatim, World


@pytest.fixture
def world():
    return World()


def make(world, rewards=None, k=3, retriever=None):
    rewards = [(First(), 1.0), (Valid(), 0.1)] if rewards is None else rewards
    return Environment(world, retriever or Overlap(world.catalog), rewards, k)


def run(env, ids, completions):
    needs = [env.need(need_id) for need_id in ids]
    return env.step(needs, [chat_with(p, c) for p, c in zip(env.prompts(needs), completions, strict=True)])


def test_a_step_pays_the_weighted_sum_of_the_parts(world):
    step = run(make(world), ["n1", "n1", "n2", "n3"], ["[red mug]", "[blue mug]", "[black tea]", "no brackets"])
    assert step.parts["P@1"].tolist() == [1, 1, 0, 0]
    assert step.parts["valid"].tolist() == [1, 1, 1, 0]
    assert step.rewards.tolist() == pytest.approx([1.1, 1.1, 0.1, 0.0])
    assert step.rewards.dtype == np.float32


def test_hits_are_those_of_the_query_in_retriever_order(world):
    step = run(make(world), ["n1"], ["[blue tea pot]"])
    ids = [world.catalog.ids[row] for row in step.batch.hits.rows_QK[0]]
    assert ids == ["pot", "mug-blue", "tea-green"]
    assert step.batch.hits.scores_QK[0].tolist() == [3, 1, 1]


def test_a_step_searches_once_over_unique_queries_in_first_seen_order(world):
    env = make(world)
    run(env, ["n1", "n1", "n2", "n3"], ["[tea]", "[mug]", "[tea]", "junk"])
    assert env.retriever.calls == [["tea", "mug"]]


def test_equal_queries_of_different_needs_share_hits(world):
    step = run(make(world), ["n1", "n2"], ["[tea]", "[tea]"])
    assert np.array_equal(step.batch.hits.rows_QK[0], step.batch.hits.rows_QK[1])


def test_nothing_is_searched_when_no_completion_is_a_query(world):
    env = make(world)
    step = run(env, ["n1", "n2"], ["junk", ""])
    assert env.retriever.calls == []
    assert step.rewards.tolist() == [0, 0]


def test_an_invalid_completion_has_no_hits(world):
    step = run(make(world), ["n1", "n2"], ["junk", "[tea]"])
    assert step.batch.hits.rows_QK[0].tolist() == [-1, -1, -1]
    assert step.batch.hits.scores_QK[0].tolist() == [-np.inf] * 3
    assert step.batch.rollouts[0].action == Invalid("no brackets")
    assert step.batch.rollouts[1].action == Search("tea")


def test_raw_needs_join_the_same_search_only_when_a_reward_asks(world):
    env = make(world, rewards=[(Better(), 1.0)])
    step = run(env, ["n1", "n2", "n3"], ["[mug]", "junk", "[green tea]"])
    assert env.retriever.calls == [["mug", "green tea", "something for coffee, red", "zzz"]]
    assert step.batch.raw_hits.rows_QK[1, 0] == world.catalog.row("tea-green")
    assert step.parts["better"].tolist() == [1, 0, 1]
    assert run(make(world), ["n1"], ["[mug]"]).batch.raw_hits is None


class Counts:
    """The items of the catalog."""

    name = "counts"

    def __call__(self, batch):
        return np.full(len(batch), len(batch.catalog), np.float32)


def test_rewards_read_the_catalog_also_where_a_query_has_no_answer(world):
    env = make(world, rewards=[(Counts(), 1.0)], retriever=Lossy(world.catalog, {"tea": 9}))
    assert run(env, ["n1", "n1"], ["[red mug]", "[tea]"]).parts["counts"].tolist() == pytest.approx(
        [6, np.nan], nan_ok=True
    )


class Mean:
    """Pays the mean of what it sees, so that it shows whom it saw."""

    name = "mean"

    def __call__(self, batch):
        found = (batch.graded.grades_BK[:, 0] > 0).astype(np.float32)
        return np.full(len(batch), found.mean(), np.float32)


def test_a_rollout_whose_query_has_no_answer_has_no_reward_and_no_reward_function_sees_it(world):
    env = make(world, rewards=[(First(), 1.0), (Mean(), 0.5)], retriever=Lossy(world.catalog, {"tea": 9}))
    step = run(env, ["n1", "n1", "n2", "n2", "n3"], ["[red mug]", "[tea]", "[black tea]", "[tea]", "junk"])
    assert step.parts["P@1"].tolist() == pytest.approx([1, np.nan, 0, np.nan, 0], nan_ok=True)
    third = pytest.approx(1 / 3)
    assert step.parts["mean"].tolist() == pytest.approx([third, np.nan, third, np.nan, third], nan_ok=True)
    assert step.rewards.tolist() == pytest.approx([7 / 6, np.nan, 1 / 6, np.nan, 1 / 6], nan_ok=True)
    assert step.outcomes == ["ok", "retriever_error", "ok", "retriever_error", "invalid"]
    assert list(step.faults) == [1, 3] and "a time-out" in str(step.faults[3])


def test_shares_of_outcomes_add_up_and_means_are_of_the_rewards_that_are_there(world):
    env = make(world, retriever=Lossy(world.catalog, {"tea": 9}))
    logged = metrics(run(env, ["n1", "n1", "n2", "n3"], ["[red mug]", "[tea]", "[xyz]", "junk"]))
    shares = {name: value for name, value in logged.items() if name.startswith("outcome/")}
    assert shares == {f"outcome/{name}": 0.25 for name in ("ok", "no_hits", "invalid", "retriever_error")}
    assert logged["reward/P@1"] == pytest.approx(1 / 3)
    assert logged["reward"] == pytest.approx((1.1 + 0.1) / 3)


def test_a_batch_without_any_answer_has_no_mean_reward(world):
    step = run(make(world, retriever=Lossy(world.catalog, {"tea": 9})), ["n1"], ["[tea]"])
    assert np.isnan(step.rewards).all() and np.isnan(metrics(step)["reward"])
    assert metrics(step)["outcome/retriever_error"] == 1


def test_a_raw_need_without_an_answer_costs_the_rewards_that_are_read_against_it(world):
    env = make(world, rewards=[(Better(), 1.0)], retriever=Lossy(world.catalog, {"green tea": 9}))
    step = run(env, ["n1", "n2", "n3"], ["[mug]", "[tea]", "[green]"])
    assert step.rewards.tolist() == pytest.approx([1, np.nan, 0], nan_ok=True)


def test_queries_without_an_answer_are_asked_again_and_alone(world):
    retriever = Lossy(world.catalog, {"tea": 2, "pan": 1})
    hits = make(world, retriever=retriever).search(["mug", "tea", "pan", "tea"], again=2)
    assert retriever.calls == [["mug", "tea", "pan"], ["tea", "pan"], ["tea"]]
    assert hits.rows_QK.tolist() == Overlap(world.catalog).search(["mug", "tea", "pan", "tea"], 3).rows_QK.tolist()


def test_a_search_that_must_be_complete_is_an_error_where_it_is_not(world):
    env = make(world, retriever=Lossy(world.catalog, {"tea": 3}))
    with pytest.raises(MissingAnswers, match=r"a time-out .*2 of the search's 3 queries") as caught:
        env.search(["tea", "mug", "tea"], again=1)
    assert list(caught.value.faults) == [0, 2]


def test_a_batch_without_rollouts_is_an_empty_step(world):
    env = make(world)
    step = env.step([], [])
    assert step.rewards.shape == (0,) and step.batch.hits.rows_QK.shape == (0, 3) and env.retriever.calls == []
    assert metrics(step)["reward"] == 0


def test_weight_zero_logs_a_reward_without_paying_it(world):
    step = run(make(world, rewards=[(First(), 0.0)]), ["n1"], ["[mug]"])
    assert step.parts["P@1"].tolist() == [1] and step.rewards.tolist() == [0]


def test_another_format_changes_prompt_and_parser_alone(world):
    env = make(world).with_format(Verbatim())
    step = run(env, ["n2"], ["green tea"])
    assert env.prompts([env.need("n2")]) == [[{"role": "user", "content": "green tea"}]]
    assert step.rewards.tolist() == pytest.approx([1.1])


def test_the_default_prompt_is_told_what_the_retriever_understands(world):
    world.format = Plain()
    retriever = Overlap(world.catalog)
    plain = Environment(world, retriever, [], 2).prompts(world.needs("test"))[0][0]["content"]
    retriever.capabilities = frozenset({"boolean"})
    told = Environment(world, retriever, [], 2)
    prompt = told.prompts(world.needs("test"))[0][0]["content"]
    assert CAPABILITIES["boolean"] in prompt and CAPABILITIES["phrases"] not in prompt
    assert CAPABILITIES["boolean"] not in plain
    assert CAPABILITIES["boolean"] in told.with_format(Tag()).prompts(world.needs("test"))[0][0]["content"]


def test_another_retriever_is_searched_with_the_prompts_as_they_were(world):
    world.format = Plain()
    knowing = Overlap(world.catalog)
    knowing.capabilities = frozenset({"boolean"})
    first = Environment(world, knowing, [(First(), 1.0)], 2)
    other = first.with_retriever(Overlap(world.catalog))
    needs = world.needs("test")
    assert other.prompts(needs) == first.prompts(needs)
    step = other.step(needs, [chat_with(other.prompts(needs)[0], "red pan")])
    assert step.rewards.tolist() == [1.0]
    assert (len(knowing.calls), len(other.retriever.calls)) == (0, 1)


def test_k_must_not_exceed_what_the_retriever_can_find(world):
    retriever = Overlap(world.catalog)
    retriever.max_k = 3
    Environment(world, retriever, [], 3)
    with pytest.raises(UserError, match="k is 4, and the retriever Overlap finds at most 3 items"):
        Environment(world, retriever, [], 4)


def test_needs_of_every_split_are_found_by_id(world):
    env = make(world)
    assert env.need("n1").text == "something for coffee, red" and env.need("t1").id == "t1"
    with pytest.raises(KeyError, match="nobody"):
        env.need("nobody")


def test_a_need_in_two_splits_is_refused(world):
    world.splits["test"].append(Need("n1", "again"))
    with pytest.raises(UserError, match="'n1' of split 'test' appears twice"):
        make(world).need("n2")


def test_a_broken_data_file_is_not_taken_for_a_missing_split(world):
    def needs(split):
        raise DataError("needs.jsonl", 3, "bad JSON")

    world.needs = needs
    with pytest.raises(DataError, match=r"needs\.jsonl:3: bad JSON"):
        make(world).need("n1")


def test_a_repeated_reward_name_is_refused(world):
    with pytest.raises(UserError, match=r"reward 'P@1' is listed 2 times"):
        make(world, rewards=[(First(), 1), (First(), 2)])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_must_be_finite(world, weight):
    with pytest.raises(UserError, match=r"weight of reward 'P@1' must be a finite number, got (nan|inf)"):
        make(world, rewards=[(First(), weight)])


def test_k_must_cover_every_cutoff(world):
    reward = First()
    reward.cutoff = 4
    with pytest.raises(UserError, match=r"needs k >= 4, got k=3: set k to 4"):
        make(world, rewards=[(reward, 1)])


def test_k_must_be_positive(world):
    with pytest.raises(UserError, match="k must be an integer >= 1, got 0"):
        make(world, rewards=[], k=0)


def test_needs_and_chats_must_pair_up(world):
    env = make(world)
    with pytest.raises(ValueError, match="1 needs for 0 chats"):
        env.step([env.need("n1")], [])
    with pytest.raises(ValueError, match="need 'n1' does not end with the assistant"):
        env.step([env.need("n1")], [[{"role": "user", "content": "[mug]"}]])


class Returns:
    """A retriever that answers with what it was given."""

    def __init__(self, rows, scores):
        self.hits = Hits(rows, scores)

    def search(self, queries, k):
        return self.hits


def i32(*rows):
    return np.array(rows, np.int32)


def f32(*scores):
    return np.array(scores, np.float32)


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        ([[0, 1, 2]], f32([3, 2, 1]), r"rows_QK as list; .* must return int32 of shape \(1, 3\)"),
        (i32([0, 1]), f32([3, 2]), r"rows_QK as int32 of shape \(1, 2\)"),
        (i32([0, 1, 2], [0, 1, 2]), f32([3, 2, 1], [3, 2, 1]), r"rows_QK as int32 of shape \(2, 3\)"),
        (np.array([[0, 1, 2]]), f32([3, 2, 1]), "rows_QK as int64"),
        (i32([0, 1, 2]), np.array([[3.0, 2, 1]]), "scores_QK as float64"),
        (i32([0, 1, 6]), f32([3, 2, 1]), "row 6; the catalog has 6 items"),
        (i32([0, 1, -2]), f32([3, 2, 1]), "row -2"),
        (i32([0, -1, 2]), f32([3, 2, 1]), "an item after a -1"),
        (i32([0, 1, 2]), f32([3, 4, 1]), "NaN or rise"),
        (i32([0, 1, 2]), f32([3, np.nan, 1]), "NaN or rise"),
        (i32([0, 1, 0]), f32([3, 2, 1]), "one item twice"),
    ],
)
def test_a_retriever_that_breaks_its_contract_stops_the_step_by_name(world, rows, scores, message):
    with pytest.raises(ContractError, match=rf"retriever Returns returned .*{message}"):
        run(make(world, retriever=Returns(rows, scores)), ["n1"], ["[mug]"])


class Pays:
    name = "pays"

    def __init__(self, value):
        self.value = value

    def __call__(self, batch):
        return self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, r"returned float; 2 rollouts need float32 of shape \(2,\)"),
        ([0.5, 1], "returned list"),
        (f32(1.0), r"float32 of shape \(1,\)"),
        (f32([1], [2]), r"float32 of shape \(2, 1\)"),
        (np.array(["a", "b"]), "returned <U1"),
        (np.array([None, 1.0]), "returned object"),
        (f32(1, np.nan), r"returned nan for need 'n2' \(completion '\[tea\]'\); rewards must be finite"),
        (np.array([1e300, 0]), "returned inf for need 'n1'"),
    ],
)
def test_a_reward_that_breaks_its_contract_stops_the_step_by_name(world, value, message):
    with pytest.raises(ContractError, match=f"reward 'pays' .*{message}|reward 'pays' {message}"):
        run(make(world, rewards=[(Pays(value), 1)]), ["n1", "n2"], ["[mug]", "[tea]"])


def test_a_reward_may_return_any_real_numbers(world):
    step = run(make(world, rewards=[(Pays(np.array([True, False])), 2.0)]), ["n1", "n2"], ["[a]", "[b]"])
    assert step.rewards.tolist() == [2, 0]


def test_what_a_retriever_or_a_reward_raises_comes_through(world):
    class Down:
        def search(self, queries, k):
            raise ConnectionError("search service is gone")

    with pytest.raises(ConnectionError, match="search service is gone"):
        run(make(world, retriever=Down()), ["n1"], ["[mug]"])


def test_metrics_say_what_happened(world):
    step = run(make(world), ["n1", "n1", "n2", "n2", "n3"], ["[red mug]", "[red mug]", "[tea]", "[zzz q r]", "x"])
    logged = metrics(step)
    assert logged["reward"] == pytest.approx((1.1 + 1.1 + 1.1 + 0.1) / 5)
    assert logged["reward/P@1"] == pytest.approx(3 / 5) and logged["reward/valid"] == pytest.approx(4 / 5)
    assert logged["query/words"] == (2 + 2 + 1 + 3) / 4 and logged["query/unique"] == 3 / 4
    assert (logged["outcome/ok"], logged["outcome/no_hits"], logged["outcome/invalid"]) == (0.6, 0.2, 0.2)
    assert logged["invalid/no brackets"] == 0.2
    assert logged["time/search"] >= 0 and logged["time/rewards"] >= 0
    assert step.seconds["total"] >= step.seconds["search"] + step.seconds["rewards"]


def test_the_share_of_repeated_words_is_over_all_words_of_valid_queries(world):
    step = run(make(world), ["n1", "n1", "n2", "n3"], ["[red red Red mug]", "[tea]", "[green tea]", "red red red"])
    assert metrics(step)["query/repeated"] == 2 / (4 + 1 + 2)
    assert metrics(run(make(world), ["n1"], ["nothing valid"]))["query/repeated"] == 0
    assert (repeated((7, 7, 3)), repeated(()), repeated(7)) == (1, 0, 0)


def test_the_names_of_metrics_are_stable(world):
    assert list(metrics(run(make(world), ["n1"], ["[mug]"]))) == [
        *("reward", "reward/P@1", "reward/valid", "query/copies_need", "query/words", "query/unique"),
        "query/repeated",
        *("query/repeated_pairs", "query/from_need", "query/operators", "query/known", "query/copied"),
        *("outcome/ok", "outcome/no_hits", "outcome/invalid", "outcome/retriever_error"),
        *("hits/unjudged@3", "hits/blind@3"),
        *("time/search", "time/rewards", "time/environment", "time/query"),
    ]


def test_what_a_retriever_counts_itself_is_logged_under_its_name(world):
    class Counts(Overlap):
        stats: ClassVar = {"hit_rate": 0.0}

        def search(self, queries, k):
            self.stats["hit_rate"] = 0.75
            return super().search(queries, k)

    logged = metrics(run(make(world, retriever=Counts(world.catalog)), ["n1"], ["[mug]"]))
    assert {name: value for name, value in logged.items() if name.startswith("retriever/")} == {
        "retriever/hit_rate": 0.75
    }


@pytest.mark.parametrize(
    ("need", "query", "copied"),
    [
        ("Red mug, 0.3 l", "red  MUG 0.3 l.", True),
        ("caf\u00e9 cr\u00e8me", "Cafe\u0301 cre\u0300me!", True),
        (":-)", ":-)", True),
        ("red mug", "mug red", False),
        ("red mug", "red mug red mug", False),
        ("red mug", "red", False),
        ("red mug", "redmug", False),
        ("red mug", "", False),
        ("red mug", ("red", "mug"), False),
    ],
)
def test_a_copy_has_the_words_of_the_need_in_their_order_and_no_other(need, query, copied):
    assert copies(need, query) is copied


def test_the_share_of_copies_is_over_all_completions(world):
    completions = ["[Something for coffee - RED]", "[something for coffee]", "[green tea]", "zzz"]
    assert metrics(run(make(world), ["n1", "n1", "n2", "n3"], completions))["query/copies_need"] == 2 / 4
    assert metrics(run(make(world), ["n1"], ["[green tea]"]))["query/copies_need"] == 0  # another need's words


def test_a_group_is_flat_where_all_rewards_of_a_need_are_equal(world):
    completions = ["[red mug]", "[red mug]", "[mug]", "[tea]", "[pan]", "[pot]"]
    logged = metrics(run(make(world), ["n1", "n1", "n2", "n2", "n2", "n3"], completions))
    assert logged["groups/flat"] == 1 / 2  # n1; of n2, tea finds something; n3 has one completion and is no group


def test_a_completion_without_a_reward_is_in_no_group(world):
    env = make(world, retriever=Lossy(world.catalog, {"tea": 9, "pot": 9}))
    logged = metrics(run(env, ["n1", "n1", "n1", "n2", "n2"], ["[red mug]", "[mug]", "[tea]", "[pot]", "[green]"]))
    assert logged["groups/flat"] == 1
    assert "groups/flat" not in metrics(run(env, ["n2", "n2"], ["[pot]", "[green]"]))


def test_equal_rewards_are_flat_whatever_their_mean_is_rounded_to(world):
    class Fixed:
        name = "fixed"

        def __call__(self, batch):
            return np.full(len(batch), 0.38146, np.float32)

    step = run(make(world, rewards=[(Fixed(), 1.0)]), ["n1"] * 8, ["[mug]"] * 8)
    assert metrics(step)["groups/flat"] == 1


def test_words_counts_words_of_texts_and_items_of_histories():
    assert [words("a  b\nc"), words(""), words((4, 2)), words(7)] == [3, 0, 2, 1]


def test_a_chat_with_a_completion_leaves_the_prompt_alone():
    prompt = [{"role": "user", "content": "a"}]
    assert chat_with(prompt, "b") == [*prompt, {"role": "assistant", "content": "b"}]
    assert len(prompt) == 1
