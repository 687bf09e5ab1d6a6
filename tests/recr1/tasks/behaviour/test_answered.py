"""Needs that are answered in text: ratings, explanations, titles, and several families in one task."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from recr1.baselines.plain import MeanRating
from recr1.compare.comparison import Comparison
from recr1.compare.policies import measured
from recr1.compare.report import tables as compared
from recr1.config.build import build, check_part
from recr1.doctor import CHECKS, Setup
from recr1.env import Environment, chat_with, metrics
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.evaluate.answers import families, rating_errors
from recr1.evaluate.report import tables, verdict
from recr1.tasks.base import plain_answers
from retrievers.bm25.bm25 import BM25
from rewards.base import Answer, Invalid
from rewards.guards.form import GroupLengthReward, LengthReward
from rewards.measures.reward import MeasureReward
from rewards.shaping import OfFamilyReward

SOURCE = {"type": "people", "users": 40, "items": 300, "purchases": 6}
FAMILIES = {"rating": "rating", "explain": "explain_text", "title": "review_title"}
OWN = {"rating": "RatingCloseness", "explain": "FeatureF1", "title": "RougeL"}


def part(kind, **options):
    return {"type": kind, "source": SOURCE, **options}


@pytest.fixture(scope="module")
def rating():
    return build("task", part("rating"))


@pytest.fixture(scope="module")
def mixed():
    tasks = {name: part(kind) for name, kind in FAMILIES.items()}
    return build("task", {"type": "mixed", "tasks": tasks, "measures": OWN})


class Says:
    """Answers each need with what a function says."""

    def __init__(self, task, say):
        self.env, self.say = Environment(task, BM25(task.catalog), [], k=1), say
        split = {chat[-1]["content"]: need for need in task.needs("test") for chat in self.env.prompts([need])}
        self.need_of = split

    def generate(self, chats, n):
        return [[self.say(self.need_of[chat[-1]["content"]])] * max(n, 1) for chat in chats]


def evaluated(task, say, measures):
    env = Environment(task, BM25(task.catalog), [], k=1)
    return Evaluator(env, "test", measures)(Says(task, say) if callable(say) else say)


def test_a_rating_is_what_the_person_gave_and_the_text_shows_their_past(rating):
    source = rating._source
    for past in source.pasts("test"):
        for place, (row, value) in enumerate(zip(past.targets, past.target_values, strict=True)):
            need = next(need for need in rating.needs("test") if need.id == f"{past.id}.{place}")
            assert rating.qrels[need.id].gold == f"{value:g}" and dict(rating.qrels[need.id]) == {row: 1}
            assert rating.catalog.title(row) in need.text and need.history == past.history
            assert f"{past.values[-1]:g} {rating.catalog.title(past.history[-1])}" in need.text


def reviewed(folder, titles, **item):
    """A source in files: one user, who took item i0 first and then reviewed one item after the other."""
    folder.mkdir(exist_ok=True)
    items = [{"id": f"i{place}", "title": f"mug {place}", **item} for place in range(len(titles) + 1)]
    events = [{"user": "a", "item": "i0", "time": 1, "head": "", "body": ""}]
    events += [
        {"user": "a", "item": f"i{n}", "time": n + 1, "head": of, "body": "red"} for n, of in enumerate(titles, 1)
    ]
    for name, rows in (("items", items), ("interactions", events)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"review_title": "head", "review_text": "body"}
    return {"type": "interactions", "path": str(folder), "columns": columns, "per_user": 9}


def test_a_title_that_is_a_number_or_no_word_is_no_answer(tmp_path):
    """A gold answer that is a number is a rating: no answer in words could earn anything there."""
    titles = ["so good", "10", ":-)", "5 stars", "never again"]
    task = build("task", {"type": "review_title", "source": reviewed(tmp_path, titles)})
    golds = {key.gold for key in task.qrels.values()}
    assert golds == {"so good", "5 stars", "never again"}
    assert task.counts["needs left out, no answer in the data"] == 2
    assert evaluated(task, lambda need: task.qrels[need.id].gold, ["RougeL"]).per_need("RougeL").tolist() == [1]
    with pytest.raises(UserError, match="no need has an answer, as it has no reviews with a title"):
        build("task", {"type": "review_title", "source": reviewed(tmp_path / "bad", ["1", "!", "2"])})


def test_without_a_review_to_learn_from_the_usual_title_is_empty(tmp_path):
    source = {**reviewed(tmp_path, ["", "", "fine"]), "per_user": 0}
    task = build("task", {"type": "review_title", "source": source})
    [need] = task.needs("test")
    assert task.plain_answers(need) == {"most used title": "", "text of the review": "red"}


def test_an_item_without_a_text_in_its_fields_is_shown_as_its_title(tmp_path):
    source = reviewed(tmp_path, ["so good", "fine"], color=None, size=["big", "wide"])
    shown = {
        name: build("task", {"type": "review_title", "source": source, "fields": [name]}).shown(1)
        for name in ("color", "size")
    }
    assert shown == {"color": "mug 1", "size": "big, wide"}


def test_no_mean_knows_a_held_out_rating(rating):
    events, need = rating.catalog.interactions, rating.needs("test")[0]
    (row,) = rating.qrels[need.id]
    of_item = events["value"][events["row"] == row]
    plain = plain_answers(rating, need)
    assert plain["global mean"] == f"{events['value'].mean():.3f}"
    assert plain["item mean"] == f"{(of_item if len(of_item) else events['value']).mean():.3f}"
    assert plain["median"] == f"{np.median(events['value']):.3f}"


def test_the_held_out_template_is_in_no_prompt_of_training(rating):
    held = build("task", part("rating", template="held_out"))
    seen = {need.text.split("\n")[0] for split in ("train", "test") for need in rating.needs(split)}
    assert len(seen) == 2
    assert not seen & {need.text.split("\n")[0] for need in held.needs("test")}
    assert [need.id for need in held.needs("test")] == [need.id for need in rating.needs("test")]


def test_explanations_and_titles_have_the_words_of_the_review(mixed):
    for need in mixed.needs("test"):
        _, own = mixed._origin[need.id]
        task = mixed._tasks[need.family]
        past, row = task._pasts[own.id]
        review = task._source.reviews[past.user, row]
        gold = {"explain": ", ".join(review.features), "title": review.title}.get(need.family)
        assert gold is None or mixed.qrels[need.id].gold == gold


def test_the_floor_is_the_global_mean_and_gold_is_the_ceiling(rating):
    found = evaluated(rating, MeanRating(of="global"), ["RatingCloseness"])
    assert np.array_equal(found.per_need("RatingCloseness"), found.references.floor["RatingCloseness"])
    assert (found.references.ceiling["RatingCloseness"] == 1).all()
    assert set(found.systems("RatingCloseness")) == {"policy", "floor", "user mean", "item mean", "median", "ceiling"}
    assert "against the global mean" in verdict([found])[0]
    said = "\n".join(table.text() for table in tables([found]))
    assert "floor: the global mean. ceiling: the gold answer." in said and "errors of ratings" in said


def test_errors_of_ratings_are_those_of_numpy_and_invalid_is_the_largest(rating):
    gold = np.array([float(rating.qrels[need.id].gold) for need in rating.needs("test")])
    found = evaluated(rating, lambda need: "2", ["RatingCloseness"])
    errors = rating_errors(found)
    assert errors["policy"]["RMSE"] == pytest.approx(np.sqrt(((gold - 2) ** 2).mean()))
    assert errors["policy"]["MAE"] == pytest.approx(4 * (1 - found.per_need("RatingCloseness").mean()))
    assert errors["policy"]["entropy"] == 0
    mean = float(plain_answers(rating, rating.needs("test")[0])["global mean"])
    assert errors["global mean"]["MAE"] == pytest.approx(np.abs(gold - mean).mean())
    invalid = evaluated(rating, lambda need: "many", ["RatingCloseness"])
    assert rating_errors(invalid)["policy"]["MAE"] == 4 and invalid.behaviour()["no_hits"] == 0
    assert found.metrics()["eval/test/RMSE"] == errors["policy"]["RMSE"]


def test_a_gold_answer_that_is_a_number_is_no_rating_where_no_rating_is_measured(rating):
    gold = {need.id: rating.qrels[need.id].gold for need in rating.needs("test")}
    found = evaluated(rating, lambda need: gold[need.id], ["RatingCloseness"])
    assert rating_errors(found)["policy"]["MAE"] == 0
    assert rating_errors(replace(found, values={"Success@1": found.values["RatingCloseness"]})) == {}


@pytest.mark.parametrize("of", ["global", "user", "item", "median"])
def test_rivals_rate_as_the_task_says(rating, of):
    found = evaluated(rating, MeanRating(of=of), ["RatingCloseness"])
    name = of if of == "median" else f"{of} mean"
    assert rating_errors(found)["policy"] == rating_errors(found)[name]


def test_a_rival_for_ratings_needs_ratings():
    with pytest.raises(UserError, match="this task has no ratings"):
        evaluated(build("task", {"type": "toy"}), MeanRating(), ["RR@1"])


def test_each_family_keeps_its_format_its_measure_and_its_reward(mixed):
    by_family = {name: next(n for n in mixed.needs("test") if n.family == name) for name in FAMILIES}
    rewards = [(OfFamilyReward(family=n, reward={"type": "measure", "measure": m}), 1.0) for n, m in OWN.items()]
    env = Environment(mixed, BM25(mixed.catalog), [*rewards, (MeasureReward(measure="Own@1"), 0.0)], k=1)
    needs = [by_family[name] for name in FAMILIES for _ in range(2)]
    texts = [text for name in FAMILIES for text in (str(mixed.qrels[by_family[name].id].gold), "9")]
    prompts = env.prompts(needs)
    step = env.step(needs, [chat_with(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
    kinds = [type(rollout.action) for rollout in step.batch.rollouts]
    assert kinds == [Answer, Invalid, Answer, Answer, Answer, Answer]  # 9 is no rating, and a poor title
    assert step.rewards.tolist() == [1, 0, 1, 0, 1, 0]
    assert np.array_equal(step.rewards, step.parts["Own@1"])
    assert [*step.parts] == ["rating:RatingCloseness", "explain:FeatureF1", "title:RougeL", "Own@1"]
    numbers = metrics(step)
    assert numbers["family/rating/invalid"] == numbers["family/rating/reward"] == 0.5
    assert numbers["family/title/invalid"] == 0


def test_an_evaluation_says_each_family_for_itself(mixed):
    found = evaluated(mixed, lambda need: str(mixed.qrels[need.id].gold), ["Own@1", "RatingCloseness"])
    of = families(found)
    assert {name: [*one["measures"]] for name, one in of.items()} == {
        **{name: ["Own@1"] for name in ("explain", "title")},
        **{"rating": ["Own@1", "RatingCloseness"]},
    }
    assert all(one["measures"]["Own@1"]["policy"] == 1 for one in of.values())
    assert found.summary["families"] == of
    assert "title: Own@1" in "\n".join(table.text(200) for table in tables([found]))


def test_the_floor_of_each_family_is_what_its_task_answers(mixed):
    plain = evaluated(mixed, lambda need: next(iter(plain_answers(mixed, need).values())), ["Own@1"])
    assert np.array_equal(plain.per_need("Own@1"), plain.references.floor["Own@1"])


def test_families_with_searches_and_lists_share_a_task():
    tasks = {"search": {"type": "toy"}, "list": {"type": "reranking", "task": {"type": "toy"}}}
    task = build("task", {"type": "mixed", "tasks": tasks, "measures": {"search": "RR@3", "list": "nDCG@2"}})
    env = Environment(
        task,
        BM25(task.catalog),
        [(OfFamilyReward(family="list", reward={"type": "measure", "measure": "nDCG@2"}), 1.0)],
        k=3,
    )
    found = Evaluator(env, "test", ["Own@3"]).references
    alone = Environment(build("task", tasks["search"]), BM25(task.catalog), [], k=3)
    of_search = [row for row, need in enumerate(found.needs) if need.family == "search"]
    expected = Evaluator(alone, "test", ["RR@3"]).references
    assert found.floor["Own@3"][of_search].tolist() == expected.floor["RR@3"].tolist()
    assert found.ceiling["Own@3"][of_search].tolist() == expected.ceiling["RR@3"].tolist()
    assert (found.ceiling["Own@3"] >= found.floor["Own@3"]).all() and not found.shown


def test_groups_stay_whole_in_a_mixed_batch(mixed):
    one, other = (next(n for n in mixed.needs("test") if n.family == name) for name in ("explain", "title"))
    env = Environment(
        mixed, BM25(mixed.catalog), [(OfFamilyReward(family="title", reward={"type": "group_length"}), 1.0)], k=1
    )
    needs = [one, other, one, other]
    texts = ["a", "b c", "d", "e"]
    step = env.step(needs, [chat_with(p, t) for p, t in zip(env.prompts(needs), texts, strict=True)])
    assert step.rewards[[0, 2]].tolist() == [0, 0]
    assert GroupLengthReward.needs_groups and env.rewards[0][0].needs_groups


def test_shares_are_kept_and_families_are_mixed_evenly():
    tasks = {name: part(kind) for name, kind in FAMILIES.items()}
    task = build("task", {"type": "mixed", "tasks": tasks, "share": {"rating": 2, "explain": 1, "title": 1}})
    families_ = [need.family for need in task.needs("train")]
    assert families_.count("rating") == pytest.approx(2 * families_.count("title"), abs=2)
    assert abs(families_[:20].count("rating") - 10) <= 1
    assert len(task.needs("test")) == sum(len(build("task", one).needs("test")) for one in tasks.values())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tasks": {"a": {"type": "toi"}}}, "no 'toi'"),
        ({"tasks": {"a": {"type": "toy"}}, "share": {"b": 1}}, "share: no task 'b'"),
        ({"tasks": {"a": {"type": "toy"}, "c": {"type": "toy"}}, "share": {"a": 1}}, "share: has no 'c': give every"),
        ({"tasks": {"a": {"type": "toy"}}, "measures": {"a": "nDGC@3"}}, "did you mean 'nDCG@3'"),
        ({"tasks": {"a/b": {"type": "toy"}}}, "without /"),
    ],
)
def test_a_mixed_task_is_checked_before_it_is_opened(wrong, said):
    assert any(said in str(problem) for problem in check_part("task", {"type": "mixed", **wrong}, "task"))


def test_a_share_of_a_family_without_training_needs_is_refused():
    tasks = {"a": part("rating"), "b": part("rating", source={**SOURCE, "per_user": 0})}
    with pytest.raises(UserError, match="another catalog"):  # other events to learn from
        build("task", {"type": "mixed", "tasks": tasks})
    alone = {"a": part("rating", source={**SOURCE, "per_user": 0})}
    with pytest.raises(UserError, match="share: 'a' has no training needs"):
        build("task", {"type": "mixed", "tasks": alone, "share": {"a": 1}})


def test_a_family_of_searches_finds_what_its_task_finds_alone_in_any_batch():
    """No search finds what the user has, also where another need of the batch has candidates."""
    tasks = {"next": part("sequential", last=3), "one": part("sequential", candidates=5)}
    task = build("task", {"type": "mixed", "tasks": tasks, "measures": {"next": "nDCG@10", "one": "Success@1"}})
    env = Environment(task, BM25(task.catalog), [], k=10)
    alone = Environment(build("task", tasks["next"]), BM25(task.catalog), [], k=10)
    needs = [need for need in task.needs("test") if need.family == "next"]
    own = alone.search([need.text for need in needs], needs=[alone.need(need.id.partition("/")[2]) for need in needs])
    for batch in (needs, task.needs("test")):
        hits = env.search([need.text for need in batch], needs=batch)
        places = [place for place, need in enumerate(batch) if need.family == "next"]
        assert np.array_equal(hits.rows_QK[places], own.rows_QK)
    taken = alone.task.pasts[needs[0].id.partition("/")[2]].history
    assert task.hides_history and not set(own.rows_QK[0].tolist()) & set(taken)
    assert task.group_of[needs[0].id] in ("young", "old")


def test_families_that_hide_what_a_user_has_and_families_that_do_not_are_not_mixed():
    tasks = {"a": part("sequential"), "b": part("sequential", repeats=True)}
    with pytest.raises(UserError, match="tasks: b may find what a user has, and the other tasks of users may not"):
        build("task", {"type": "mixed", "tasks": tasks})


def test_families_of_different_catalogs_are_refused():
    with pytest.raises(UserError, match="'b' has another catalog than 'a'"):
        build("task", {"type": "mixed", "tasks": {"a": {"type": "toy"}, "b": part("rating")}})


def test_a_comparison_has_the_errors_of_ratings(rating):
    evaluator = Evaluator(Environment(rating, BM25(rating.catalog), [], k=1), "test", ["RatingCloseness"])
    policies = [measured(evaluator, [lambda of=of: MeanRating(of=of)], of, of) for of in ("global", "user")]
    held = Comparison(policies).summary
    errors = {name: one["ratings"] for name, one in held["policies"].items()}
    assert errors["user"] == rating_errors(policies[1].first)["user mean"]
    assert "errors of ratings" in "\n".join(table.text() for table in compared(held))


def test_what_is_about_searches_refuses_answers_in_text(rating):
    env = Environment(rating, BM25(rating.catalog), [], k=1)
    with pytest.raises(UserError, match="--retrievers is about searches, and needs of this task are answered in text"):
        env.refuse_candidates("--retrievers")
    toy = build("task", {"type": "toy"})
    assert not Environment(toy, BM25(toy.catalog), [], k=1).answers


def test_the_doctor_rewards_guesses_less_than_gold_answers(rating):
    def finding(reward):
        env = Environment(rating, BM25(rating.catalog), [(reward, 1.0)], k=1)
        return CHECKS["rewards"](Setup(env, "RatingCloseness"))

    good = finding(MeasureReward(measure="RatingCloseness"))
    assert good.verdict == "ok" and good.numbers["best"]["mean"] == 1
    assert 0.4 < good.numbers["random"]["mean"] < good.numbers["plain"]["mean"] < 1
    assert "the reward is constant" in finding(LengthReward(budget=5)).message
