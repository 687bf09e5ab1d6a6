"""Additions to TRL's trainers: objects in a list, called at named hooks by one class that overrides TRL's methods.

`Extended` and `ExtendedOnline` come before a trainer of TRL in the classes of `classes.py`. They override each method
of `OVERRIDDEN` once and call the additions there, in the order of the list. A hook that is called "around" something
gets it as its first argument; the first addition is the outermost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.trainers.launch import Ranks

if TYPE_CHECKING:
    from recr1.trainers.layers.checkpoints import Checkpoints

OVERRIDDEN: Mapping[str, str] = {
    "__init__": "gives the additions their trainer",
    "train": "the additions learn where training begins",
    "create_model_card": "a checkpoint has no model card",
    "_get_output_dir": "a checkpoint is written into a part folder, and moved once it is complete",
    "_save_checkpoint": "a checkpoint is complete, with the state of the additions, or not there",
    "_load_optimizer_and_scheduler": "loads the state of the additions, when TRL loads the optimizer's",
    "_get_train_sampler": "additions may change the order of the data",
    "_maybe_log_save_evaluate": "the state between two steps is remembered before validation and after it",
    "_prepare_inputs": "additions may choose other needs, before completions are generated",
    "_generate_and_score_completions": "additions may change the batch before its completions and after its advantages",
    "_generate": "completions are timed, or come from dynamic sampling",
    "_generate_single_turn": "additions may wrap the model's `generate`",
    "_calculate_rewards": "rewards are kept for advantages, and read by the curriculum",
    "_get_per_token_logps_and_entropies": "prompts may be shared, and RLOO reads the distance to its reference",
    "_compute_loss": "the critic's loss is added",
    "compute_loss": "supervised pairs may share a row",
    "training_step": "the critic steps after the policy's gradients are complete",
}
"""Every method of TRL's trainers, and of transformers' below them, that recr1 overrides, and why."""

_Trainer: Any = object
"""Stands for TRL's class, which comes after ours and is only imported where a training starts."""


