"""The addition that makes TRL's `GRPOTrainer` an actor with a critic; the formulas are in `ppo.py`.

TRL generates, asks for rewards, and computes the clipped loss of the policy. In between, the advantages of groups are
replaced by those of tokens, and the loss of values is added.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.trainers.layers.critic import Critic
from recr1.trainers.ppo import explained_variance, gae, moments, token_rewards, value_losses, whitened
from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from recr1.trainers.ppo import PPO

FILE = "critic.pt"
"""The critic and its optimizer, in a checkpoint."""
READ = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
"""What a model reads of a batch."""


class ActorCritic(Addition):
    """A critic beside the policy, and advantages of shape (B, T) in place of those of groups, (B,)."""

    def __init__(self, policy: Any, options: PPO) -> None:
        self.options = options
        self.critic = Critic(policy, options.critic, options.value_weight)

    def begin(self, checkpoint: Path | None) -> None:
        """Move the critic to its device, with an optimizer whose other options are those of the policy's."""
        import torch

        args = self.trainer.args
        self.critic.place(self.trainer.accelerator.device, recompute=args.gradient_checkpointing)
        self.optimizer = torch.optim.AdamW(
            self.critic.weights.parameters(),
            lr=self.options.critic_learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )

    def after_backward(self) -> None:
        """Step where the policy is about to, with a learning rate that follows the schedule of the policy's.

        Every process holds all of the critic, whatever shards the policy: gradients are averaged here.
        """
        import torch

        accelerator, args = self.trainer.accelerator, self.trainer.args
        if not accelerator.sync_gradients:
            return
        parameters = list(self.critic.weights.parameters())
        for parameter in parameters if accelerator.num_processes > 1 else ():
            if parameter.grad is None:  # an expert to which no token of this process went
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
        self._log("value/grad_norm", float(torch.nn.utils.clip_grad_norm_(parameters, args.max_grad_norm or torch.inf)))
        share = self.trainer._get_learning_rate() / args.learning_rate if args.learning_rate else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.critic_learning_rate * share
        self.optimizer.step()
        self.optimizer.zero_grad()

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Put the advantages of tokens into the batch, with the values and returns that the critic learns from."""
        rewards_B = self.trainer.own(rewards_B)
        # Rollouts without a reward are left out: no token of theirs is in any loss, mean or count.
        batch["completion_mask"] = batch["completion_mask"] * (~rewards_B.isnan()).unsqueeze(1)
        batch["num_items_in_batch"] = self._total(batch["completion_mask"].sum())
        values_BT, logps_BT = self._read(batch)
        mask_BT, penalties_BT = batch["completion_mask"].float(), None
        if self.trainer.beta != 0 and self.options.kl == "reward":
            kl_BT = logps_BT - batch["ref_per_token_logps"]
            self._log("kl", moments(kl_BT, batch["completion_mask"], self._total)[0].item())
            penalties_BT = self.trainer.beta * kl_BT
        rewards_BT = token_rewards(rewards_B, mask_BT, penalties_BT)
        advantages_BT = gae(rewards_BT, values_BT, mask_BT, self.options.gamma, self.options.gae_lambda)
        batch["old_values"], batch["returns"] = values_BT, advantages_BT + values_BT
        batch["advantages"] = advantages_BT
        if self.options.whiten:
            batch["advantages"] = whitened(advantages_BT, mask_BT, self._total)
        self._log_batch(batch, rewards_BT, advantages_BT)

    def _read(self, batch: dict[str, Any]) -> tuple[Any, Any]:
        """Values and log-probabilities (both (B, T)) of a batch that was just generated."""
        import torch

        trainer, size = self.trainer, self.trainer.args.per_device_train_batch_size
        in_reward = trainer.beta != 0 and self.options.kl == "reward"
        needed = self.critic.kind == "head" or (in_reward and "old_per_token_logps" not in batch)
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        compute, length = trainer._get_per_token_logps_and_entropies, batch["completion_ids"].shape[1]
        values, logps = [], []
        with torch.no_grad():
            for start in range(0, len(ids), size):
                rows = slice(start, start + size)
                with self.critic.listening() as states:
                    if needed:
                        logps.append(compute(trainer.model, ids[rows], mask[rows], length)[0])
                with trainer.accelerator.autocast():
                    part = {name: batch[name][rows] for name in READ}
                    values.append(self.critic.values(part, states, trainer.places))
        return torch.cat(values), batch.get("old_per_token_logps", torch.cat(logps) if logps else None)

    def around_loss(self, compute: Callable[..., Any], model: Any, batch: dict[str, Any]) -> Any:
        """The policy's loss, with the gradient of the critic's: "loss" in the log is the policy's alone."""
        beta = self.trainer.beta
        if self.options.kl == "reward":  # TRL would count the distance in the loss too
            self.trainer.beta = 0.0
        try:
            with self.critic.listening() as states:
                loss = compute(model, batch)
        finally:
            self.trainer.beta = beta
        with self.trainer.accelerator.autocast():
            values_BT = self.critic.values(batch, states, self.trainer.places)
        value_loss = self._value_loss(values_BT, batch)
        return loss + value_loss - value_loss.detach()

    def _value_loss(self, values_BT: Any, batch: dict[str, Any]) -> Any:
        """A micro-batch's share of the mean over all tokens of a step, as TRL's "dapo" weighs the policy's loss."""
        import torch

        trainer = self.trainer
        old_BT, returns_BT, mask_BT = batch["old_values"], batch["returns"], batch["completion_mask"]
        losses_BT, clipped_BT = value_losses(values_BT, old_BT, returns_BT, self.options.value_clip)
        sums = torch.stack([(losses_BT * mask_BT).sum(), (clipped_BT * mask_BT).sum()])
        window = trainer.current_gradient_accumulation_steps
        tokens = batch["num_items_in_batch"].clamp(min=1) * window / trainer.args.steps_per_generation
        # What is logged is averaged over the micro-batches of a step.
        loss, clipped = (self._total(sums.detach()) * window / tokens).tolist()
        self._log("value/loss", loss)
        self._log("value/clip_ratio", clipped)
        return sums[0] * trainer.accelerator.num_processes / tokens

    def _log_batch(self, batch: dict[str, Any], rewards_BT: Any, advantages_BT: Any) -> None:
        """Numbers of a batch that was just generated; TRL's number of groups is taken back."""
        mask_BT, values_BT = batch["completion_mask"].float(), batch["old_values"]
        paid_BT = gae(rewards_BT, values_BT.new_zeros(values_BT.shape), mask_BT, self.options.gamma, 1.0)
        mean, variance = moments(advantages_BT, mask_BT, self._total)
        for name, value in {
            "value/mean": moments(values_BT, mask_BT, self._total)[0],
            "value/return": moments(paid_BT, mask_BT, self._total)[0],
            "value/explained_variance": explained_variance(paid_BT, values_BT, mask_BT, self._total),
            "advantage/mean": mean,
            "advantage/std": variance.sqrt(),
        }.items():
            self._log(name, value.item())
        self.trainer._metrics["train"].pop("frac_reward_zero_std")
        of_rollouts_B = (batch["advantages"] * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)
        self.trainer._logs["advantages"].extend(self.trainer.accelerator.gather(of_rollouts_B).tolist())

    def _log(self, name: str, value: float) -> None:
        self.trainer._metrics["train"][name].append(value)

    def _total(self, here: Any) -> Any:
        return self.trainer.accelerator.reduce(here, reduction="sum")

    def save(self, folder: Path) -> None:
        """Write the critic and its optimizer."""
        import torch

        if self.trainer.args.should_save:
            state = {"weights": self.critic.weights.state_dict(), "optimizer": self.optimizer.state_dict()}
            torch.save(state, folder / FILE)

    def load(self, checkpoint: Path) -> None:
        """Read them again."""
        import torch

        state = torch.load(checkpoint / FILE, map_location=self.trainer.args.device, weights_only=True)
        self.critic.weights.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
