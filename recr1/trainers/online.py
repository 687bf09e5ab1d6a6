"""Training with the rewards of the environment, on a trainer of TRL: what GRPO and its relatives share.

A subclass names TRL's trainer and its config; which loss, clipping and scaling, TRL's own keys say.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from recr1.build import EvaluationSpec, Part, build
from recr1.env import Environment
from recr1.errors import MissingLibrary, UserError
from recr1.options import check_options, did_you_mean
from recr1.runs import Run
from recr1.trainers.checkpoints import Checkpoints, resumable
from recr1.trainers.curriculum import RATE, UNIFORM, Curriculum, curricular, curriculum_problems, settings_of
from recr1.trainers.failures import FailureBudget
from recr1.trainers.interrupts import Interrupts
from recr1.trainers.loop import Loop, check_batch
from recr1.trainers.ranks import Ranks
from recr1.trainers.resample import TOLERANCE, resampling
from recr1.trainers.reward import RewardFunction, training_data
from recr1.trainers.shared_prompts import sharing
from recr1.trainers.trl_options import trl_options
from recr1.trainers.truncation import truncation_watch

if TYPE_CHECKING:
    from recr1.trainers.monitor import Monitor

SAVES = 10
"""Checkpoints of a run that does not say `trl.save_steps`."""
KEPT = 2
"""How many of them are kept at a time, where `trl.save_total_limit` does not say."""

OURS = {
    "output_dir": "say `--out DIR` on the command line",
    "max_steps": "set trainer.steps",
    "num_train_epochs": "set trainer.steps",
    "seed": "set seed at the top of the recipe",
    "max_completion_length": "set policy.max_new_tokens, which evaluation uses too",
    "report_to": "add a part to `log:` at the top of the recipe, such as {type: wandb}",
    "reward_weights": "give each reward of the recipe its weight",
    "eval_strategy": "set evaluate.every",
    "eval_steps": "set evaluate.every",
    "eval_on_start": "validation before the first step is always made",
    "trust_remote_code": "set policy.trust_remote_code",
    "model_init_kwargs": "set the options of policy",
    "logging_steps": "every step is logged",
    "logging_strategy": "every step is logged",
    "remove_unused_columns": "the needs of a batch are found by a column",
    "disable_tqdm": "the progress view is recr1's own",
}
"""TRL's keys that a recipe says elsewhere, or not at all, and where."""


