"""What a trainer is, and what all of ours share: a policy is trained with a trainer of TRL, into a run folder.

A subclass names TRL's config and our class of TRL's trainer, and gives it data and additions. Loss, clipping and
scaling are keys of TRL's own config.
"""

from __future__ import annotations

import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from recr1.config.build import EvaluationSpec, Part, build
from recr1.env import Environment
from recr1.errors import MissingLibrary, UserError
from recr1.runs import Run, write_text, writing
from recr1.runs.files import replacing
from recr1.runs.manifest import logged
from recr1.runs.run import POLICY_CARD
from recr1.trainers.launch import Interrupts, Ranks
from recr1.trainers.layers.checkpoints import Checkpoints, ExactResume
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.bounds import ELSEWHERE, conflicts
from recr1.trainers.trl.loop import Loop, check_batch
from recr1.trainers.trl.options import trl_options
from recr1.trainers.watch.best import FOLDER as BEST
from recr1.trainers.watch.best import sharded
from retrievers.options import PositiveInt, ShareBelowOne, did_you_mean, value_problems

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor

LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "trl")
"""What every trainer needs."""
SAVES = 10
"""Checkpoints of a run, unless `trl.save_steps` is set."""
KEPT = 2
"""How many of them are kept at a time, unless `trl.save_total_limit` is set."""


@runtime_checkable
class Trainer(Protocol):
    """Changes a policy by its rewards. Built as `cls(*, options)`."""

    def train(self, policy: Part, env: Environment, run: Run, *, seed: int, evaluation: EvaluationSpec) -> Path:
        """Load the policy, train it, save it; returns the folder of the trained policy, in Hugging Face format.

        Args:
            policy: the part to build the policy from; the trainer decides how its weights are placed.
            env: prompts, rewards and validation needs.
            run: where numbers, rollouts and the policy go.
            seed: of sampling, data order and new weights.
            evaluation: what to measure on which needs, and how often.
        """
        ...


