"""Recipes: one YAML file that says what to train, on what, with which rewards; all checked before anything loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le

from recr1.config import yaml12
from recr1.config.build import AuditSpec, EvaluationSpec, Part, build, check_part, find_class
from recr1.config.shipped import find_recipe, recipe_text
from recr1.errors import MissingLibrary, RecipeError, shown
from recr1.tasks.base import SPLITS
from retrievers.options import Problem, convert, did_you_mean, in_words, options_of, placed, value_problems
from retrievers.parts import left_out
from rewards.abilities import cutoff_of, cutoff_problem

SECTIONS = ("seed", "task", "retriever", "k", "rewards", "policy", "trainer", "evaluate", "audit", "log")
"""The keys of a recipe, in the order in which they are written."""

_Section = TypeVar("_Section", EvaluationSpec, AuditSpec)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe."""

    seed: int
    task: Part
    retriever: Part
    k: int
    """Items per search; no measure's cutoff is above it."""
    rewards: tuple[tuple[Part, float], ...]
    """Each reward with its weight; weight 0 logs a reward without training on it."""
    policy: Part
    stages: tuple[Part, ...] = ()
    """The trainers, one after the other: each starts from the policy of the one before."""
    evaluate: EvaluationSpec = field(default_factory=EvaluationSpec)
    audit: AuditSpec | None = None
    """What `recr1 audit` looks at, and its limits; None for the defaults."""
    log: tuple[Part, ...] = ()
    """Services that get the numbers too, besides the run folder."""

    @property
    def trainer(self) -> Part | None:
        """The last trainer; None for a recipe that only evaluates."""
        return self.stages[-1] if self.stages else None

    @property
    def stage_paths(self) -> list[str]:
        """The path of each trainer: "trainer", or "trainer.0" and so on."""
        return ["trainer"] if len(self.stages) == 1 else [f"trainer.{place}" for place in range(len(self.stages))]

    def missing_libraries(self) -> list[MissingLibrary]:
        """Libraries that the policy or a trainer needs and that are not installed, as their classes say."""
        missing: list[MissingLibrary] = []
        for path, part in zip(["policy", *self.stage_paths], [self.policy, *self.stages], strict=True):
            kind = path.partition(".")[0]
            if not left_out(path) and (ask := getattr(find_class(kind, part.type), "missing_libraries", None)):
                missing += ask(part.options)
        return missing

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe file holds, of plain YAML values."""
        stages = [part.to_dict() for part in self.stages]
        rewards = [{**part.to_dict(), "weight": weight} for part, weight in self.rewards]
        whole = {
            "seed": self.seed,
            "task": self.task.to_dict(),
            "retriever": self.retriever.to_dict(),
            "k": self.k,
            "rewards": rewards,
            "policy": self.policy.to_dict(),
            "trainer": stages[0] if len(stages) == 1 else stages,
            "evaluate": self.evaluate.to_dict(),
            "audit": self.audit.to_dict() if self.audit else None,
            "log": [part.to_dict() for part in self.log],
        }
        return {name: value for name, value in whole.items() if value not in (None, [])}

    def dump(self, path: str | Path) -> None:
        """Write the recipe; loading the file gives an equal one."""
        Path(path).write_text(yaml12.write(self.to_dict()), encoding="utf-8")


def load_recipe(
    source: str | Path, overrides: Sequence[str] = (), *, also: Callable[[Recipe], list[Problem]] | None = None
) -> Recipe:
    """The recipe of a file, or of a shipped recipe's name, with `section.key=value` overrides applied in their order.

    `also` is asked about a recipe without mistakes, for those that only another part of the program can find.
    Raises `RecipeError` with every mistake at once, each with file and line, path, value and what to do.
    """
    path = find_recipe(source)
    document = yaml12.read(recipe_text(path))
    places = yaml12.Places(path, document.lines)
    lines = [f"{path}:{line}: {what}" for line, what in document.problems]
    if not isinstance(document.value, dict):
        raise RecipeError(lines or [f"{path}: a recipe is a mapping with the keys {', '.join(SECTIONS)}"], path)
    problems = [problem for override in overrides if (problem := places.apply(document.value, override))]
    check = _Check(document.value)
    recipe = check.recipe()
    problems += check.problems
    if also and recipe and not problems:
        problems += also(recipe)
    lines += [f"{places.of(problem.path)}: {problem}" for problem in problems]
    if lines or recipe is None:
        raise RecipeError(lines, path)
    return recipe


class _Check:
    """Turns the raw mapping into a `Recipe`, and collects what is wrong with it."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = {name: value for name, value in raw.items() if value is not None}
        self.problems = [
            Problem(name, f"a recipe has no '{name}'{did_you_mean(name, SECTIONS)} (its keys: {', '.join(SECTIONS)})")
            for name in raw
            if name not in SECTIONS
        ]

    def recipe(self) -> Recipe | None:
        """The recipe, or None if there are problems."""
        seed = self._integer("seed", Annotated[int, Ge(0), Le(2**32 - 1)], 0)
        task = self._part("task")
        retriever = self._part("retriever")
        k = self._integer("k", Annotated[int, Ge(1), Le(2**31 - 1)], 2**31 - 1)
        rewards = self._rewards(k)
        policy = self._part("policy")
        stages = self._stages(policy)
        self._check_trainable(policy, stages)
        online = any(part.type != "sft" for part in stages)  # sft learns from pairs
        if online and rewards and not any(weight for _, weight in rewards):
            self.problems.append(Problem("rewards", "every weight is 0: there is nothing to learn from"))
        evaluate = self._evaluate(k)
        audit = self._section("audit", AuditSpec) if "audit" in self.raw else None
        log = self._parts("logger", "log")
        if self.problems or not (task and retriever and policy):
            return None
        return Recipe(seed, task, retriever, k, tuple(rewards), policy, stages, evaluate, audit, log)

    def _integer(self, name: str, annotation: Any, otherwise: int) -> int:
        if name == "k" and name not in self.raw:
            self.problems.append(Problem(name, f"missing: a recipe needs {in_words(annotation)}"))
        value: int = self.raw.get(name, otherwise)
        problems = value_problems(annotation, value, name)
        self.problems += problems
        return otherwise if problems else value

    def _part(self, name: str) -> Part | None:
        if name not in self.raw:
            self.problems.append(Problem(name, f"missing: a recipe needs {name}: {{type: ...}}"))
            return None
        return self._checked(name, self.raw[name], name)

    def _stages(self, policy: Part | None) -> tuple[Part, ...]:
        """The trainers: none, one, or those of a list."""
        written = self.raw.get("trainer")
        if not isinstance(written, list):
            part = self._part("trainer") if written is not None else None
            return (part,) if part else ()
        if not written:
            self.problems.append(Problem("trainer", "an empty list: name a trainer, or leave the key out to evaluate"))
        parts = self._parts("trainer", "trainer")
        if (
            len(written) > 1
            and policy
            and not left_out("policy")
            and "model" not in options_of(find_class("policy", policy.type))
        ):
            what = f"stages need a policy that starts from a folder, and {policy.type!r} has no option 'model'"
            self.problems.append(Problem("trainer", f"{what}: use {{type: transformers, ...}}"))
        return parts

    def _check_trainable(self, policy: Part | None, stages: Sequence[Part]) -> None:
        """Options of the policy that only work in evaluation, as its class says."""
        cls = find_class("policy", policy.type) if policy and stages and not left_out("policy") else None
        if policy and cls and (checker := getattr(cls, "check_training", None)):
            self.problems += [placed(remark, options_of(cls), "policy") for remark in checker(policy.options)]

    def _checked(self, kind: str, spec: Any, path: str) -> Part | None:
        problems = check_part(kind, spec, path)
        self.problems += problems
        return None if problems else Part.from_dict(spec)

    def _parts(self, kind: str, name: str) -> tuple[Part, ...]:
        return tuple(part for path, spec in self._items(name) if (part := self._checked(kind, spec, path)))

    def _items(self, name: str) -> list[tuple[str, Any]]:
        value = self.raw.get(name, [])
        if isinstance(value, list):
            return [(f"{name}.{place}", spec) for place, spec in enumerate(value)]
        self.problems.append(Problem(name, f"must be a list: begin each item with '- ', got {shown(value)}"))
        return []

    def _rewards(self, k: int) -> list[tuple[Part, float]]:
        rewards: list[tuple[Part, float]] = []
        places: dict[str, str] = {}
        if self.raw.get("rewards", []) == []:
            self.problems.append(Problem("rewards", "missing: a recipe needs at least one reward"))
        for path, spec in self._items("rewards"):
            bare = {key: value for key, value in spec.items() if key != "weight"} if isinstance(spec, dict) else spec
            weight = spec.get("weight", 1.0) if isinstance(spec, dict) else 1.0
            wrong = value_problems(float, weight, f"{path}.weight")
            self.problems += wrong
            part = self._checked("reward", bare, path)
            if not part:
                continue
            rewards.append((part, 1.0 if wrong else float(weight)))
            if left_out(path):
                continue
            reward = build("reward", part, path=path)
            if not isinstance(getattr(reward, "name", None), str):
                self.problems.append(Problem(f"{path}.type", f"{part.type!r} is not a reward: it has no name"))
                continue
            if reward.name in places:
                what = f"the reward '{reward.name}' is already {places[reward.name]}: add their weights into one"
                self.problems.append(Problem(path, what))
            places.setdefault(reward.name, path)
            if problem := cutoff_problem(reward.name, cutoff_of(reward), k):
                self.problems.append(Problem(path, problem))
        return rewards

    def _section(self, name: str, kind: type[_Section]) -> _Section:
        """A section without a type, with wrong values left at their defaults."""
        spec = self.raw.get(name, {})
        problems = value_problems(kind, spec, name)
        self.problems += problems
        wrong = {problem.path.split(".")[1] for problem in problems if "." in problem.path}
        sound = {key: value for key, value in spec.items() if key not in wrong} if isinstance(spec, Mapping) else {}
        return kind(**convert(options_of(kind), sound))

    def _evaluate(self, k: int) -> EvaluationSpec:
        """The section, with what is wrong with its split and measures."""
        from rewards.measures import parse_measure

        evaluate = self._section("evaluate", EvaluationSpec)
        if evaluate.split not in SPLITS:
            what = f"no split {evaluate.split!r}{did_you_mean(evaluate.split, SPLITS)} (splits: {', '.join(SPLITS)})"
            self.problems.append(Problem("evaluate.split", what))
        if "trainer" in self.raw and (remark := evaluate.training_problem()):
            self.problems.append(placed(remark, options_of(EvaluationSpec), "evaluate"))
        for place, name in enumerate(evaluate.measures):
            try:
                problem = cutoff_problem(name, parse_measure(name).cutoff, k)
            except ValueError as error:
                problem = str(error)
            if problem:
                self.problems.append(Problem(f"evaluate.measures.{place}", problem))
        return evaluate
