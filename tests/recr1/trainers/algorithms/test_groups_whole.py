"""A reward that compares the completions of a need is refused where no process has all of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recr1.errors import UserError
from recr1.trainers.trl.loop import check_batch
from rewards.guards.form import GroupLengthReward
from rewards.guards.words import RepetitionReward


def trainer(*, processes, batch, group):
    return SimpleNamespace(
        num_generations=group,
        train_dataset=range(100),
        args=SimpleNamespace(generation_batch_size=batch),
        accelerator=SimpleNamespace(num_processes=processes),
    )


def test_parts_of_groups_are_refused_with_what_helps():
    rewards = [(RepetitionReward(), 1.0), (GroupLengthReward(), 0.5)]
    with pytest.raises(
        UserError, match=r"'group_length' compares the 8 .* each of 2 processes has 12: .* multiple of 8"
    ):
        check_batch(trainer(processes=2, batch=24, group=8), rewards)


def test_whole_groups_and_rewards_of_single_completions_are_fine():
    check_batch(trainer(processes=2, batch=16, group=8), [(GroupLengthReward(), 0.5)])
    check_batch(trainer(processes=2, batch=24, group=8), [(RepetitionReward(), 0.5)])
    check_batch(SimpleNamespace(accelerator=SimpleNamespace(num_processes=2)), [(GroupLengthReward(), 0.5)])
