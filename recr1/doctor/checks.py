"""All checks, and how they are run: open what a recipe names, then call each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from time import perf_counter, process_time
from typing import Any

from recr1.config.build import Part, build
from recr1.doctor.base import VERDICTS, Finding, PartFailed, Setup, Verdict, catching
from recr1.doctor.judgements import judgements
from recr1.doctor.operators import operators
from recr1.doctor.queries import every_word, no_match, odd_queries, one_word
from recr1.doctor.repeats import depth, deterministic, empty_answers, history
from recr1.doctor.retriever import index, ranking, titles
from recr1.doctor.rewards import rewards
from recr1.doctor.speed import latency
from recr1.doctor.splits import splits
from recr1.doctor.task import ceiling, prompt, qrels
from recr1.doctor.texts import item_texts, need_texts
from recr1.doctor.words import long_queries, separators, word_kinds
from recr1.env import Environment
from recr1.evaluate.references import TEXT_WORDS
from recr1.recipe import Recipe

_OF_RETRIEVER = (
    *(index, titles, ranking, one_word, word_kinds, every_word, long_queries, separators, operators),
    *(deterministic, depth, empty_answers, no_match, odd_queries),
)
_OF_TASK = (item_texts, need_texts, qrels, judgements, ceiling, splits, prompt, rewards)
CHECKS: Mapping[str, Callable[[Setup], Finding]] = {
    check.__name__: check for check in (*_OF_RETRIEVER, *_OF_TASK, latency, history)
}
"""Every check by its name, in the order in which they run."""

BUDGET = 25.0
"""Seconds that all checks may spend on searches: the sample of a slow engine is smaller."""
QUERIES_PER_SAMPLE = 60
"""Queries that all checks search for each need or item of the sample, roughly."""
SMALLEST_SAMPLE = 10


def open_setup(
    recipe: Recipe, *, step_seconds: float = 5.0, sample: int = 200, clock: Callable[[], float] = perf_counter
) -> Setup:
    """Open the task and build the index; loads no model.

    Raises `UserError` for a mistake in the recipe or its data, and `PartFailed` for any other exception of a part.
    """
    start = clock()
    with catching(f"opening the task '{recipe.task.type}'"):
        task = build("task", recipe.task)
    opened = clock()
    engine = recipe.retriever
    while engine.type == "cached":  # a cache would hide the differences and the latency of what is behind it
        engine = Part.from_dict(engine.options["retriever"])
    with catching(f"opening the retriever '{engine.type}'"):
        retriever = build("retriever", engine, task.catalog)
    built = clock()
    weighted = [
        (build("reward", part, path=f"rewards.{place}"), weight) for place, (part, weight) in enumerate(recipe.rewards)
    ]
    with catching("joining task, retriever and rewards"):
        env = Environment(task, retriever, weighted, recipe.k)
    trl = (recipe.trainer.options.get("trl") or {}) if recipe.trainer else {}
    setup = Setup(
        env=env,
        main_measure=recipe.evaluate.measures[0],
        group=int(trl.get("num_generations") or Setup.group),
        batch=_batch(trl) if recipe.trainer else Setup.batch,
        step_seconds=step_seconds,
        sample=sample,
        seed=recipe.seed,
        opened={"task": opened - start, "index": built - opened},
        without_cache=engine != recipe.retriever,
    )
    times = {} if env.reranks or env.reads_histories else _first_searches(setup, clock)
    most = int(BUDGET / max(times.get("each", 0) * QUERIES_PER_SAMPLE, 1e-9))
    affordable = min(sample, max(SMALLEST_SAMPLE, most))
    return replace(setup, sample=affordable, reduced=affordable < sample, opened={**setup.opened, **times})


def run_checks(setup: Setup) -> Iterator[Finding]:
    """Yield each finding as it is made; a part that fails is an error of that check.

    An engine that answers nothing, or that fails the first search, is the last finding: all others would be the same.
    Where needs have candidates, nothing is searched for an answer: checks of the retriever are left out. So are they
    for a recommender, as they ask for words.
    """
    env = setup.env
    kept = set(_OF_TASK) if env.reranks or env.reads_histories else set(CHECKS.values())
    if env.reads_histories and not env.reranks:
        kept -= {rewards}  # its queries are words
    checks = {name: check for name, check in CHECKS.items() if check in kept}
    if left_out := len(CHECKS) - len(checks):
        why = (
            "lists are not searched for, and it orders candidates for the floor alone; to check it, set task to the "
            "one inside of this"
            if env.reranks
            else "they search for words, and this one reads histories"
        )
        yield Finding("retriever", "ok", f"{left_out} checks left out: {why}")
    for name, check in checks.items():
        try:
            yield check(setup)
        except PartFailed as failed:
            if failed.unreachable or (failed.remote and name == "index"):
                yield Finding(name, "error", f"{failed}; fix this first: nothing else can be checked")
                return
            yield Finding(name, "error", f"{failed}: training would stop here")


def worst(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")


def _batch(trl: Mapping[str, Any]) -> int:
    """Completions that one process searches in one call, by TRL's rules and defaults."""
    if trl.get("generation_batch_size"):
        return int(trl["generation_batch_size"])
    steps = trl.get("steps_per_generation") or trl.get("gradient_accumulation_steps") or 1
    return int(trl.get("per_device_train_batch_size") or 8) * int(steps)


def _first_searches(setup: Setup, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of the first search, on the clock and of the processor; of one query; of each query of a later batch.

    Nothing where a search fails: the checks report it.
    """
    # Half of the queries of the checks are short; the other half are texts of items, cut as the ceiling cuts them.
    rows = setup.probes[:5]
    long = [" ".join(setup.catalog.texts[row].split()[:TEXT_WORDS]) for row in rows]
    texts = [*(setup.titles[row] for row in rows), *long] or ["x"]
    ends, busy = [clock()], [process_time()]
    try:
        for queries in (texts, texts[:1], texts[:1], texts[:1], texts):  # the first compiles and connects
            setup.search(queries)
            ends.append(clock())
            busy.append(process_time())
    except PartFailed:
        return {}
    first, *singly, batch = (end - start for start, end in pairwise(ends))
    return {"first": first, "first_busy": busy[1] - busy[0], "query": min(singly), "each": batch / len(texts)}
