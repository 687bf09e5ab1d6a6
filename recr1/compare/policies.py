"""The policies of a comparison: how the command line lists them, how each is measured, and what a query costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from recr1.baselines.access import NeedsAccess, Visible, prepare
from recr1.config.build import Part, build, check_part, find_class, options_of_part
from recr1.config.spelling import read_part, spell_part
from recr1.env import Environment, written
from recr1.errors import RecipeError, UserError
from recr1.evaluate import Evaluation, Evaluator
from recr1.evaluate.answers import rating_errors
from recr1.evaluate.gated import with_likelihoods
from recr1.formats import Format
from recr1.gate import Gate
from recr1.gate.outcome import gate_of, remarks_on_gate
from recr1.judge.stats import Doubles, mean_interval
from recr1.policies import Policy
from recr1.policies.base import Likely, Spent, format_of, spent_by
from recr1.policies.model_cache import ModelCache, models_of
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run, policy_of
from recr1.runs.files import runs_here
from recr1.runs.targets import trained_part
from retrievers.progress import ProgressBar
from retrievers.store import expanded
from rewards.base import Chat

USUAL = ("raw", "keywords", "prf", "untrained", "few_shot", "prompt_search", "best_of_8", "best_item")
"""What is compared by default; a run that is the target comes last."""

_NUMBERED = {"best_of": "n", "few_shot": "shots"}
"""Policies that a number may follow, and the option that it is."""


@dataclass(frozen=True)
class ListedPolicy:
    """A policy of `--policies`, read but not built."""

    label: str
    spec: str  # as given in `--policies`
    parts: Sequence[Part] = ()  # one for each seed
    samples: int = 0
    """Completions per need, whose measures are averaged; 0 is one greedy completion."""
    trained: bool = False  # whether it comes from run folders
    notes: tuple[str, ...] = ()
    """What a reader of its numbers must know."""
    runs: Sequence[Mapping[str, Any]] = ()
    """The run of each part (`recr1.runs.policy_of`); empty for a policy without a run."""
    gates: Sequence[Gate] = ()
    """The gate of each part; empty where a run has none, and for samples."""


def read_policies(texts: Sequence[str], recipe: Recipe, measure: str) -> list[ListedPolicy]:
    """The policies of `--policies`; raises `UserError` with every mistake.

    Each is `[LABEL=]POLICY[:SAMPLES]`. POLICY is "raw", "untrained" (the recipe's), a run folder, several with "+"
    between them (seeds of one recipe), or a type with options in brackets; `best_of_8` is `best_of(n=8)`.
    SAMPLES completions per need are averaged; without it the one completion is greedy.

    Args:
        texts: The list, split at its commas.
        recipe: Its policy is used by those that are made of a policy; its task is what all are compared on.
        measure: What an upper bound optimizes.
    """
    named = [_read(text, recipe, measure) for text in texts]
    problems = []
    for one in named:
        for part in one.parts:
            problems += [str(problem) for problem in check_part("policy", part.to_dict(), one.label)]
            if not problems and (ask := getattr(find_class("policy", part.type), "missing_libraries", None)):
                problems += [f"{one.label}: {missing}" for missing in ask(part.options)]
    listed = Counter(one.label for one in named)
    problems += [
        f"{n}: is listed twice; call one of them LABEL=..." for n, count in sorted(listed.items()) if count > 1
    ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)), "--policies")
    return named


def _read(text: str, recipe: Recipe, measure: str) -> ListedPolicy:
    named = re.fullmatch(r"\s*([\w .@-]+?)\s*=\s*(.+)", text, re.DOTALL)  # no label: the "=" is inside of brackets
    label, spec = (named[1], named[2].strip()) if named else ("", text.strip())
    sampled = re.fullmatch(r"(.+):([1-9][0-9]{0,3})", spec, re.DOTALL)
    plain, samples = (sampled[1], int(sampled[2])) if sampled else (spec, 0)
    folders = [expanded(piece.strip()) for piece in plain.split("+")]
    if not all(folder.is_dir() for folder in folders):
        return ListedPolicy(label or spec, text, [_of_type(plain, recipe, measure)], samples)
    label = label or "+".join(folder.resolve().name for folder in folders) + spec[len(plain) :]
    parts, notes, runs, gates = zip(*(_of_run(folder, recipe) for folder in folders), strict=True)
    told = list(dict.fromkeys(note for of_run in notes for note in of_run))
    if any(gates) and (samples or not all(gates)):
        told.append("its gate is not shown, as " + ("samples have none" if samples else "not all its runs have one"))
        gates = ()
    kept = gates if all(gates) else ()
    return ListedPolicy(label, text, parts, samples, trained=True, notes=tuple(told), runs=runs, gates=kept)


def _of_type(text: str, recipe: Recipe, measure: str) -> Part:
    if text in ("raw", "untrained"):
        return Part("echo") if text == "raw" else recipe.policy
    if "/" in text and "(" not in text:
        listed = ", ".join(runs_here(Path(text).parent)) or "none"
        raise UserError(f"--policies: there is no run folder {text!r} (runs here: {listed})")
    numbered = re.fullmatch(r"(best_of|few_shot)_([0-9]{1,4})", text)
    part = Part(numbered[1], {_NUMBERED[numbered[1]]: int(numbered[2])}) if numbered else read_part(text)
    try:
        known = options_of_part("policy", part.type)
    except UserError as error:
        raise UserError(f"--policies: there is no policy or run folder {text!r}: {error}") from error
    given = {"policy": recipe.policy.to_dict(), "measure": measure}
    return Part(part.type, {name: value for name, value in given.items() if name in known} | dict(part.options))


def _of_run(folder: Path, recipe: Recipe) -> tuple[Part, tuple[str, ...], dict[str, Any], Gate | None]:
    """The policy of a run, notes (another task or retriever, an unfinished run), facts of the run, and its gate."""
    run = Run.open(folder)
    own = load_recipe(run.path / "recipe.yaml")
    other = [name for name in ("task", "retriever") if getattr(own, name) != getattr(recipe, name)]
    notes = tuple(f"trained with another {name}, {spell_part(getattr(own, name))}" for name in other)
    unfinished = [text] if (text := run.unfinished()) else []
    gate = gate_of(run)
    return trained_part(run, own.policy), (*notes, *unfinished, *remarks_on_gate(gate, run)), policy_of(run), gate


class Cost(NamedTuple):
    """What a query costs, and the setup before the first one: finding examples or a prompt, reading the catalog.

    `milliseconds` are wall time, with the searches that the policy itself makes, without the final search. Tokens are 0
    if the policy is not a language model; `setup_tokens` are those read and written.
    """

    milliseconds: float
    tokens_read: float
    tokens_written: float
    setup_seconds: float
    setup_tokens: int


@dataclass(frozen=True, kw_only=True)
class ComparedPolicy(ListedPolicy):
    """A row of the table: a policy with an evaluation for each of its S seeds, all on the same needs."""

    evaluations: Sequence[Evaluation]
    costs: Sequence[Cost]
    sees: tuple[Visible, ...]

    @property
    def bound(self) -> bool:
        """Whether it reads the answers: then it is an upper bound, not a rival."""
        return "answers" in self.sees

    @property
    def first(self) -> Evaluation:
        """The evaluation of the first seed."""
        return self.evaluations[0]

    def by_seed(self, measure: str) -> Doubles:
        """(S, N) the measure for each seed and need."""
        return np.array([evaluation.per_need(measure) for evaluation in self.evaluations])

    def per_need(self, measure: str) -> Doubles:
        """(N,) the mean over the seeds."""
        means: Doubles = self.by_seed(measure).mean(axis=0)
        return means

    def _ratings(self) -> dict[str, float]:
        """RMSE, MAE and entropy of its ratings, means over the seeds; empty without needs with ratings."""
        found = [own["policy"] for one in self.evaluations if (own := rating_errors(one))]
        return {name: float(np.mean([of[name] for of in found])) for name in (found[0] if found else ())}

    def as_mapping(self, seed: int) -> dict[str, Any]:
        """Its part of `compare.json`; cost and behaviour are means over the seeds, queries are of the first seed."""
        firsts = [(a, c) for (a, *_), (c, *_) in zip(self.first.actions, self.first.completions, strict=True)]
        costs = dict(zip(Cost._fields, np.mean(self.costs, axis=0).tolist(), strict=True))
        behaviours, names = [evaluation.behaviour() for evaluation in self.evaluations], list(self.first.values)
        return {
            "spec": self.spec,
            "seeds": len(self.evaluations),
            "samples": self.samples,
            "sees": list(self.sees),
            "bound": self.bound,
            "trained": self.trained,
            "notes": list(self.notes),
            "runs": [dict(run) for run in self.runs],
            "measures": {name: mean_interval(self.by_seed(name), seed=seed)._asdict() for name in names},
            "cost": costs | {"setup_tokens": round(costs["setup_tokens"])},
            "behaviour": {
                name: float(np.mean([behaviour[name] for behaviour in behaviours]))
                for name in ("query_words", "invalid", "no_hits", "success_of_valid")
                if name in behaviours[0]
            },
            **({"ratings": ratings} if (ratings := self._ratings()) else {}),
            "per_seed": {name: self.by_seed(name).mean(axis=1).tolist() for name in names},
            "per_need": {name: self.per_need(name).tolist() for name in names},
            "queries": [written(action, completion) for action, completion in firsts],
            "first_relevant": [next(iter(self.first.relevant_ranks(need)), None) for need in range(len(firsts))],
        }


class _Metered:
    """A policy with a clock: times its setup and its completions, and declares what the policy declares."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._writing, self._preparing, self._spent_before = policy, 0.0, 0.0, Spent()

    @property
    def sees(self) -> tuple[Visible, ...]:
        return self._policy.sees if isinstance(self._policy, NeedsAccess) else ()

    @property
    def format(self) -> Format | None:
        return format_of(self._policy)

    def prepare(self, env: Environment) -> None:
        start = perf_counter()
        prepare(self._policy, env)
        self._preparing = perf_counter() - start
        self._spent_before = spent_by(self._policy)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        start = perf_counter()
        written = self._policy.generate(chats, n)
        self._writing += perf_counter() - start
        return written

    def greedy(self, chats: Sequence[Chat]) -> list[Likely]:
        start = perf_counter()
        texts, likely = with_likelihoods(self._policy, chats)
        self._writing += perf_counter() - start
        return [Likely(text, value) for (text,), value in zip(texts, likely, strict=True)]

    def cost(self, queries: int) -> Cost:
        before, after = self._spent_before, spent_by(self._policy)
        read, written = (after.read - before.read) / queries, (after.written - before.written) / queries
        return Cost(1000 * self._writing / queries, read, written, self._preparing, sum(before))


def measured(evaluator: Evaluator, policies: Sequence[Callable[[], Policy]], label: str, spec: str) -> ComparedPolicy:
    """Evaluate a policy with one greedy completion per need, and measure what it costs.

    Args:
        evaluator: The needs and measures.
        policies: Make the policy, or the policy of each seed; each is deleted before the next is made.
        label: Its name in tables.
        spec: As given in `--policies`.
    """
    return _measured(evaluator, policies, ListedPolicy(label, spec))


def _measured(evaluator: Evaluator, makers: Sequence[Callable[[], Policy]], listed: ListedPolicy) -> ComparedPolicy:
    evaluations, costs = [], []
    sees: tuple[Visible, ...] = ()
    for place, make in enumerate(makers):
        metered, gate = _Metered(make()), listed.gates[place] if listed.gates else None
        evaluations.append(evaluator(metered, samples=listed.samples, name=listed.label, gate=gate))
        costs.append(metered.cost(len(evaluator.needs) * max(listed.samples, 1)))
        sees = metered.sees
        del metered  # it may hold a model
    return ComparedPolicy(**vars(listed), evaluations=evaluations, costs=costs, sees=sees)


class PolicyLoader:
    """Builds policies in their order; weights stay in memory while a later policy needs them."""

    def __init__(self, parts: Sequence[Part], cache: ModelCache) -> None:
        self._left, self._cache = list(parts), cache

    def __call__(self, part: Part, label: str) -> Policy:
        """The policy of the next part; `label` is how messages call it."""
        self._cache.keep_only({model for one in self._left for model in models_of(one.options)})
        self._left.remove(part)
        policy: Policy = build("policy", part, path=label)
        return policy


def measure_listed(evaluator: Evaluator, listed: ListedPolicy, bar: ProgressBar, load: PolicyLoader) -> ComparedPolicy:
    """Build a policy and evaluate it, once for each seed."""

    def make(part: Part) -> Policy:
        # The bar moves while the policy is loaded and while it finds examples or a prompt, then counts needs.
        bar.begin(listed.label, None)
        policy = load(part, listed.label)
        bar.note(lambda: f"{spent.written:,} tokens written" if (spent := spent_by(policy)).written else "")
        return policy

    return _measured(evaluator, [partial(make, part) for part in listed.parts], listed)
