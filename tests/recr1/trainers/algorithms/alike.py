"""Trainers that sample alike however many processes share a batch, and leave what each of them rewarded.

What is sampled hangs on the random numbers of a process, so that two and one would write different completions. Here
each completion has a seed of its own, by its step and its place in the batch of all processes.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO
from recr1.trainers.trl.additions import Addition


class Alike(Addition):
    """Generates each completion by itself, from its own seed, and writes what was rewarded."""

    def token_generator(self, model, generate):
        return partial(self._each, generate)

    def _each(self, generate, *, input_ids, attention_mask, generation_config):
        import torch

        first = self.trainer.accelerator.process_index * len(input_ids)
        written = []
        with torch.random.fork_rng():
            for place, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True), first):
                torch.manual_seed(1000 * self.trainer.state.global_step + place)
                prompt = ids[mask.bool()].unsqueeze(0)
                there = torch.ones_like(prompt)
                whole = generate(input_ids=prompt, attention_mask=there, generation_config=generation_config)
                written.append(whole[0, prompt.shape[1] :])
        padding = self.trainer.processing_class.pad_token_id
        completions = torch.nn.utils.rnn.pad_sequence(written, batch_first=True, padding_value=padding)
        return torch.cat([input_ids, completions], dim=1)

    def around_rewards(self, compute, rows, prompts, completions, completion_ids):
        rewards = compute(rows, prompts, completions, completion_ids)
        trainer = self.trainer
        rank = trainer.accelerator.process_index
        mine = rewards[rank * len(rows) :, 0][: len(rows)].tolist()
        with (Path(trainer.args.output_dir).parent / f"rewarded-{rank}.jsonl").open("a") as file:
            for row, completion, reward in zip(rows, completions, mine, strict=True):
                record = {"step": trainer.state.global_step, "need": row["need_id"]}
                file.write(json.dumps({**record, "text": completion[0]["content"], "reward": reward}) + "\n")
        return rewards


class AlikeGRPO(GRPO):
    def _additions(self, learner, monitor):
        return [*super()._additions(learner, monitor), Alike()]


class AlikeRLOO(RLOO):
    def _additions(self, learner, monitor):
        return [*super()._additions(learner, monitor), Alike()]


class AlikePPO(PPO):
    def _additions(self, learner, monitor):
        return [*super()._additions(learner, monitor), Alike()]