class Online:
    """Samples completions of the policy, and makes those that earn more than others more likely.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's config, as they are: num_generations, learning_rate, beta, use_vllm, ...
        rollouts_every: steps between two records of all rollouts in `rollouts.jsonl`; 0 for none.
        failure_budget: share of the last 1,000 rollouts that may be without a reward because the retriever had no
            answer to their query, after all its attempts. Past it, or when a whole batch is without, the run saves its
            state and stops.
        resample: rounds in which groups whose rewards are all the same are replaced by those of other needs, generated
            and rewarded in the same step; 0 for none.
        resample_tolerance: the spread of a group's rewards up to which they are the same.
        curriculum: "learnability" draws those needs more often whose completions differ most in what they earn, by what
            their last groups earned; "none" draws all alike.
        curriculum_uniform: share of the draws in which all needs are alike, so that each is seen again.
        curriculum_rate: how far the last group of a need moves what is known of it; 1 forgets all before.
        curriculum_start: the folder that `recr1 headroom --out` wrote, to know needs before training.
    """

    name: ClassVar[str]
    config: ClassVar[str]
    """The name of TRL's config class."""
    trainer: ClassVar[str]
    """The name of TRL's trainer class."""

    def __init__(
        self,
        *,
        steps: int,
        trl: dict[str, Any] | None = None,
        rollouts_every: int = 10,
        failure_budget: float = 0.0,
        resample: int = 0,
        resample_tolerance: float = TOLERANCE,
        curriculum: Curriculum = "none",
        curriculum_uniform: float = UNIFORM,
        curriculum_rate: float = RATE,
        curriculum_start: str | None = None,
    ) -> None:
        given = {"steps": steps, "trl": trl or {}, "rollouts_every": rollouts_every, "failure_budget": failure_budget}
        given |= {"resample": resample, "resample_tolerance": resample_tolerance, "curriculum_start": curriculum_start}
        given |= {"curriculum_uniform": curriculum_uniform, "curriculum_rate": curriculum_rate}
        problems = self.check_options(given)
        if problems:
            raise UserError(problems[0])
        _require_libraries(self.name)
        self.steps, self.trl = steps, dict(trl or {})
        self.rollouts_every, self.failure_budget = rollouts_every, failure_budget
        self.resample, self.resample_tolerance = resample, resample_tolerance
        self.curriculum = settings_of(curriculum, curriculum_uniform, curriculum_rate, curriculum_start)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded; `trl` keys are looked up in the source of the installed TRL."""
        problems = []
        if options.get("steps", 1) < 1:
            problems.append(f"steps: must be at least 1, got {options['steps']}")
        if options.get("rollouts_every", 0) < 0:
            problems.append(f"rollouts_every: must be 0 (never) or more, got {options['rollouts_every']}")
        if not 0 <= options.get("failure_budget", 0) < 1:
            problems.append(f"failure_budget: must be a share from 0 to below 1, got {options['failure_budget']}")
        if options.get("resample", 0) < 0:
            problems.append(f"resample: must be 0 (never) or a number of rounds, got {options['resample']}")
        if not 0 <= options.get("resample_tolerance", 0) < math.inf:
            problems.append(f"resample_tolerance: must be 0 or more, got {options['resample_tolerance']}")
        problems += curriculum_problems(options)
        keys = options.get("trl") or {}
        problems += [f"trl.{key}: not here: {OURS[key]}" for key in keys if key in OURS]
        known = {name: option for name, option in trl_options(cls.config).items() if name not in OURS}
        for key in keys if known else ():
            if key not in known and key not in OURS:
                problems.append(f"trl.{key}: {cls.config} has no such field{did_you_mean(key, known)}")
        typed = {key: value for key, value in keys.items() if key in known}
        optional = {key: option for key, option in known.items() if key in typed}
        problems += [f"{problem.path}: {problem.what}" for problem in check_options(optional, typed, "trl", cls.config)]
        return problems

    def train(self, policy: Part, env: Environment, run: Run, *, seed: int, evaluation: EvaluationSpec) -> Path:
        """Train the policy and save it; returns the folder of the trained policy.

        A run that was resumed goes on from its newest checkpoint. Ctrl-C or SIGTERM ends it after the step, with a
        checkpoint, and raises `KeyboardInterrupt`. An error of the retriever or of a reward saves a checkpoint of the
        state before that step, and passes through. Either way the policy so far is saved too.
        """
        from recr1.policies.transformers import save

        trl, transformers = _libraries()
        transformers.set_seed(seed)
        learner = build("policy", policy)
        if not hasattr(learner, "model"):
            raise UserError(
                f"policy.type: {policy.type!r} cannot be trained by {self.name}: it has no weights; use transformers"
            )
        checkpoints = self._checkpoints(run)
        start = checkpoints.newest()
        if run.resumed:
            run.rewind(start[0] if start else -1)
        loop = self._loop(trl, learner, env, run, seed, evaluation)
        loop.trainer.checkpoints = checkpoints
        loop.trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        sharded = loop.trainer.is_deepspeed_enabled or loop.trainer.is_fsdp_enabled
        try:
            loop.run(start)
            if sharded:  # every rank has a part to give, which ranks that were interrupted cannot do
                loop.trainer.save_model(str(run.policy_path))
        finally:
            if run.writer and not sharded:
                save(loop.trainer.accelerator.unwrap_model(loop.trainer.model), learner.tokenizer, run.policy_path)
        if run.writer and not {"save_steps", "save_total_limit"} & set(self.trl):
            checkpoints.remove()  # they were there to go on from
        return run.policy_path

    def _checkpoints(self, run: Run) -> Checkpoints:
        checkpoints = Checkpoints(run.path / "checkpoints", self.trl.get("save_total_limit", KEPT))
        if run.writer:
            checkpoints.clean()
        return checkpoints

    def _loop(self, trl: Any, learner: Any, env: Environment, run: Run, seed: int, evaluation: EvaluationSpec) -> Loop:
        from recr1.trainers.monitor import Monitor, Validator

        ranks, interrupts = Ranks(), Interrupts(quiet=not run.writer)
        validator = Validator(learner, env, evaluation, seed)
        monitor = Monitor(run, self.steps, validator, ranks, interrupts, lenient=self.failure_budget > 0)
        reward = RewardFunction(env, run, ranks, FailureBudget(self.failure_budget), rollouts_every=self.rollouts_every)
        trainer = resumable(sharing(self._trainer_class(trl), learner.model))(
            model=learner.model,
            reward_funcs=reward,
            args=self._arguments(trl, run, seed, learner),
            train_dataset=training_data(env),
            processing_class=learner.tokenizer,
            callbacks=[monitor.callback(), *self._watches(monitor, learner)],
        )
        check_batch(trainer)
        monitor.attach(trainer)
        return Loop(trainer, ranks, monitor, interrupts, self.steps)

    def _watches(self, monitor: Monitor, learner: Any) -> list[Any]:
        if not self.trl.get("mask_truncated_completions"):
            return []
        return [truncation_watch(monitor.view.say, learner.max_new_tokens)]

    def _trainer_class(self, trl: Any) -> Any:
        trainer_class = getattr(trl, self.trainer)
        if self.curriculum:
            trainer_class = curricular(trainer_class, self.curriculum)
        if not self.resample:
            return trainer_class
        return resampling(trainer_class, self.resample, self.resample_tolerance)

    def _arguments(self, trl: Any, run: Run, seed: int, learner: Any) -> Any:
        import torch

        defaults: dict[str, Any] = {"save_strategy": "steps", "save_steps": max(1, self.steps // SAVES)}
        if not torch.cuda.is_available():
            # TRL's defaults are made for GPUs: half precision and recomputation cost time on a CPU and give nothing.
            defaults |= {
                "use_cpu": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "dataloader_pin_memory": False,
            }
        own = {
            "output_dir": str(run.path / "checkpoints"),
            "max_steps": self.steps,
            "seed": seed,
            **self._lengths(learner),
            "report_to": "none",
            "logging_steps": 1,
            "disable_tqdm": True,
        }
        try:
            return getattr(trl, self.config)(**{**defaults, **self.trl, **own})
        except ValueError as error:
            raise UserError(f"trainer.trl: {error}") from error

    def _lengths(self, learner: Any) -> dict[str, Any]:
        """The keys of TRL's config that follow from the policy."""
        return {"max_completion_length": learner.max_new_tokens}


def _require_libraries(name: str) -> None:
    """Say at once what is not installed, before data or a model is opened; nothing is imported."""
    for library in ("torch", "transformers", "datasets", "accelerate", "trl"):
        if find_spec(library) is None:
            raise MissingLibrary(library, "train", f"trainer.type: {name}")


def _libraries() -> tuple[Any, Any]:
    import transformers
    import trl

    # TRL still says "gradient_checkpointing" where transformers has a new word: nothing that a user could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # A reward that is absent is no mistake here, and outcome/retriever_error counts it.
    for module in ("grpo_trainer", "rloo_trainer"):
        logging.getLogger(f"trl.trainer.{module}").addFilter(_is_news)
    return trl, transformers


def _is_news(record: logging.LogRecord) -> bool:
    return "All reward functions returned None" not in record.getMessage()
