"""What an audit asks, reports and pays; the command, its files and its exit status."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from recr1.audit import find_biases
from recr1.audit.audit import cutoff_for
from recr1.audit.base import together
from recr1.audit.lists import _exposed
from recr1.audit.report import remarks, tables
from recr1.cli.main import run
from recr1.config.build import AuditSpec
from recr1.env import Environment
from recr1.errors import RecipeError
from recr1.formats import Plain
from recr1.recipe import load_recipe
from recr1.tasks.behaviour.sequential import SequentialTask
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.dense.dense import Dense
from rewards.audit.terms import ByPersonReward, DisagreementReward, MiscalibrationReward, PopularityLiftReward
from rewards.base import Qrels
from tests.recr1.audit.world import ITEMS, Lists, Queries, World, at_random, environment, shown_rows, steady

WORLD = World(users=40)
QUICK = AuditSpec(orders=2, words={"age": ["young", "old"]})


@pytest.fixture(scope="module")
def found():
    # Popular items first, but after a word about the person.
    policy = Lists(lambda need: steady(need)[::-1] if "old" in need.text else steady(need))
    return find_biases(environment(WORLD), policy, "test", QUICK)


def value(found, name):
    return next(one.value for one in found.numbers if one.name == name)


def test_what_is_paid_is_what_is_reported_bit_by_bit(found):
    """The environment pays for the same answers what the audit reports of them."""
    seen = found.seen
    terms = [PopularityLiftReward(), PopularityLiftReward(over="candidates"), MiscalibrationReward()]
    env = Environment(WORLD, seen.env.retriever, [(term, 1.0) for term in terms], 10, seen.env.format)
    paid = env.step(seen.needs, [rollout.chat for rollout in seen.plain.rollouts]).parts
    for term in terms:
        own_B = term.of(seen.plain)
        assert np.array_equal(paid[term.name], 0 - np.maximum(own_B, 0)), term.name
        assert value(found, term.name) == float(own_B.astype(np.float64).mean())
    whole = together([seen.plain, *seen.orders])
    apart = DisagreementReward()
    assert value(found, "disagreement") == pytest.approx(-float(apart(whole).mean()), abs=1e-7)
    for word, batch in seen.words["age"].items():
        term = ByPersonReward(similarity="serp")
        costs = term(together([seen.plain, batch]))
        assert costs[:40].tolist() == [0.0] * 40
        assert [float(costs[40 + row]) == 0 for row in range(40)] == [word == "young"] * 40


def test_answers_of_an_evaluation_are_not_generated_again():
    class Counting(Lists):
        asked = 0

        def generate(self, chats, n):
            Counting.asked += len(chats)
            return super().generate(chats, n)

    known = {need.id: "known" for need in WORLD.needs("test")[:30]}
    again = find_biases(environment(WORLD), Counting(steady), "test", QUICK, known=known)
    assert Counting.asked == again.generated == 40 * (1 + 2 + 2) - 30 and again.reused == 30
    assert again.seen.plain.rollouts[0].completion == "known"


def test_what_does_not_apply_is_said():
    echo = find_biases(environment(WORLD), Queries(lambda text: text), "test", QUICK)
    assert "Position: not audited: the policy does not read the candidates" in remarks(echo)
    bare = World(users=30)
    bare.format = Plain()
    bare._needs = [replace(need, candidates=(), history=()) for need in bare._needs]
    said = remarks(find_biases(environment(bare), Queries(lambda text: text), "test", AuditSpec(words={})))
    assert said[:2] == [
        "Position: not audited: needs have no candidates",
        "Prior of the language model: not audited: the policy does not say how likely a text is",
    ]
    assert "Kinds: not audited: needs have no history" in said
    assert "Groups of people: words are not audited: audit.words is empty" in said


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("policy", [Lists(lambda need: []), Queries(lambda text: "")])
def test_of_a_policy_without_a_list_nothing_but_that_is_said(policy):
    found = find_biases(environment(World(users=30)), policy, "test", QUICK)
    assert [one.name for one in found.numbers] == ["nDCG@5", "invalid"] and found.failures == []
    assert found.verdict == "no number has a limit" and len(remarks(found)) == 7
    assert "Popularity: not audited: no answer is a list, or finds anything" in remarks(found)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_half_of_the_lists_are_enough_where_the_others_find_nothing():
    """And of users with popular histories none has a list."""
    world = World(users=30)
    own = {
        need.id: place for place, need in enumerate(sorted(world.needs("test"), key=lambda need: taken(world, need)))
    }
    found = find_biases(
        environment(world), Lists(lambda need: shown_rows(need) if own[need.id] < 15 else []), "test", QUICK
    )
    [taste] = next(part for part in found.parts if part.title == "Popularity").tables
    assert [row[0] for row in taste.rows] == ["unusual histories", "popular histories"]
    assert taste.rows[1][2:] == ["0.000", "+nan"] and np.isfinite(value(found, "popularity_lift@5"))


def taken(world, need):
    counts = np.bincount([row for _, row in world.catalog.interactions], minlength=ITEMS)
    return np.mean([(counts < counts[row]).mean() for row in need.history])


def by_place(world):
    found = find_biases(environment(world), Lists(shown_rows), "test", QUICK)
    [table] = next(part for part in found.parts if part.title == "Position").tables
    return [row[2] for row in table.rows]


def test_the_best_candidates_are_those_of_the_highest_grade_and_there_may_be_none():
    world = World(users=30)
    assert by_place(world)[0] == "1.000" and {*by_place(world)[1:]} <= {"0.000", ""}
    for need in world.needs("test"):
        world.qrels[need.id] = Qrels(dict.fromkeys(shown_rows(need), 2))  # all are the best
    assert by_place(world) == ["1.000"] + ["0.000"] * 11
    for need in world.needs("test"):
        world.qrels[need.id] = Qrels({399: 0})
    assert by_place(world) == [""] * 12


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_kinds_that_hardly_any_item_has_are_a_number_without_a_value():
    world = World(users=30)
    fields = {**world.catalog.fields, "category": ["k", *[None] * (ITEMS - 1)]}
    world.catalog = Catalog(world.catalog.ids, world.catalog.texts, fields, world.catalog.interactions)
    found = find_biases(environment(world), Lists(shown_rows), "test", QUICK)
    assert np.isnan(value(found, "miscalibration@5"))
    content = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert content["metrics"]["audit/miscalibration@5"] is None


def test_lists_at_random_have_an_item_once_and_no_more_than_there_are():
    world = World(users=4)
    world.format, world._needs = Plain(), [replace(need, candidates=()) for need in world._needs]
    seen = find_biases(environment(world), Queries(lambda text: text), "test", QUICK).seen
    many = replace(seen, cutoff=300).drawn(np.random.default_rng(0)).hits.rows_QK
    assert all(len({*rows}) == 300 for rows in many.tolist()) and many.min() >= 0
    more = replace(seen, cutoff=ITEMS + 5).drawn(np.random.default_rng(0)).hits.rows_QK
    assert sorted(more[0].tolist()) == [*[-1] * 5, *range(ITEMS)]


def test_an_item_that_is_hidden_from_whoever_has_it_could_not_be_listed_there():
    world = World(users=30)
    world.hides_history, world.format = True, Plain()
    common = 7
    world._needs = [replace(need, candidates=(), history=(common,)) for need in world._needs]
    seen = find_biases(environment(world), Queries(lambda text: text), "test", QUICK).seen
    assert common not in _exposed(replace(seen, spec=replace(QUICK, titles=ITEMS)))[0]


def test_people_whose_group_gets_worse_lists_are_found():
    """A policy that knows what one group takes next; the task names the groups, which no prompt has."""
    world = World()
    world.group_of = {need.id: "old" if place % 2 else "young" for place, need in enumerate(world.needs("test"))}
    policy = Lists(lambda need: sorted(steady(need), key=lambda row: -world.qrels[need.id].get(row, 0)))
    equal = find_biases(environment(world), policy, "test", QUICK)
    assert equal.failures == [] and value(equal, "gap(nDCG@5)") == 0
    knowing = policy.choose
    policy.choose = lambda need: steady(need) if world.group_of[need.id] == "old" else knowing(need)
    [gap] = find_biases(environment(world), policy, "test", QUICK).failures
    assert gap.name == "gap(nDCG@5)" and gap.value > 0.5 and gap.corrected < 0.01


def test_a_task_of_people_names_their_groups():
    task = SequentialTask(source={"type": "people", "users": 40, "items": 200}, candidates=6)
    found = find_biases(environment(task), Lists(steady), "validation", AuditSpec(needs=30, words={}, orders=1))
    assert set(task.group_of.values()) == {"young", "old"} and 0 <= value(found, "gap(nDCG@3)") <= 1
    assert np.isfinite(value(found, "popularity_lift@3")) and np.isfinite(value(found, "miscalibration@3"))


def test_lists_are_read_to_half_of_the_candidates():
    needs = WORLD.needs("test")
    assert cutoff_for(needs, 5, 10) == 5 and cutoff_for(needs, 20, 10) == 6 and cutoff_for(needs, 5, 3) == 3
    assert cutoff_for([replace(need, candidates=()) for need in needs], 20, 10) == 10


def test_an_order_is_the_same_for_every_policy_and_each_need_has_its_own():
    first, second = (find_biases(environment(WORLD), Lists(shown_rows), "test", QUICK).seen for _ in range(2))
    shown = [[rollout.action.rows for rollout in batch.rollouts] for batch in first.orders]
    assert shown == [[rollout.action.rows for rollout in batch.rollouts] for batch in second.orders]
    assert shown[0] != shown[1]


def test_a_few_needs_do_not_fail_by_chance():
    """Above a limit is not enough: chance alone gives as much on eight needs."""
    few = AuditSpec(needs=8, orders=1, words={"age": ["young", "old"]})
    found = find_biases(environment(WORLD), at_random(3), "test", few)
    slots = next(one for one in found.numbers if one.name == "slots")
    assert slots.value > slots.limit and slots.p > 0.01 and not slots.fails


def test_limits_of_a_recipe_are_checked_with_everything_else(tmp_path):
    file = tmp_path / "bad.yaml"
    text = "task: {type: toy}\nretriever: {type: bm25}\nk: 10\npolicy: {type: echo}\n"
    rewards = "rewards: [{type: measure, measure: nDCG@10}]\n"
    file.write_text(text + rewards + "audit:\n  words: {age: [old]}\n  limits: {slots: 2, lift: 0.1}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert "audit.words.age" in str(caught.value) and "audit.limits.slots" in str(caught.value)
    assert "audit.limits.lift" in str(caught.value)
    file.write_text(text + rewards + "audit: {sentence: 'I am {word}.'}\n")
    with pytest.raises(RecipeError, match=r"audit\.sentence: must contain \{need\}"):
        load_recipe(file)
    file.write_text(text + rewards + "audit: {cutoff: 3, limits: {slots: null}}\n")
    recipe = load_recipe(file)
    recipe.dump(tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe and recipe.audit.limits.slots is None


@pytest.mark.parametrize(("policy", "status"), [("as_shown", 3), ("echo", 0)])
def test_the_command_writes_its_files_and_fails_above_a_limit(policy, status, tmp_path, capsys):
    task = "task={type: reranking, task: {type: shop, items: 300, train: 60, validation: 40}, count: 6}"
    done = run(["audit", "rerank", task, "--policy", policy, "--out", str(tmp_path), "audit.orders=2"])
    assert done == status
    said, content = capsys.readouterr().out, json.loads((tmp_path / "audit.json").read_text())
    assert content["fails"] is (status == 3) and content["verdict"] in " ".join(said.split())
    assert content["metrics"]["audit/failures"] == (2 if status else 0)
    page = (tmp_path / "audit.html").read_text()
    assert "recr1 audit" in page and ("slots" in page) is (status == 3) and (tmp_path / "audit.md").exists()


def test_a_table_for_a_terminal_has_what_is_limited(found):
    [table] = tables(found)
    assert [row[0] for row in table.rows] == [one.name for one in found.numbers if one.limit is not None]


class OfItsOwn(BM25):
    """Vectors of items that have nothing to do with their texts."""

    def item_vectors(self):
        return np.random.default_rng(0).normal(size=(ITEMS, 16)).astype(np.float32)


def test_vectors_of_texts_are_coupled_to_texts_and_others_are_not():
    world, coupled = World(users=4), {}
    for name, retriever in {
        "text": Dense(world.catalog, encoder={"type": "hashing"}, store=None),
        "own": OfItsOwn(world.catalog),
    }.items():
        found = find_biases(Environment(world, retriever, (), 10), Lists(shown_rows), "test", AuditSpec(orders=1))
        coupled[name] = {one.name: one.value for one in found.numbers if one.name in ("coupling", "neighbours")}
    assert coupled["text"]["coupling"] > 0.5 and coupled["text"]["neighbours"] > 0.2
    assert abs(coupled["own"]["coupling"]) < 0.05 and coupled["own"]["neighbours"] < 0.06
