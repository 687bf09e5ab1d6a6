"""GRPO on TRL's `GRPOTrainer`, behind one reward function: `Environment.step`.

Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300): G completions of a need are searched and
rewarded, and each is made more or less likely by how its reward differs from its group's mean. Which loss, clipping
and scaling, TRL's own keys say.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recr1.build import EvaluationSpec, Part, build
from recr1.env import Environment, chat_with, metrics
from recr1.errors import MissingLibrary, UserError
from recr1.options import check_options, did_you_mean
from recr1.runs import Run
from recr1.trainers.trl_options import trl_options
from rewards.base import Chat

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


class GRPO:
    """Group relative policy optimization.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's `GRPOConfig`, as they are: num_generations, learning_rate, beta, loss_type, use_vllm, ...
        rollouts_every: steps between two records of all rollouts in `rollouts.jsonl`; 0 for none.
    """

    def __init__(self, *, steps: int, trl: dict[str, Any] | None = None, rollouts_every: int = 10) -> None:
        problems = self.check_options({"steps": steps, "trl": trl or {}, "rollouts_every": rollouts_every})
        if problems:
            raise UserError(problems[0])
        _require_libraries()
        self.steps, self.trl, self.rollouts_every = steps, dict(trl or {}), rollouts_every

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded; `trl` keys are looked up in the source of the installed TRL."""
        problems = []
        if options.get("steps", 1) < 1:
            problems.append(f"steps: must be at least 1, got {options['steps']}")
        if options.get("rollouts_every", 0) < 0:
            problems.append(f"rollouts_every: must be 0 (never) or more, got {options['rollouts_every']}")
        keys = options.get("trl") or {}
        problems += [f"trl.{key}: not here: {OURS[key]}" for key in keys if key in OURS]
        known = {name: option for name, option in trl_options("GRPOConfig").items() if name not in OURS}
        for key in keys if known else ():
            if key not in known and key not in OURS:
                problems.append(f"trl.{key}: GRPOConfig has no such field{did_you_mean(key, known)}")
        typed = {key: value for key, value in keys.items() if key in known}
        optional = {key: option for key, option in known.items() if key in typed}
        problems += [
            f"{problem.path}: {problem.what}" for problem in check_options(optional, typed, "trl", "GRPOConfig")
        ]
        return problems

    def train(self, policy: Part, env: Environment, run: Run, *, seed: int, evaluation: EvaluationSpec) -> Path:
        """Train the policy and save it; returns the folder of the trained policy.

        Ctrl-C saves what has been learned so far and raises `KeyboardInterrupt`; an error of the retriever or of a
        reward saves it too, and passes through.
        """
        from recr1.policies.transformers import save
        from recr1.trainers.monitor import Monitor, Validator

        trl, transformers = _libraries()
        transformers.set_seed(seed)
        learner = build("policy", policy)
        if not hasattr(learner, "model"):
            raise UserError(
                f"policy.type: {policy.type!r} cannot be trained by grpo: it has no weights; use transformers"
            )
        arguments = self._arguments(trl, run, seed, learner)
        monitor = Monitor(run, self.steps, Validator(learner, env, evaluation, seed))
        trainer = trl.GRPOTrainer(
            model=learner.model,
            reward_funcs=reward_function(env, run, self.rollouts_every),
            args=arguments,
            train_dataset=training_data(env),
            processing_class=learner.tokenizer,
            callbacks=[monitor.callback()],
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        monitor.attach(trainer)
        sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
        try:
            with monitor:
                trainer.train()
            if sharded:  # every rank has a part to give, which ranks that were interrupted cannot do
                trainer.save_model(str(run.policy_path))
        finally:
            if run.writer and not sharded:
                save(trainer.accelerator.unwrap_model(trainer.model), learner.tokenizer, run.policy_path)
            if run.writer:
                _remove_if_empty(run.path / "checkpoints")
        return run.policy_path

    def _arguments(self, trl: Any, run: Run, seed: int, learner: Any) -> Any:
        import torch

        given = dict(self.trl)
        defaults: dict[str, Any] = {"save_strategy": "steps" if "save_steps" in given else "no"}
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
            "max_completion_length": learner.max_new_tokens,
            "report_to": "none",
            "logging_steps": 1,
            "disable_tqdm": True,
        }
        try:
            return trl.GRPOConfig(**{**defaults, **given, **own})
        except ValueError as error:
            raise UserError(f"trainer.trl: {error}") from error


def reward_function(env: Environment, run: Run, rollouts_every: int) -> Callable[..., list[float]]:
    """The one function that TRL calls with each batch of completions: needs by id, one step, rewards.

    Nothing is caught here: an error of the retriever or of a reward ends the run, and no rollout gets a number for it.
    """

    def recr1(
        prompts: Sequence[Chat],
        completions: Sequence[Any],
        need_id: Sequence[str],
        log_metric: Callable[[str, float], None],
        trainer_state: Any,
        **_columns: Any,
    ) -> list[float]:
        needs = [env.need(name) for name in need_id]
        chats = [
            chat_with(prompt, completion[0]["content"]) for prompt, completion in zip(prompts, completions, strict=True)
        ]
        step = env.step(needs, chats)
        for name, value in metrics(step).items():
            if name != "reward":  # TRL logs the total under this name itself
                log_metric(name, value)
        number = trainer_state.global_step + 1
        if rollouts_every and (number == 1 or number % rollouts_every == 0):
            run.log_rollouts(number, step)
        return [float(value) for value in step.rewards]

    return recr1


def training_data(env: Environment) -> Any:
    """The training needs as TRL reads them: a prompt and the id by which the reward function finds the need."""
    from datasets import Dataset

    needs = env.task.needs("train")
    prompts = [[dict(message) for message in chat] for chat in env.prompts(needs)]
    return Dataset.from_dict({"prompt": prompts, "need_id": [need.id for need in needs]})


def _remove_if_empty(folder: Path) -> None:
    """TRL makes its folder for checkpoints even when none is written."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _require_libraries() -> None:
    """Say at once what is not installed, before data or a model is opened; nothing is imported."""
    for library in ("torch", "transformers", "datasets", "accelerate", "trl"):
        if find_spec(library) is None:
            raise MissingLibrary(library, "train", "trainer.type: grpo")


def _libraries() -> tuple[Any, Any]:
    import transformers
    import trl

    # TRL still says "gradient_checkpointing" where transformers has a new word: nothing that a user could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    return trl, transformers
