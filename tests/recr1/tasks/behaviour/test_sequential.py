"""What comes next: needs, candidates and floors are those that the docs say, with engines of texts and recommenders."""

from collections import Counter

import numpy as np
import pytest

from recr1.baselines.recommender import Recommender
from recr1.baselines.without_model import AsShown, Echo
from recr1.choosing import NO_ITEM, NOT_SHOWN, History, PickOne
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.evaluate import Evaluator
from recr1.evaluate.report import table
from recr1.tasks.base import SPLITS
from recr1.tasks.behaviour.sequential import PickOneTask, SequentialTask
from recr1.tasks.behaviour.source import Past, Source
from retrievers.base import Catalog
from retrievers.behaviour.base import EVENT, matrix_of
from retrievers.behaviour.base import Recommender as BehaviourRecommender
from retrievers.bm25.bm25 import BM25
from rewards.base import Candidate, Invalid, Need, Recommend, Search

PEOPLE = {"type": "people", "users": 120, "items": 300}


class Together(BehaviourRecommender):
    """How many users took an item together with those of the history: the plainest recommender there is."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        matrix = matrix_of(catalog)
        self._together_NN = (matrix.T @ matrix).toarray()

    def _scores(self, histories):
        return np.stack([self._together_NN[list(history)].sum(axis=0) for history in histories]).astype(np.float32)


TOGETHER = {"type": f"{__name__}:Together"}


@pytest.fixture(scope="module")
def task():
    return SequentialTask(source=PEOPLE, last=4)


@pytest.fixture(scope="module")
def picking():
    return PickOneTask(source=PEOPLE, candidates=6)


def needs_of(task):
    return [need for split in SPLITS for need in task.needs(split)]


def test_a_need_shows_the_last_titles_oldest_first_and_has_the_whole_history(task):
    for need in needs_of(task):
        past = task.pasts[need.id]
        assert need.history == past.history
        assert need.text.splitlines() == [task.catalog.title(row) for row in past.history[-4:]]
        assert set(task.qrels[need.id]) == set(past.targets) - set(past.history)
        assert set(task.qrels[need.id].values()) == {1}


class Untitled(Source):
    """One user with a history of three items, of which the last has no title, and one without a history."""

    def __init__(self) -> None:
        self.catalog = Catalog(list("abcd"), ["red", "blue", "", "pink"], None, np.array([(0, 0, 1, 1)], EVENT))
        self.user_ids, self.groups, self.reviews, self.scale = ["u", "v"], ["", ""], {}, None
        self.counts, self.text_fields = {}, ()
        self.all_pasts = {
            "test": [Past("u/3", 0, (0, 1, 2), (1, 1, 1), (3,), (1,), 9), Past("v/0", 1, (), (), (3,), (1,), 9)]
        }


def test_an_item_without_a_title_keeps_its_number_and_a_user_without_a_history_is_counted():
    task = SequentialTask(source={"type": f"{__name__}:Untitled"}, format={"type": "history", "prompt": "{need}"})
    [need] = task.needs("test")
    assert task.counts["needs left out, no history"] == 1
    assert task.format.render(need)[-1]["content"] == "1. red\n2. blue\n3. "
    assert task.format.parse_for(need, "1 3") == Search((0, 2))
    assert task.format.write_for(need, [1]) == "2"


def test_with_repeats_items_that_the_user_has_are_asked_for_too(task):
    again = SequentialTask(source=PEOPLE, last=4, repeats=True)
    assert task.counts["targets left out, the user has them"] > 0
    assert "targets left out, the user has them" not in again.counts
    assert sum(len(key) for key in again.qrels.values()) > sum(len(key) for key in task.qrels.values())


@pytest.mark.parametrize("hides", [True, False])
def test_no_search_finds_what_the_user_has_unless_it_may_be_asked_for_again(hides):
    task = SequentialTask(source=PEOPLE, last=4, repeats=not hides)
    env, needs = Environment(task, BM25(task.catalog), (), 10), task.needs("test")
    chats = [chat_with(prompt, need.text) for need, prompt in zip(needs, env.prompts(needs), strict=True)]
    rows_BK = env.step(needs, chats).batch.hits.rows_QK
    taken = [bool(set(rows.tolist()) & set(need.history)) for rows, need in zip(rows_BK, needs, strict=True)]
    assert any(taken) is not hides
    assert (rows_BK[:, -1] >= 0).all()  # those below have moved up
    floor = Evaluator(env, "test", ["nDCG@10"]).references.floor_rows_NK
    assert np.array_equal(rows_BK, floor)


def test_candidates_are_one_new_target_and_items_that_the_user_does_not_have(picking):
    for need in needs_of(picking):
        rows = [one.row for one in need.candidates]
        [true] = picking.qrels[need.id]
        assert len(set(rows)) == len({one.text.lower() for one in need.candidates}) == 6
        assert true in rows
        assert not set(rows) & set(need.history)
        assert set(rows) & set(picking.pasts[need.id].targets) == {true}


def test_the_true_candidate_is_in_every_place_alike(picking):
    places = Counter()
    for need in needs_of(picking):
        places[[one.row for one in need.candidates].index(*picking.qrels[need.id])] += 1
    assert set(places) == set(range(6))
    expected = places.total() / 6
    assert sum((count - expected) ** 2 / expected for count in places.values()) < 20.5  # chi-squared, p = 0.001


def test_distractors_of_a_recommender_are_its_first_items():
    task = PickOneTask(source=PEOPLE, candidates=6, distractors=TOGETHER)
    drawn = PickOneTask(source=PEOPLE, candidates=6)
    taken = np.bincount(task.catalog.interactions["row"], minlength=len(task.catalog))

    def popularity(one):
        return np.mean([taken[shown.row] for need in one.needs("test") for shown in need.candidates])

    assert popularity(task) > 1.5 * popularity(drawn)


def test_every_source_of_class_and_module_is_built():
    source = {"type": "recr1.tasks.behaviour.people:People", "users": 40, "items": 200}
    assert SequentialTask(source=source).needs("test")
    with pytest.raises(ValueError, match=r"source\.type: no 'peeple' here; did you mean 'people'"):
        SequentialTask(source={"type": "peeple"})


def test_a_picked_title_is_read_without_case_and_spacing_and_everything_else_is_invalid():
    need = Need(
        "n", "tea", (), (Candidate(7, "Red mug"), Candidate(3, "red  MUG"), Candidate(5, "2"), Candidate(8, "pan"))
    )
    read = {
        "RED mug ": 7,  # two have this title: the first shown
        "2": 5,  # a title comes before a number
        "4": 8,
        "4.": 8,
        "4) Pan": 8,
    }
    assert {text: PickOne().parse_for(need, text) for text in read} == {t: Recommend((row,)) for t, row in read.items()}
    for text in ("", "mug", "0", "5", "4. red mug", "Red mug, pan", "4 3"):
        assert PickOne().parse_for(need, text) == Invalid(NOT_SHOWN), text


def test_a_history_names_the_last_items_in_the_order_in_which_they_were_taken():
    need = Need("n", "red mug\npan", (4, 9, 2))
    assert History().parse_for(need, "2 1 2") == Search((9, 2))
    assert History().parse_for(need, "3") == Invalid(NO_ITEM)
    assert History().parse_for(need, "the first") == Invalid("no list of numbers")
    assert History().write_for(need, (2, 9)) == "1 2"
    assert History().render(need)[-1]["content"].count("1. red mug\n2. pan") == 1


def test_a_recommender_reads_the_part_of_the_history_that_a_policy_keeps():
    task = SequentialTask(source=PEOPLE, last=4, format={"type": "history"})
    env, needs = Environment(task, Together(task.catalog), (), 10), task.needs("test")
    chats = [chat_with(prompt, "2 4") for prompt in env.prompts(needs)]
    step = env.step(needs, chats)
    for need, rollout, rows in zip(needs, step.batch.rollouts, step.batch.hits.rows_QK, strict=True):
        assert rollout.action == Search((need.history[-3], need.history[-1]))
        assert not set(rows.tolist()) & set(need.history)
    references = Evaluator(env, "test", ["nDCG@10"]).references
    whole = env.search([need.history for need in needs], needs=needs).rows_QK
    assert np.array_equal(references.floor_rows_NK, whole)


def test_a_recommender_as_a_policy_passes_chance_and_is_the_floor_of_that_retriever(picking):
    env = Environment(picking, BM25(picking.catalog), (), 6)
    evaluate = Evaluator(env, "test", ["Success@1"])
    chance = float(evaluate(AsShown()).per_need("Success@1").mean())
    together = evaluate(Recommender(retriever=TOGETHER))
    assert float(together.per_need("Success@1").mean()) > chance + 0.2
    floor = Environment(picking, Together(picking.catalog), (), 6)
    assert np.array_equal(Evaluator(floor, "test", ["Success@1"]).references.floor_rows_NK, together.hits.rows_QK)


def test_a_recommender_as_a_policy_answers_from_the_whole_catalog_without_candidates(task):
    env = Environment(task, BM25(task.catalog), (), 10)
    evaluate = Evaluator(env, "test", ["nDCG@10"])
    own = Environment(task, Together(task.catalog), (), 10, History())
    found = Evaluator(own, "test", ["nDCG@10"])(Echo())
    assert np.array_equal(evaluate(Recommender(retriever=TOGETHER)).hits.rows_QK, found.hits.rows_QK)


def test_formats_of_candidates_need_candidates(task):
    with pytest.raises(UserError, match="pick_one: the needs of this task have no candidates"):
        Environment(task, BM25(task.catalog), (), 5, PickOne())
    with pytest.raises(UserError, match=r"reads histories, and the format Plain writes words"):
        Environment(task, Together(task.catalog), (), 5)


def test_no_event_to_learn_from_is_in_an_answer_key(task):
    events = task.catalog.interactions
    assert events.dtype == EVENT
    learned = set(zip(events["user"].tolist(), events["row"].tolist(), strict=True))
    for need in needs_of(task):
        assert not {(task.pasts[need.id].user, row) for row in task.qrels[need.id]} & learned


def test_an_evaluation_says_what_valid_answers_alone_reach(picking):
    needs = picking.needs("test")
    right = {need.text: picking.catalog.title(next(iter(picking.qrels[need.id]))) for need in needs}
    answers = {text: title if place % 2 else "none" for place, (text, title) in enumerate(right.items())}
    asked = SequentialTask(source=PEOPLE, candidates=6, format={"type": "pick_one", "prompt": "{need}{candidates}"})
    env = Environment(asked, BM25(asked.catalog), (), 6)

    class Half:
        """Right on every second need, and invalid on the others."""

        def generate(self, chats, n):
            return [
                [next(title for text, title in answers.items() if chat[-1]["content"].startswith(text))]
                for chat in chats
            ]

    evaluation = Evaluator(env, "test", ["Success@1"])(Half())
    valid = 1 - evaluation.summary["invalid"]
    assert 0.4 < valid < 0.6
    assert evaluation.summary["success_of_valid"] == 1.0
    assert evaluation.per_need("Success@1").mean() == pytest.approx(valid)
    [note] = table([evaluation]).notes[1:]
    assert note.startswith(
        f"hit@1 of valid answers only: policy 1.000 (valid {valid:.1%}). Published numbers divide by"
    )
