"""What a validation hands on beside its measures: slices, the needs that are followed, histograms; and the clock."""

import json

import pytest

from recr1.baselines.without_model import Verbatim
from recr1.config.build import EvaluationSpec
from recr1.env import Environment
from recr1.loggers.jsonl import JsonlLogger
from recr1.runs import Run
from recr1.runs.files import read_lines
from recr1.trainers.layers.generation import Clock
from recr1.trainers.stages import Stage
from recr1.trainers.trl.reward import histograms
from recr1.trainers.watch.validation import Validator
from rewards.base import Need, Qrels
from tests.recr1.baselines.world import First, Overlap, World

SPEC = EvaluationSpec(split="validation", measures=("RR@3", "P@1"), every=2)


class Writes:
    """Writes what is set for each need's text."""

    format = Verbatim()

    def __init__(self, said):
        self.said = said

    def generate(self, chats, n):
        return [[self.said[chat[-1]["content"]]] for chat in chats]


@pytest.fixture
def world():
    world = World()
    row = world.catalog.row
    world.splits["validation"] = [
        Need("v1", "red thing"),  # raw: mug-red at 1, pan at 2
        Need("v2", "something to brew leaves in"),  # raw: nothing
        Need("v3", "blue vessel for hot drinks please"),  # raw: mug-blue, pot
    ]
    world.qrels |= {
        "v1": Qrels({row("pan"): 1}),
        "v2": Qrels({row("pot"): 1, row("tea-green"): 1}),
        "v3": Qrels({row("mug-blue"): 2}),
    }
    return world


@pytest.fixture
def validation(world):
    env = Environment(world, Overlap(world.catalog), [(First(), 2.0)], k=4)
    said = {"red thing": "red pan", "something to brew leaves in": "tea", "blue vessel for hot drinks please": "zzz"}
    return Validator(Writes(said), env, SPEC, seed=0)()


def test_the_first_measure_is_told_for_each_slice_that_has_needs(validation):
    under = "eval/validation/RR@3/slice"
    found = {name: value for name, value in validation.numbers.items() if "slice" in name}
    # RR@3: "red pan" finds the pan first, 1; "tea" finds tea-green first, 1; "zzz" finds nothing, 0.
    assert found == {
        f"{under}/words_1-2": 1.0,
        f"{under}/words_3-5": 1.0,
        f"{under}/words_6-10": 0.0,
        f"{under}/relevant_1": 0.5,
        f"{under}/relevant_2-5": 1.0,
    }


def test_followed_needs_have_their_query_ranks_outcome_and_parts(validation):
    first, second, third = validation.queries
    assert first == {
        "need": "v1",
        "text": "red thing",
        "query": "red pan",
        "rank_before": 2,
        "rank_after": 1,
        "outcome": "ok",
        "value": 1.0,
        "reward": 2.0,
        "parts": {"reward/P@1": 1.0},
        "titles": ["1* Red Pan", "2  Red Mug"],
    }
    assert (second["rank_before"], second["rank_after"], second["outcome"]) == (None, 1, "ok")
    assert (third["rank_before"], third["rank_after"], third["outcome"], third["titles"]) == (1, None, "no_hits", [])


def test_histograms_are_of_ranks_that_were_found_and_of_words(validation):
    assert validation.histograms == {
        "eval/validation/histogram/rank": [1, 1],
        "eval/validation/histogram/words": [2, 1, 1],
    }


def test_the_same_needs_are_followed_whatever_the_policy_writes(world):
    world.splits["validation"] = [Need(f"v{n}", "red thing") for n in range(40)]
    world.qrels |= {f"v{n}": Qrels({0: 1}) for n in range(40)}
    env = Environment(world, Overlap(world.catalog), [], k=4)
    shown = [Validator(Writes({"red thing": said}), env, SPEC, seed=0)().queries for said in ("red", "zzz")]
    ids = [[record["need"] for record in records] for records in shown]
    assert ids[0] == ids[1] and len(ids[0]) == 16 and (ids[0][0], ids[0][-1]) == ("v0", "v39")


def test_a_training_step_shows_ranks_that_were_found_and_words_of_valid_queries(world):
    env = Environment(world, Overlap(world.catalog), [], k=4)
    needs = [env.need(name) for name in ("n1", "n2", "n3")]
    chats = [
        [*env.format.render(need), {"role": "assistant", "content": text}]
        for need, text in zip(needs, ["[tea blue pan]", "[green tea]", "no"], strict=True)
    ]
    # "tea blue pan" finds pot (2 words), then mug-blue, relevant, by its row.
    batch = env.step(needs, chats).batch
    found = histograms("train", batch.graded, [rollout.action for rollout in batch.rollouts])
    assert found == {"train/histogram/rank": [2, 1], "train/histogram/words": [3, 2]}


def test_the_queries_of_a_run_are_in_its_folder_and_go_with_a_rewind(tmp_path, validation):
    run = Run.create(tmp_path / "run", {}, {})
    for step in (0, 2):
        run.log_queries(step, "validation", validation.queries)
    run.log(0, {"a": 1.0})
    run.rewind(1)
    lines = read_lines(run.path / "queries.jsonl")
    assert [(line["step"], line["need"]) for line in lines] == [(0, "v1"), (0, "v2"), (0, "v3")]


def test_the_queries_of_a_stage_stand_under_the_step_of_the_whole_run(tmp_path, validation):
    run = Run.create(tmp_path / "run", {}, {}, loggers=[JsonlLogger()])
    stage = Stage(run, "2-grpo", first=5, start=5, last=True, resumed=False)
    stage.log_queries(2, "validation", validation.queries)
    stage.log_histograms(2, {"train/histogram/words": [1.0]})
    assert {line["step"] for line in read_lines(run.path / "queries.jsonl")} == {7}
    shown = [json.loads(line) for line in (run.path / "log.jsonl").open()][1:]
    assert [(line["kind"], line["step"]) for line in shown] == [("table", 7), ("values", 7)]


def test_the_shares_of_a_step_add_up_to_one(monkeypatch):
    now = iter((0.0, 10.0, 12.0, 17.0, 30.0))
    monkeypatch.setattr("recr1.trainers.layers.generation.perf_counter", lambda: next(now))
    clock = Clock()
    clock.start()
    assert clock.around_generation(lambda prompts: prompts, ["a"]) == ["a"]
    clock.stop()
    numbers = clock.numbers({"train/time/search": 2.0, "train/time/rewards": 1.0})
    assert numbers == {
        "train/time/step": 20.0,
        "train/time/generation": 5.0,
        "train/time/update": 12.0,
        "train/time/share/generation": 0.25,
        "train/time/share/search": 0.1,
        "train/time/share/rewards": 0.05,
        "train/time/share/update": 0.6,
    }


def test_a_trainer_that_generates_nothing_has_the_time_of_its_steps_alone():
    clock = Clock()
    clock.start()
    clock.stop()
    assert list(clock.numbers({})) == ["train/time/step"]
