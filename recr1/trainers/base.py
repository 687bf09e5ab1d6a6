"""What a trainer is: something that makes a policy better in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from recr1.config.build import EvaluationSpec, Part
from recr1.env import Environment
from recr1.runs import Run


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
