"""Trainers: how rewards change the policy."""

from recr1.trainers.base import Trainer

BUILTIN = {
    "grpo": "recr1.trainers.grpo:GRPO",
    "ppo": "recr1.trainers.ppo:PPO",
    "rloo": "recr1.trainers.rloo:RLOO",
    "sft": "recr1.trainers.sft:SFT",
}
"""Trainers by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Trainer"]