class Addition:
    """An addition to a trainer of TRL. Each method is a hook, with when it is called; here it does nothing."""

    trainer: Any
    """Set before TRL's own constructor runs."""

    def begin(self, checkpoint: Path | None) -> None:
        """Training begins, from a checkpoint or with the first step."""

    def order(self, sampler: Any) -> Any:
        """Give the sampler of the training data."""
        return sampler

    def choose(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the rows of training data (one a completion) that this process generates completions for next."""
        return rows

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the rows of a batch before its completions are generated and rewarded."""
        return rows

    def around_generation(self, generate: Callable[..., Any], prompts: list[Any]) -> Any:
        """Give what TRL's `_generate` gives for these prompts."""
        return generate(prompts)

    def token_generator(self, model: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
        """Give the method that generates tokens: the model's `generate`, as the additions before left it."""
        return generate

    def around_log_probabilities(self, compute: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Give log-probabilities, entropies and auxiliary loss as TRL's `_get_per_token_logps_and_entropies` does."""
        return compute(*given, **more)

    def around_rewards(self, compute: Callable[..., Any], rows: list[dict[str, Any]], *more: Any) -> Any:
        """Give the rewards of all processes, (B, 1), NaN where there is none."""
        return compute(rows, *more)

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Change a batch that TRL has made; `rewards_B` are those of all processes, in the order of their ranks."""

    def around_loss(self, compute: Callable[..., Any], model: Any, batch: dict[str, Any]) -> Any:
        """Give the loss of a micro-batch."""
        return compute(model, batch)

    def around_pairs(self, compute: Callable[..., Any], batch: dict[str, Any], **more: Any) -> Any:
        """Give the loss of a micro-batch of supervised pairs; `compute` takes the same."""
        return compute(batch, **more)

    def after_backward(self) -> None:
        """The gradients of a micro-batch are there; the optimizer has not stepped."""

    def mark(self) -> None:
        """The trainer is between two steps: remember what a step that fails goes back to."""

    def save(self, folder: Path) -> None:
        """Write state into a checkpoint, on every rank."""

    def load(self, checkpoint: Path) -> None:
        """Read what `save` wrote."""


class Extended(_Trainer):  # type: ignore[misc]
    """Comes before a trainer of TRL: checkpoints that are complete or absent, and the hooks that all trainers have."""

    # A trainer that generates nothing has none of these; TRL's online trainers set their own.
    _step = 0
    _buffered_inputs: Any = None
    _total_train_tokens = 0

    def __init__(self, *, additions: Sequence[Addition], checkpoints: Checkpoints, **given: Any) -> None:
        self.additions, self.checkpoints = additions, checkpoints
        for addition in additions:
            addition.trainer = self
        super().__init__(**given)
        from recr1.trainers.layers.head import score_trained_tokens

        for model in (self.model, getattr(self, "ref_model", None)):
            if model is not None:
                score_trained_tokens(model)

    def train(self, resume_from_checkpoint: str | None = None, **more: Any) -> Any:
        """Train, from a checkpoint where one is given."""
        for addition in self.additions:
            addition.begin(Path(resume_from_checkpoint) if resume_from_checkpoint else None)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)

    def mark(self) -> None:
        """Remember the state between two steps."""
        for addition in self.additions:
            addition.mark()

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints.part)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if Ranks().first(step in self.checkpoints.steps()):  # others may have a folder of their own, without it
            return
        with self.checkpoints.saving():
            super()._save_checkpoint(model, trial)
            for addition in self.additions:
                addition.save(self.checkpoints.part / f"checkpoint-{step}")
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.checkpoints.complete(step)
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            for addition in self.additions:
                addition.load(Path(checkpoint))

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        for addition in self.additions:
            sampler = addition.order(sampler)
        return sampler

    def _maybe_log_save_evaluate(self, *given: Any, **more: Any) -> None:
        self.mark()
        super()._maybe_log_save_evaluate(*given, **more)
        self.mark()

    def compute_loss(self, model: Any, inputs: dict[str, Any], **more: Any) -> Any:
        """The loss of a micro-batch, as TRL or an addition gives it."""
        return self._around("around_pairs", partial(super().compute_loss, model))(inputs, **more)

    def _around(self, hook: str, call: Callable[..., Any]) -> Callable[..., Any]:
        for addition in reversed(self.additions):
            call = partial(getattr(addition, hook), call)
        return call


class ExtendedOnline(Extended):
    """Comes before a trainer of TRL that generates completions and has them rewarded."""

    rewards_B: Any = None
    """The rewards of the last completions, of all processes; NaN where there is none."""
    places: tuple[Any, Any] | None = None
    """Where prompts are shared: the rows (B, 1) and the places in them (B, T) where the last pass of the model predicts
    each token of the completions."""

    def own(self, numbers_B: Any) -> Any:
        """This process's part of the numbers of all completions of a batch."""
        size = len(numbers_B) // self.accelerator.num_processes
        return numbers_B[self.accelerator.process_index * size :][:size]

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        generates = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
        if generates or self._buffered_inputs is None:
            for addition in self.additions:
                generation_batch = addition.choose(generation_batch)
        return super()._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        for addition in self.additions:
            inputs = addition.before_scoring(inputs)
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        for addition in self.additions:
            addition.after_scoring(batch, self.rewards_B)
        return batch

    def _generate(self, prompts: list[Any]) -> Any:
        return self._around("around_generation", super()._generate)(prompts)

    def _generate_single_turn(self, *given: Any, **more: Any) -> Any:
        model = self.accelerator.unwrap_model(self.model)
        others, generate = vars(model).get("generate"), model.generate  # others': put in front of the class's
        for addition in self.additions:
            generate = addition.token_generator(model, generate)
        model.generate = generate
        try:
            return super()._generate_single_turn(*given, **more)
        finally:
            if others is None:
                del model.generate
            else:
                model.generate = others

    def _calculate_rewards(self, *given: Any) -> Any:
        rewards = self._around("around_rewards", super()._calculate_rewards)(*given)
        self.rewards_B = rewards[:, 0]
        return rewards

    def _get_per_token_logps_and_entropies(self, *given: Any, **more: Any) -> Any:
        compute = super()._get_per_token_logps_and_entropies
        return self._around("around_log_probabilities", compute)(*given, **more)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        return self._around("around_loss", super()._compute_loss)(model, inputs)

    def training_step(self, *given: Any) -> Any:
        """The gradients of a micro-batch, as TRL makes them."""
        loss = super().training_step(*given)
        for addition in self.additions:
            addition.after_backward()
        return loss
