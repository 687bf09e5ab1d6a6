"""One pair of policies through every command that judges: the same difference, in the same words and digits."""

from __future__ import annotations

import re

import pytest

from recr1.baselines.without_model import Echo, Scripted
from recr1.compare import Comparison, measured, verdict, verdicts
from recr1.compare import tables as compare_tables
from recr1.cross import cross, cross_tables
from recr1.env import open_environment
from recr1.evaluate import Evaluator
from recr1.evaluate.files import write
from recr1.evaluate.report import table
from recr1.evaluate.report import verdict as eval_verdict
from recr1.recipe import load_recipe
from recr1.report import read_run
from recr1.report.groups import grouped
from recr1.report.groups import verdict as report_verdict
from recr1.report.tables import results, rivals
from recr1.rescore import Rescorer, read_written, sentences
from recr1.rescore import tables as rescore_tables
from recr1.runs import Run
from recr1.swap import swap, swap_tables
from retrievers.bm25.rank_bm25 import RankBM25

RECIPE = """\
# Written by a test. Any CPU.
seed: 3
task: {type: shop, items: 300, train: 20, validation: 20, test: 80}
retriever: {type: bm25}
k: 10
rewards:
  - {type: measure, measure: nDCG@10, weight: 1.0}
policy: {type: echo}
evaluate: {split: test, measures: [nDCG@10]}
"""


class Judged:
    """The untrained policy writes half of each need, the trained ones the text of a best item, but for a few needs."""

    def __init__(self, folder):
        path = folder / "recipe.yaml"
        path.write_text(RECIPE)
        recipe = load_recipe(path)
        self.env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
        task = self.env.task
        needs = task.needs("test")
        best = {need.id: max(task.qrels[need.id], key=lambda row, key=task.qrels[need.id]: key[row]) for need in needs}
        halves = {need.text: need.text[: len(need.text) // 2] for need in needs}
        texts = [
            {n.text: task.catalog.texts[best[n.id]] if place % 9 != seed else n.text for place, n in enumerate(needs)}
            for seed in range(2)
        ]
        self.seeds = [lambda answers=answers: Scripted(answers=answers) for answers in texts]
        self.policies = {"untrained": lambda: Scripted(answers=halves), "trained": self.seeds[0]}
        self.evaluator = Evaluator(self.env, "test", ["nDCG@10"], seed=recipe.seed)
        self.done = [self.evaluator(make(), name=name) for name, make in self.policies.items()]
        self.runs = [self._run(folder / f"run{seed}", recipe, seed) for seed in range(2)]
        self.run = self.runs[0]

    def _run(self, path, recipe, seed):
        run = Run.create(path, {**recipe.to_dict(), "seed": seed}, {"seed": seed})
        run.finish("finished")
        for one in [self.done[0], self.evaluator(self.seeds[seed](), name="trained")]:
            write(one, run.path / "eval" / "test" / one.name)
        return run


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    return Judged(tmp_path_factory.mktemp("judged"))


def said(judged):
    """Each command -> its sentences and the cells of its tables."""
    done, env = judged.done, judged.env
    makers = {"raw": Echo, **judged.policies}
    compared = Comparison([measured(judged.evaluator, [make], name, name) for name, make in makers.items()])
    written = read_written(judged.run)
    rescorer = Rescorer(env, judged.evaluator.measures, written, seed=3)
    rescored = {one.name: rescorer(one).summary for one in written}
    group = grouped([read_run(judged.run.path)])[0]
    pooled = group.splits["test"]
    others = {"rank_bm25": RankBM25(env.task.catalog)}
    swapped, alone = swap(done, others, "bm25"), swap(done[1:], others, "bm25")
    crossed = cross(
        {"home": judged.evaluator}, {"home": judged.policies["untrained"]}, {"trained": judged.policies["trained"]},
        {"trained": "home"},
    )  # fmt: skip
    return {
        "eval": (eval_verdict(done), [table(done)]),
        "compare": (verdicts(compared).values(), compare_tables(compared.summary)),
        "rescore": (sentences(rescored), rescore_tables(rescored)),
        "report": ([report_verdict(group).sentence], [*results(group, "test"), rivals(pooled, "nDCG@10")]),
        "swap": (swapped.verdict(), swap_tables(swapped.summary)),
        "swap of one": (alone.verdict(), swap_tables(alone.summary)),
        "cross": ([line.replace("start", "untrained") for line in crossed.verdict()], cross_tables(crossed)),
    }


@pytest.fixture(scope="module")
def all_said(judged):
    return said(judged)


NUMBER = r"[-+]\d\.\d{3}"
PHRASE = rf": {NUMBER} nDCG@10 \(95% interval {NUMBER} to {NUMBER}, p [<=] \d\.\d{{3}}, 80 needs\): \w+"


@pytest.mark.parametrize(
    ("pair", "commands"),
    [
        ("trained against untrained", ["eval", "report", "swap", "cross"]),
        ("trained against the raw need", ["eval", "compare", "rescore", "report", "swap of one"]),
    ],
)
def test_a_difference_is_said_in_the_same_words_and_digits_everywhere(all_said, pair, commands):
    phrases = {name: re.findall(rf"(?<!un){pair}{PHRASE}", "\n".join(all_said[name][0])) for name in commands}
    first = phrases["eval"][0]
    assert first.endswith(", p < 0.001, 80 needs): better")
    assert {name: found[0] for name, found in phrases.items()} == dict.fromkeys(commands, first)


def test_compare_says_of_two_policies_what_eval_says(judged):
    policies = [measured(judged.evaluator, [make], name, name) for name, make in judged.policies.items()]
    (sentence,) = verdicts(Comparison(policies)).values()
    assert sentence == eval_verdict(judged.done)[1]


def test_compare_and_report_say_the_same_of_several_seeds(judged):
    group = grouped([read_run(run.path) for run in judged.runs])[0]
    raw = measured(judged.evaluator, [Echo], "raw", "raw")
    sentence = verdict(Comparison([raw, measured(judged.evaluator, judged.seeds, "trained", "trained")]))
    found = re.findall(rf"trained against the raw need{PHRASE}", f"{sentence}\n{report_verdict(group).sentence}")
    assert len(found) == 2 and all(one.endswith(", 80 needs): better") for one in found)
    numbers = [re.findall(NUMBER, one) for one in found]
    assert numbers[0] == numbers[1] != re.findall(NUMBER, eval_verdict(judged.done)[0])


def cells(tables):
    return [cell for one in tables for row in one.rows for cell in row]


def test_levels_and_differences_have_the_same_cells_everywhere(all_said):
    level = all_said["eval"][1][0].rows[2][1]
    assert " p < 0.001\n" in level
    for name in ("compare", "swap", "cross"):
        assert level in cells(all_said[name][1]), name
    assert level.replace(" p < 0.001", "") in cells(all_said["report"][1])
    sentence = next(line for line in all_said["eval"][0] if "the raw need" in line)
    size, low, high = re.findall(NUMBER, sentence)
    for name in ("rescore", "report", "swap of one"):
        assert f"{size} p < 0.001\n{low} to {high}" in cells(all_said[name][1]), name
