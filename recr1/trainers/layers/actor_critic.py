"""The addition that makes TRL's `GRPOTrainer` an actor with a critic; the formulas are in `ppo.py`.

TRL generates, asks for rewards, and computes the clipped loss of the policy. In between, the advantages of groups, of
shape (B,), are replaced by those of tokens, (B, T), and the loss of values is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.trainers.layers.critic import Critic, CriticOptimizer
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

    def set_up(self) -> None:
        """Move the critic to its device, with an optimizer of its own."""
        args = self.trainer.args
        self.critic.place(self.trainer.accelerator.device, recompute=args.gradient_checkpointing)
        self.optimizer = CriticOptimizer(self.critic, args, self.options.critic_learning_rate)

    def after_backward(self) -> None:
        """Step where the policy is about to."""
        if self.trainer.accelerator.sync_gradients:
            norm = self.optimizer.step(self.trainer.accelerator, self.trainer._get_learning_rate())
            self._log("value/grad_norm", norm)

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Put the advantages of tokens into the batch, with the values and returns that the critic learns from."""
        rewards_B = self.trainer.own(rewards_B)
        _leave_out(batch, rewards_B.isnan(), self._total)
        values_BT, logps_BT = self._read(batch)
        mask_BT = batch["completion_mask"].float()
        rewards_BT = token_rewards(rewards_B, mask_BT, self._penalties(batch, logps_BT))
        advantages_BT = gae(rewards_BT, values_BT, mask_BT, self.options.gamma, self.options.gae_lambda)
        batch["old_values"], batch["returns"] = values_BT, advantages_BT + values_BT
        batch["advantages"] = advantages_BT
        if self.options.whiten:
            batch["advantages"] = whitened(advantages_BT, mask_BT, self._total)
        self._log_batch(batch, rewards_BT, advantages_BT)

    def _read(self, batch: dict[str, Any]) -> tuple[Any, Any]:
        """Values and log-probabilities (both (B, T)) of a batch that was just generated."""
        import torch

        rows, size = len(batch["completion_ids"]), self.trainer.args.per_device_train_batch_size
        in_reward = self.trainer.beta != 0 and self.options.kl == "reward"
        needed = self.critic.kind == "head" or (in_reward and "old_per_token_logps" not in batch)
        values, logps = [], []
        with torch.no_grad():
            for start in range(0, rows, size):
                part = {name: batch[name][start : start + size] for name in READ}
                with self.critic.listening() as states:
                    if needed:
                        logps.append(self._logps(part))
                with self.trainer.accelerator.autocast():
                    values.append(self.critic.values(part, states, self.trainer.places))
        return torch.cat(values), batch.get("old_per_token_logps", torch.cat(logps) if logps else None)

    def _logps(self, part: dict[str, Any]) -> Any:
        import torch

        ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
        mask = torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)
        compute = self.trainer._get_per_token_logps_and_entropies
        return compute(self.trainer.model, ids, mask, part["completion_ids"].shape[1])[0]

    def _penalties(self, batch: dict[str, Any], logps_BT: Any) -> Any:
        if self.trainer.beta == 0 or self.options.kl == "loss":
            return None
        kl_BT = logps_BT - batch["ref_per_token_logps"]
        mean, _ = moments(kl_BT, batch["completion_mask"], self._total)
        self._log("kl", mean.item())
        return self.trainer.beta * kl_BT

    def around_loss(self, compute: Callable[..., Any], model: Any, batch: dict[str, Any]) -> Any:
        """The policy's loss, with the gradient of the critic's: "loss" in the log is the policy's alone."""
        with self.critic.listening() as states, self._beta_of_loss():
            loss = compute(model, batch)
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

    @contextmanager
    def _beta_of_loss(self) -> Iterator[None]:
        """TRL adds `beta` times the distance to its loss; where it is in the reward, that would count it twice."""
        beta = self.trainer.beta
        self.trainer.beta = beta if self.options.kl == "loss" else 0.0
        try:
            yield
        finally:
            self.trainer.beta = beta

    def _log_batch(self, batch: dict[str, Any], rewards_BT: Any, advantages_BT: Any) -> None:
        """Numbers of a batch that was just generated; TRL's number of groups is taken back."""
        mask_BT, values_BT = batch["completion_mask"].float(), batch["old_values"]
        paid_BT = gae(rewards_BT, values_BT.new_zeros(values_BT.shape), mask_BT, self.options.gamma, 1.0)
        self._log("value/mean", moments(values_BT, mask_BT, self._total)[0].item())
        self._log("value/return", moments(paid_BT, mask_BT, self._total)[0].item())
        explained = explained_variance(paid_BT, values_BT, mask_BT, self._total)
        self._log("value/explained_variance", explained.item())
        mean, variance = moments(advantages_BT, mask_BT, self._total)
        self._log("advantage/mean", mean.item())
        self._log("advantage/std", variance.sqrt().item())
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


def _leave_out(batch: dict[str, Any], lost_B: Any, total: Any) -> None:
    """Take rollouts without a reward out of the batch: no token of theirs is in any loss, mean or count."""
    batch["completion_mask"] = batch["completion_mask"] * (~lost_B).unsqueeze(1)
    batch["num_items_in_batch"] = total(batch["completion_mask"].sum())
