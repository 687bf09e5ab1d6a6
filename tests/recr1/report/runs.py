"""Small run folders as training and `recr1 eval` leave them, on the toy shop; only the policy is a script."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recr1.baselines.without_model import Echo
from recr1.env import Environment, chat_with, metrics, open_environment
from recr1.evaluate import Evaluator
from recr1.evaluate.files import write
from recr1.recipe import load_recipe
from recr1.runs import Run
from retrievers.abilities import retriever_fingerprint

HOSTILE = "<script>alert(1)</script> |[x](javascript:1)| `lamp`"
RECIPE = """\
# A toy, written by a test. Any CPU.
seed: {seed}
task: {{type: toy}}
retriever: {{type: bm25}}
k: 10
rewards:
  - {{type: measure, measure: nDCG@10, weight: 1.0}}
policy: {{type: echo}}
evaluate: {{split: test, measures: [nDCG@10, Success@1]}}
"""


class Answers:
    """Writes the text of the best item, but something hostile for the need that its own words serve best."""

    def __init__(self, env: Environment, split: str, skill: float = 1.0) -> None:
        needs = env.task.needs(split)
        known = needs[: round(skill * len(needs))]
        self.answers = [need.text for need in needs]
        for place, need in enumerate(known):
            qrels = env.task.qrels[need.id]
            self.answers[place] = env.task.catalog.texts[max(qrels, key=lambda row: qrels[row])]
        raw = Evaluator(env, split, ["nDCG@10"])(Echo()).per_need("nDCG@10")
        self.answers[int(np.argmax(raw))] = HOSTILE

    def generate(self, chats, n):
        return [[answer] * max(n, 1) for answer in self.answers[: len(chats)]]


def make_run(
    folder: Path, *, seed: int = 0, steps: int = 12, skill: float = 1.0, judged: bool = True, second: str | None = None
) -> Run:
    """A finished run of `steps` logged steps, with rollouts of every fourth."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(RECIPE.format(seed=seed))
    recipe = load_recipe(path)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    catalog = env.task.catalog
    facts = {
        "seed": seed,
        "catalog": catalog.fingerprint,
        "retriever": retriever_fingerprint(recipe.retriever.to_dict(), catalog, env.retriever),
    }
    run = Run.create(folder, recipe.to_dict(), facts)
    needs = env.task.needs("train")
    for step in range(1, steps + 1):
        chats = [chat_with(env.format.render(need), f"{need.text} {'lamp ' * (step % 3)}") for need in needs]
        result = env.step(needs, chats)
        extra = {
            "entropy": 2 / step,
            "kl": 0.01 * step,
            "frac_reward_zero_std": 0.1,
            "time/step": 0.5,
            "num_tokens": 10,
        }
        run.log(step, {f"train/{name}": value for name, value in {**metrics(result), **extra}.items()})
        if step % 4 == 0:
            run.log_rollouts(step, result)
        if step % 6 == 0:
            run.log(step, Evaluator(env, "validation", ["nDCG@10"])(Echo()).metrics())
    run.finish("finished")
    if judged:
        for name, policy in (("untrained", Echo()), ("trained", Answers(env, "test", skill))):
            found = Evaluator(env, "test", ["nDCG@10", "Success@1"], second_opinion=second)(policy, name=name)
            write(found, run.path / "eval" / "test" / name)
    return run
