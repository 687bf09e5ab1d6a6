"""Trainers that can be looked at after they trained."""

from __future__ import annotations

from recr1.trainers.grpo import GRPO
from recr1.trainers.ppo import PPO
from recr1.trainers.rloo import RLOO


def added(trainer, kind):
    """The addition of a class in a trainer of TRL's."""
    return next(addition for addition in trainer.additions if isinstance(addition, kind))


class Watched:
    """Comes before one of our trainers: `loop.trainer` is TRL's."""

    def _loop(self, *args):
        self.loop = super()._loop(*args)
        return self.loop


class WatchedGRPO(Watched, GRPO):
    """GRPO."""


class WatchedRLOO(Watched, RLOO):
    """RLOO."""


class WatchedPPO(Watched, PPO):
    """PPO."""


WATCHED = {GRPO: WatchedGRPO, RLOO: WatchedRLOO, PPO: WatchedPPO}
"""The class to look at for each of ours."""