@dataclass(kw_only=True)
class TRLTrainer(ABC):
    """Trains a policy with a trainer of TRL, and keeps the run folder."""

    name: ClassVar[str]
    config: ClassVar[str]
    """TRL's config class, by its name."""
    trainer: ClassVar[str]
    """Our class of TRL's trainer, by its name in `recr1.trainers.trl.classes`."""
    meaningless: ClassVar[Mapping[str, str]] = {}
    """Keys of that config that mean nothing to this trainer, and why."""
    bounds: ClassVar[Mapping[str, Any]] = {}
    """Keys of that config whose values have other bounds in this trainer: their annotations."""
    default_beta: ClassVar[float] = 0.0
    """The `beta` of that config where a recipe sets none."""

    steps: PositiveInt
    """Optimizer steps."""
    trl: dict[str, Any] = field(default_factory=dict)
    """Keys of TRL's config, as they are: learning_rate, per_device_train_batch_size, ..."""
    failure_budget: ShareBelowOne = 0.0
    """Share of the last 1,000 rollouts that may be without a reward because the retriever gave no answer to their query
    after all its attempts. Past it, or when a whole batch has no reward, the run saves its state and stops. Above 0, a
    validation without an answer is left out."""

    def __post_init__(self) -> None:
        for missing in self.missing_libraries({"trl": self.trl}):
            raise missing
        self.watching: list[Addition] = []  # those of a caller, which come before all others

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded; `trl` keys are looked up in the source of the installed TRL."""
        keys, elsewhere = options.get("trl") or {}, {**ELSEWHERE, **cls.meaningless}
        problems = [f"trl.{key}: not here: {elsewhere[key]}" for key in keys if key in elsewhere]
        known = {name: option for name, option in trl_options(cls.config).items() if name not in elsewhere}
        for key in keys if known else ():
            if key in known:
                annotation = cls.bounds.get(key, known[key].annotation)
                problems += map(str, value_problems(annotation, keys[key], f"trl.{key}"))
            elif key not in elsewhere:
                problems.append(f"trl.{key}: {cls.config} has no such field{did_you_mean(key, known)}")
        return problems + list(conflicts({key: keys[key] for key in keys if key in known}, cls.default_beta))

    @classmethod
    def config_keys(cls, trl: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keys of a recipe as TRL's config takes them."""
        return trl

    @classmethod
    def missing_libraries(cls, options: Mapping[str, Any]) -> list[MissingLibrary]:
        """What is not installed, before data or a model is opened; nothing is imported."""
        needed = dict.fromkeys(LIBRARIES, ("train", f"trainer.type: {cls.name}"))
        if (options.get("trl") or {}).get("use_vllm"):
            needed["vllm"] = ("vllm", "trainer.trl.use_vllm")
        return [MissingLibrary(name, *why) for name, why in needed.items() if find_spec(name) is None]

    def train(self, policy: Part, env: Environment, run: Run, *, seed: int, evaluation: EvaluationSpec) -> Path:
        """Train the policy and save it; returns the folder of the trained policy.

        A resumed run continues from its newest checkpoint without damage. Ctrl-C or SIGTERM ends it after the step,
        with a checkpoint, and raises `KeyboardInterrupt`. An error of the retriever or of a reward saves a checkpoint
        of the state before that step, and passes through. Either way the policy so far is saved too, if it was trained
        for more steps than the one that is there.
        """
        from recr1.policies.adapters import learn_in_full_precision

        transformers = _libraries()
        transformers.set_seed(seed)
        learner = build("policy", policy)
        if not hasattr(learner, "model"):
            raise UserError(
                f"policy.type: {policy.type!r} cannot be trained by {self.name}: it has no weights; use transformers"
            )
        limit = self.trl.get("save_total_limit", KEPT)
        checkpoints = Checkpoints(run.path / "checkpoints", limit, run.path / BEST, run.logs)
        loop = self._loop(learner, env, run, checkpoints, seed, evaluation)
        learn_in_full_precision(learner.model)
        halves = {"bfloat16": loop.trainer.args.bf16, "float16": loop.trainer.args.fp16}
        run.update(
            computed_in=next(
                (name for name, used in halves.items() if used), str(learner.model.dtype).removeprefix("torch.")
            )
        )
        loop.trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        start = self._begin(loop, run, checkpoints)
        try:
            loop.run(start)
        except BaseException:
            if loop.monitor.card and run.writer and not sharded(loop.trainer) and run.is_newer(loop.monitor.card):
                self._save(loop, learner, run)
            raise
        self._save(loop, learner, run)
        if not {"save_steps", "save_total_limit"} & set(self.trl):
            run.discard(checkpoints.folder)  # they were there to resume from
        run.discard(run.path / BEST)
        return run.policy_path

    def _begin(self, loop: Loop, run: Run, checkpoints: Checkpoints) -> tuple[int, Path] | None:
        """Where training starts: the folder as it was at the newest checkpoint without damage, or at the first step."""
        start = None
        with loop.ranks.together():
            if run.writer:
                checkpoints.clean()
            if run.writer and run.resumed:
                start = checkpoints.newest(loop.monitor.view.say)
                lengths = logged(start[1]) if start else {}
                for name in lengths:
                    if not (run.logs / name).exists():
                        loop.monitor.view.say(f"{run.logs / name} is missing: its lines so far are lost")
                run.rewind(start[0] if start else -1, lengths)
                if start:
                    checkpoints.bring_back(start[1])
        step = loop.ranks.of_first(start and start[0])
        return (step, checkpoints.steps()[step]) if step in checkpoints.steps() else None

    def _loop(
        self, learner: Any, env: Environment, run: Run, checkpoints: Checkpoints, seed: int, evaluation: EvaluationSpec
    ) -> Loop:
        from recr1.trainers.trl import classes
        from recr1.trainers.watch.monitor import Monitor
        from recr1.trainers.watch.validation import Validator

        ranks, interrupts = Ranks(), Interrupts(quiet=not run.writer)
        args = self._arguments(run, seed, learner)  # from here on the ranks know each other
        material = self._material(learner, env, run, ranks)
        validator = Validator(learner, env, evaluation, seed)
        monitor = Monitor(run, self.steps, validator, ranks, interrupts, lenient=self.failure_budget > 0)
        resume = ExactResume()
        additions = [*self.watching, *self._additions(learner, monitor), resume]
        try:
            trainer = getattr(classes, self.trainer)(
                additions=additions,
                checkpoints=checkpoints,
                model=learner.model,
                args=args,
                processing_class=learner.tokenizer,
                callbacks=[classes.MonitorCallback(monitor)],
                **material,
            )
        except UserError:  # of ours, which names its own key
            raise
        except (ImportError, NotImplementedError, ValueError) as error:
            raise UserError(f"trainer.trl: {error}") from error
        check_batch(trainer, env.rewards)
        monitor.trainer = trainer
        return Loop(trainer, resume, ranks, monitor, interrupts)

    def _save(self, loop: Loop, learner: Any, run: Run) -> None:
        """Save the policy beside the one that is there, which it replaces once it is whole; every rank calls."""
        from recr1.policies.transformers import save

        folder, trainer = run.policy_path, loop.trainer
        with writing(run.path), replacing(folder.with_name("adapter"), folder, writer=run.writer) as (adapter, part):
            if sharded(trainer):
                self._save_pieces(loop, learner, adapter, part)
            elif run.writer:
                save(trainer.accelerator.unwrap_model(trainer.model), learner.tokenizer, part, adapter)
            if run.writer:
                write_text(part / POLICY_CARD, json.dumps(loop.monitor.card, indent=2) + "\n")
        run.update(policy=loop.monitor.card)

    def _save_pieces(self, loop: Loop, learner: Any, adapter: Path, folder: Path) -> None:
        """Save weights of which every rank has a part; TRL saves an adapter alone, and one rank merges it."""
        from recr1.policies.adapters import is_adapted
        from recr1.policies.transformers import save_merged

        adapted, together = is_adapted(learner.model), loop.trainer.accelerator.wait_for_everyone
        together()
        loop.monitor.save_pieces(adapter if adapted else folder)
        together()
        if adapted and loop.monitor.run.writer:
            save_merged(adapter, learner.tokenizer, folder, dtype=learner.model.dtype)

    @abstractmethod
    def _material(self, learner: Any, env: Environment, run: Run, ranks: Ranks) -> dict[str, Any]:
        """What TRL's trainer is given to learn from, by the names of its constructor: `train_dataset` and the like."""

    def _additions(self, learner: Any, monitor: Monitor) -> list[Addition]:
        """What is added to TRL's trainer, the outermost first."""
        return []

    @abstractmethod
    def _lengths(self, learner: Any) -> dict[str, Any]:
        """The keys of TRL's config that follow from the policy."""

    def _arguments(self, run: Run, seed: int, learner: Any) -> Any:
        import torch
        import transformers
        import trl

        defaults: dict[str, Any] = {"save_strategy": "steps", "save_steps": max(1, self.steps // SAVES)}
        if not torch.cuda.is_available():
            # TRL's defaults are made for GPUs: half precision and recomputation cost time on a CPU and give nothing.
            off = ("bf16", "gradient_checkpointing", "dataloader_pin_memory")
            defaults |= {"use_cpu": True, **dict.fromkeys(off, False)}
            if getattr(learner, "in_bfloat16", None):
                defaults["bf16"] = True
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
            args = getattr(trl, self.config)(**{**defaults, **self.config_keys(self.trl), **own})
            # What TRL's trainer asks at its first step; the answer is thrown away.
            transformers.Trainer.get_optimizer_cls_and_kwargs(args, learner.model)
            transformers.get_scheduler(
                args.lr_scheduler_type,
                torch.optim.SGD([torch.zeros(1)], lr=args.learning_rate),
                num_warmup_steps=args.get_warmup_steps(self.steps),
                num_training_steps=self.steps,
                scheduler_specific_kwargs=args.lr_scheduler_kwargs,
            )
        except (ImportError, TypeError, ValueError) as error:
            raise UserError(f"trainer.trl: {error}") from error
        return args


def _libraries() -> Any:
    # Where bitsandbytes is installed, trl loads it; that a kernel of its own cannot be downloaded only costs speed.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import transformers

    # TRL still writes "gradient_checkpointing" where transformers has a new word, which a user cannot change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    for module in ("grpo_trainer", "rloo_trainer"):
        logging.getLogger(f"trl.trainer.{module}").addFilter(_is_wanted)
    return transformers


def _is_wanted(record: logging.LogRecord) -> bool:
    """A reward may be missing: outcome/retriever_error counts it."""
    return "All reward functions returned None" not in record.getMessage()
