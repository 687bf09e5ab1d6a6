"""From a recipe to findings: opens what it names, then asks every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from recr1.config.build import Part, build
from recr1.doctor.base import VERDICTS, Finding, PartFailed, Patient, Verdict, watching
from recr1.doctor.determinism import deterministic
from recr1.doctor.index import index, titles
from recr1.doctor.latency import latency
from recr1.doctor.operators import operators
from recr1.doctor.pay import rewards
from recr1.doctor.prompt import prompt
from recr1.doctor.qrels import ceiling, qrels
from recr1.doctor.splits import splits
from recr1.doctor.words import every_word, no_match, odd_queries, one_word
from recr1.env import Environment
from recr1.evaluate.references import TEXT_WORDS
from recr1.recipe import Recipe

CHECKS: Mapping[str, Callable[[Patient], Finding]] = {
    "index": index,
    "titles": titles,
    "one_word": one_word,
    "every_word": every_word,
    "operators": operators,
    "deterministic": deterministic,
    "no_match": no_match,
    "odd_queries": odd_queries,
    "qrels": qrels,
    "ceiling": ceiling,
    "splits": splits,
    "prompt": prompt,
    "rewards": rewards,
    "latency": latency,
}
"""Every check by its name, in the order in which they are made."""

BUDGET = 25.0
"""Seconds that the checks may spend on searches: the sample of a slow engine is smaller."""
QUERIES_PER_SAMPLE = 50
"""About how many queries all checks together search for each need or item of the sample."""
SMALLEST_SAMPLE = 10


def open_patient(
    recipe: Recipe, *, step_seconds: float = 5.0, sample: int = 200, clock: Callable[[], float] = perf_counter
) -> Patient:
    """Opens the task and builds the index; loads no model.

    Raises:
        UserError: For what is wrong with the recipe or its data.
        PartFailed: When the task, the retriever or a reward cannot be opened for another reason.
    """
    start = clock()
    with watching(f"opening the task '{recipe.task.type}'"):
        task = build("task", recipe.task)
    opened = clock()
    engine = _without_cache(recipe.retriever)
    with watching(f"opening the retriever '{engine.type}'"):
        retriever = build("retriever", engine, task.catalog)
    built = clock()
    paid = [
        (build("reward", part, path=f"rewards.{place}"), weight) for place, (part, weight) in enumerate(recipe.rewards)
    ]
    with watching("joining task, retriever and rewards"):
        env = Environment(task, retriever, paid, recipe.k)
    trl = _trl(recipe.trainer)
    patient = Patient(
        env=env,
        main_measure=recipe.evaluate.measures[0],
        group=int(trl.get("num_generations") or Patient.group),
        batch=_batch(trl) if recipe.trainer else Patient.batch,
        step_seconds=step_seconds,
        sample=sample,
        seed=recipe.seed,
        opened={"task": opened - start, "index": built - opened},
        without_cache=engine != recipe.retriever,
    )
    affordable = _affordable(patient, clock)
    return replace(patient, sample=affordable, cut=affordable < sample)


def examine(patient: Patient) -> Iterator[Finding]:
    """Every finding as it is made; a part that fails is an error of the check that met it.

    Where an engine is silent, or refuses the first search, that is the last finding: the others would say the same.
    """
    for name, check in CHECKS.items():
        try:
            yield check(patient)
        except PartFailed as failed:
            if failed.silent or (failed.remote and name == "index"):
                yield Finding(name, "error", f"{failed}; nothing else can be checked before this is put right")
                return
            yield Finding(name, "error", f"{failed}: a training run would stop here")


def worst(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")


def _without_cache(retriever: Part) -> Part:
    """What a cache asks: with it, a search is compared with its own memory, and takes no time."""
    while retriever.type == "cached":
        retriever = Part.from_dict(retriever.options["retriever"])
    return retriever


def _trl(trainer: Part | None) -> Mapping[str, Any]:
    return (trainer.options.get("trl") or {}) if trainer else {}


def _batch(trl: Mapping[str, Any]) -> int:
    """Completions that one process searches together, by TRL's rules and defaults."""
    if trl.get("generation_batch_size"):
        return int(trl["generation_batch_size"])
    steps = trl.get("steps_per_generation") or trl.get("gradient_accumulation_steps") or 1
    return int(trl.get("per_device_train_batch_size") or 8) * int(steps)


def _affordable(patient: Patient, clock: Callable[[], float]) -> int:
    """The sample that all checks can search within the budget; never more than was asked for."""
    # Half of what the checks search is short; the other half are texts of items, cut as the ceiling cuts them.
    rows = patient.probes[:5]
    long = [" ".join(patient.catalog.texts[row].split()[:TEXT_WORDS]) for row in rows]
    texts = [*(patient.titles[row] for row in rows), *long] or ["x"]
    try:
        patient.search(texts)  # what compiles or connects first is not counted
        start = clock()
        patient.search(texts)
    except PartFailed:
        return patient.sample  # the checks will say so
    seconds = (clock() - start) / len(texts)
    most = int(BUDGET / max(seconds * QUERIES_PER_SAMPLE, 1e-9))
    return min(patient.sample, max(SMALLEST_SAMPLE, most))
