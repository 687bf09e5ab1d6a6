"""Trainers that sample alike however many processes share a batch, and leave what each of them rewarded.

What is sampled hangs on the random numbers of a process, so that two and one would write different completions. Here
each completion has a seed of its own, by its step and its place in the batch of all processes.
"""

from __future__ import annotations

import json
from pathlib import Path

from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO


class Alike:
    """What is laid before a trainer of TRL."""

    def _generate_single_turn(self, prompt_ids, *more):
        import torch

        first = self.accelerator.process_index * len(prompt_ids)
        written = []
        with torch.random.fork_rng():
            for place, prompt in enumerate(prompt_ids, first):
                torch.manual_seed(1000 * self.state.global_step + place)
                written.append(super()._generate_single_turn([prompt], *more))
        if isinstance(written[0], tuple):  # GRPO's comes with log-probabilities where vLLM wrote
            return [completion for completions, _ in written for completion in completions], None
        return [completion for completions in written for completion in completions]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        rank = self.accelerator.process_index
        mine = rewards[rank * len(inputs) :, 0][: len(inputs)].tolist()
        with (Path(self.args.output_dir).parent / f"rewarded-{rank}.jsonl").open("a") as file:
            for row, completion, reward in zip(inputs, completions, mine, strict=True):
                record = {"step": self.state.global_step, "need": row["need_id"]}
                file.write(json.dumps({**record, "text": completion[0]["content"], "reward": reward}) + "\n")
        return rewards


def alike(trainer_class):
    return type(trainer_class.__name__, (Alike, trainer_class), {})


class AlikeGRPO(GRPO):
    def _trainer_class(self, trl):
        return alike(super()._trainer_class(trl))


class AlikeRLOO(RLOO):
    def _trainer_class(self, trl):
        return alike(super()._trainer_class(trl))


class AlikePPO(PPO):
    def _trainer_class(self, trl):
        return alike(super()._trainer_class(trl))
