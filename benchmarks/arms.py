"""Train recipes that differ in a few values, one after another, for `reward_shapes.py` and `guards.py`.

Not a benchmark itself. Results that are already in the folder are not computed again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.config.build import Part, build
from recr1.env import Environment, open_environment
from recr1.evaluate import Evaluation, Evaluator
from recr1.evaluate.references import References, find_references
from recr1.judge.difference import bounds_text, p_text, paired_test
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run
from rewards.base import Search
from rewards.guards.catalog import unknown_words
from rewards.guards.words import repeated_runs, words_of
from rewards.measures import parse_measure

MEASURE = "nDCG@10"
SPLIT = "test"
LAST = 10
"""Training steps at the end whose sampled queries are described."""
SHOWN = 20
"""Queries that are kept to be read."""
SAMPLED = {"words": "query/words", "repeated": "query/repeated", "unknown": "query/known", "unique": "query/unique"}


def result_of(
    folder: Path, overrides: Sequence[str], seed: int, engines: Mapping[str, Mapping[str, Any]], *, bounds: bool
) -> dict[str, Any]:
    """What came of the quickstart with these values in the shop of this seed; trained where it is not there yet.

    Args:
        folder: Where the run and its `result.json` are.
        overrides: Values of the recipe.
        seed: Of the training and of the shop.
        engines: Retrievers beside the recipe's that search what the policy wrote for it.
        bounds: Whether floor and ceiling are wanted for these too: they are the same for every policy of a shop.
    """
    kept = folder / "result.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        values = [*overrides, f"seed={seed}", f"task.seed={seed}"]
        print(f"{time.strftime('%H:%M:%S')}  {folder.parent.name}, seed {seed}", flush=True)
        result = _trained(load_recipe("quickstart", values), folder, engines, bounds=bounds)
        kept.write_text(json.dumps({"overrides": values, **result}))
    result = json.loads(kept.read_text())
    if result["overrides"] != [*overrides, f"seed={seed}", f"task.seed={seed}"]:
        raise SystemExit(f"{folder} is of other values of the recipe: remove it, or choose another --out")
    return dict(result)


def _trained(recipe: Recipe, folder: Path, engines: Mapping[str, Mapping[str, Any]], *, bounds: bool) -> dict[str, Any]:
    assert recipe.trainer is not None
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    run = Run.create(folder, recipe.to_dict(), {"seed": recipe.seed})
    spent = time.process_time()
    build("trainer", recipe.trainer).train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    spent = time.process_time() - spent
    run.finish("finished")
    policy = build("policy", Part(recipe.policy.type, {**recipe.policy.options, "model": str(run.policy_path)}))
    found = Evaluator(env, SPLIT, [MEASURE], seed=recipe.seed)(policy, name="trained")
    lines = run.read_metrics()
    return {
        "steps": max(line["step"] for line in lines),
        "seconds": spent,
        "engines": {
            recipe.retriever.type: {"needs": found.per_need(MEASURE).tolist(), **_bounds(found.references)},
            **{name: _elsewhere(found, spec, bounds=bounds) for name, spec in engines.items()},
        },
        "curve": {
            line["step"]: line[f"eval/validation/{MEASURE}"] for line in lines if f"eval/validation/{MEASURE}" in line
        },
        "greedy": _queries(found),
        "sampled": _sampled(lines),
        "examples": [str(action.query) if isinstance(action, Search) else None for (action,) in found.actions[:SHOWN]],
    }


def _elsewhere(found: Evaluation, spec: Mapping[str, Any], *, bounds: bool) -> dict[str, Any]:
    """What another engine finds for the same queries."""
    task, measure = found.env.task, parse_measure(MEASURE)
    env = Environment(task, build("retriever", dict(spec), task.catalog), [], measure.cutoff)
    rows_NK = env.search([action.query if isinstance(action, Search) else None for (action,) in found.actions]).rows_QK
    needs = measure(rows_NK, [task.qrels[need.id] for need in found.needs], task.catalog).tolist()
    return {"needs": needs, **(_bounds(find_references(env, found.needs, [measure])) if bounds else {})}


def _bounds(references: References) -> dict[str, float]:
    return {"floor": _mean(references.floor[MEASURE]), "ceiling": _mean(references.ceiling[MEASURE])}


def _queries(found: Evaluation) -> dict[str, float]:
    """Words a query, and the shares of words that were said before and that no item holds."""
    texts = [str(action.query) for (action,) in found.actions if isinstance(action, Search)]
    count = sum(len(words_of(text)) for text in texts)
    return {
        "words": count / max(len(texts), 1),
        "repeated": sum(repeated_runs(text, 1)[0] for text in texts) / max(count, 1),
        "unknown": sum(unknown_words(text, found.env.task.catalog)[0] for text in texts) / max(count, 1),
        "invalid": 1 - len(texts) / len(found.actions),
    }


def _sampled(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The same of the queries that were sampled in the last training steps, as the log has them."""
    training = [line for line in lines if "train/reward" in line][-LAST:]
    means = {name: _mean([line[f"train/{metric}"] for line in training]) for name, metric in SAMPLED.items()}
    return {**means, "unknown": 1 - means["unknown"]}  # the log has the share that is known


def difference(results: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]], engine: str) -> str:
    """The mean difference on the same needs, by seed, then over the needs of all seeds with its interval and p."""
    pairs = [(needs_of(one, engine), needs_of(other, engine)) for one, other in zip(results, base, strict=True)]
    by_seed = ", ".join(f"{_mean(one - other):+.3f}" for one, other in pairs)
    test = paired_test(np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs]), seed=0)
    return f"{by_seed} | {test.difference:+.3f} ({bounds_text(test.low, test.high)}, {p_text(test.p)})"


def needs_of(result: Mapping[str, Any], engine: str) -> NDArray[np.float64]:
    """(N,) nDCG@10 of each need."""
    return np.array(result["engines"][engine]["needs"], np.float64)


def _mean(values: Any) -> float:
    return float(np.mean(np.asarray(values, np.float64)))
