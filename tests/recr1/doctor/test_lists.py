"""The doctor where candidates are put in order: what it checks, what it leaves out, and what it finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recr1.config.build import Part, build
from recr1.doctor import CHECKS, Setup, open_setup, run_checks, worst
from recr1.doctor.policy import POLICY_CHECKS, PolicySetup
from recr1.env import Environment
from recr1.evaluate.references import find_references
from recr1.recipe import Recipe, load_recipe
from rewards.base import Candidate
from rewards.measures import parse_measure
from rewards.measures.reward import MeasureReward
from tests.recr1.baselines.world import Overlap
from tests.recr1.doctor import faults
from tests.recr1.doctor.policy.planted import Says
from tests.recr1.env.test_candidates import IDEAL, SHOWN, Shelf

OF_DATA = ["item_texts", "need_texts", "qrels", "judgements", "ceiling", "splits", "prompt", "rewards"]


def found(name, shelf=None, reward=None):
    shelf = shelf or Shelf()
    env = Environment(shelf, Overlap(shelf.catalog), [(reward or MeasureReward(measure="nDCG@3"), 1.0)], 3)
    return CHECKS[name](Setup(env, "nDCG@3"))


def test_data_and_rewards_are_checked_and_the_retriever_is_left_out_in_one_line():
    small = ["task.task.items=300", "task.task.train=300", "task.task.validation=60", "task.task.test=60"]
    findings = list(run_checks(open_setup(load_recipe("rerank", small), sample=40)))
    assert [one.name for one in findings] == ["retriever", *OF_DATA]
    assert findings[0].verdict == "ok" and "16 checks left out: lists are not searched for" in findings[0].message
    assert worst(findings) != "error", findings
    assert len(CHECKS) == 16 + len(OF_DATA)


def test_the_ceiling_is_that_of_the_candidates():
    shelf = Shelf()
    finding, env = found("ceiling", shelf), Environment(shelf, Overlap(shelf.catalog), [], 3)
    needs = Setup(env, "nDCG@3").judged_needs
    references = find_references(env, needs, [parse_measure("nDCG@3")])
    for name in ("floor", "shown", "ceiling"):
        assert finding.numbers[name] == pytest.approx(getattr(references, name)["nDCG@3"].mean())
    assert "best_items_found_by_text" not in finding.numbers
    assert "as candidates are shown" in finding.message


def test_a_need_without_a_relevant_candidate_is_told():
    shelf = Shelf()
    pan = shelf.catalog.row("pan")
    only = (Candidate(pan, "pan"), Candidate(shelf.catalog.row("pot"), "pot"))
    shelf.splits = {
        split: [replace(need, candidates=only) if need.id == "n1" else need for need in needs]
        for split, needs in shelf.splits.items()
    }
    finding = found("ceiling", shelf)
    assert finding.verdict == "error"
    assert "no order of the candidates has nDCG@3 above 0 ('n1'): take other candidates" in finding.message


def test_rewards_of_lists_rise_from_random_ones_to_the_best():
    numbers = found("rewards").numbers
    assert numbers["random"]["mean"] < numbers["best"]["mean"]
    assert numbers["best"]["mean"] > numbers["shown"]["mean"]


@pytest.mark.parametrize(
    ("pays", "verdict", "message"),
    [
        (lambda batch: np.full(len(batch), 0.25), "error", "every answer has reward 0.250: the reward is constant"),
        (lambda batch: -MeasureReward(measure="nDCG@3")(batch), "error", "better ones are not rewarded"),
        (
            lambda batch: np.array([float(row_K[0] == 0 and len(batch) < 9) for row_K in batch.hits.rows_QK]) + 0.0,
            "warning",
            "of groups of random lists all have the same reward, so nothing is learned: take more candidates",
        ),
    ],
)
def test_rewards_that_teach_nothing_are_found(pays, verdict, message):
    finding = found("rewards", reward=faults.Pays(pays))
    assert (finding.verdict, message in finding.message) == (verdict, True), finding.message


def test_candidates_that_read_alike_are_counted():
    shelf = Shelf()
    shelf.splits = {
        split: [replace(need, candidates=tuple(one._replace(text="mug") for one in need.candidates)) for need in needs]
        for split, needs in shelf.splits.items()
    }
    finding = found("prompt", shelf)
    assert finding.verdict == "warning"
    assert "candidates read like another one of their need" in finding.message


@pytest.mark.parametrize(("text", "verdict"), [("a red mug", "ok"), ("I want mug-red", "error")])
def test_a_candidate_gives_nothing_away_and_the_id_of_a_good_one_in_the_need_does(text, verdict):
    shelf = Shelf()
    shelf.splits = {
        split: [replace(need, text=text) if need.id == "n1" else need for need in needs]
        for split, needs in shelf.splits.items()
    }
    assert SHOWN["n1"][1] == "mug-red" and IDEAL > 3
    finding = found("prompt", shelf)
    assert finding.verdict == verdict, finding.message
    assert ("contain the id of a relevant item" in finding.message) == (verdict == "error")


def opened(folder, *, tagged=False, **policy):
    form = {"type": "ranking", "prompt": "{need} {candidates}", "tagged": tagged}
    part = Part("reranking", {"task": {"type": "toy"}, "count": 4, "words": 2, "format": form})
    task = build("task", part)
    options = {"model": str(folder), "max_new_tokens": 15, **policy}
    recipe = Recipe(0, part, Part("bm25"), 3, (), Part("transformers", options), ())
    return PolicySetup(Setup(Environment(task, faults.Sound(task.catalog), [], k=3), group=4), recipe)


@pytest.mark.parametrize(("most", "verdict"), [(15, "ok"), (12, "warning"), (2, "error")])
def test_lists_must_fit_into_a_completion(random_model, most, verdict):
    finding = POLICY_CHECKS["answer_format"](opened(random_model, max_new_tokens=most))
    assert finding.verdict == verdict, finding.message
    assert ("raise it to" in finding.message) == (verdict != "ok")
    assert finding.numbers["longest"] == 15


def numbered(chat, at):
    """A list of all candidates: as they are shown, or the other way round."""
    numbers = "1234"[: chat[-1]["content"].count(". ")]
    return " > ".join(reversed(numbers) if at % 2 else numbers)


@pytest.mark.parametrize(
    ("line", "verdict", "message"),
    [
        (numbered, "ok", "sampled at 1: 100% lists, 100% end, 50% copy"),
        (lambda chat, at: "red mug", "error", "few lists: 32 of 32 are no list (' red mug')"),
        (lambda chat, at: numbered(chat, 0), "warning", "order shown: "),
    ],
)
def test_completions_are_lists_or_not(random_model, line, verdict, message):
    setup = opened(random_model)
    vars(setup)["policy"] = Says(setup.policy, line)
    finding = POLICY_CHECKS["completions"](setup)
    assert (finding.verdict, message in finding.message) == (verdict, True), finding.message
