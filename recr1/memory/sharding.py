"""How the processes of a launch divide a model: nothing (DDP), or weights, gradients and optimizer (ZeRO, FSDP2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from recr1.config import yaml12
from recr1.errors import UserError
from recr1.recipe import shipped_launch_configs

Shard: TypeAlias = Literal["none", "zero2", "zero3", "fsdp2"]
SHARDS: tuple[Shard, ...] = get_args(Shard)


@dataclass(frozen=True)
class Sharding:
    """A launch, as far as it changes what one process holds."""

    processes: int = 1
    shard: Shard = "none"

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed trains: weights in half precision, and their master copy beside the optimizer."""
        return self.shard in ("zero2", "zero3")

    @property
    def of_weights(self) -> int:
        """In how many pieces weights are."""
        return self.processes if self.shard in ("zero3", "fsdp2") else 1

    @property
    def of_gradients(self) -> int:
        """In how many pieces gradients and optimizer are."""
        return self.processes if self.shard != "none" else 1


def sharding_of(launch: str | None, processes: int | None, shard: str | None) -> Sharding:
    """What is said on a command line: a configuration of accelerate, and what overrides it.

    Args:
        launch: A file, or the name of one that ships, such as "launch/zero3"; None for one process.
        processes: How many; None for what the configuration says.
        shard: One of `SHARDS`; None for what the configuration says.

    Raises:
        UserError: The configuration is none, or nothing that is known here.
    """
    found = _configured(launch) if launch else Sharding()
    kind = found.shard if shard is None else _known(shard)
    if kind != "none" and processes is None and not launch:
        raise UserError(f"--shard: {kind} divides over several processes; say how many with --processes")
    return Sharding(found.processes if processes is None else processes, kind)


def _known(shard: str) -> Shard:
    for known in SHARDS:
        if shard == known:
            return known
    raise UserError(f"--shard: {shard!r} is none of {', '.join(SHARDS)}")


def _configured(launch: str) -> Sharding:
    path = shipped_launch_configs().get(launch, Path(launch))
    if not path.is_file():
        known = ", ".join(shipped_launch_configs())
        raise UserError(f"--launch: there is no file {launch!r}, and no configuration of this name; there are {known}")
    value = yaml12.read(path.read_text(encoding="utf-8")).value
    if not isinstance(value, dict) or "distributed_type" not in value:
        raise UserError(f"--launch: {path} has no distributed_type: is it a configuration of `accelerate config`?")
    processes = value.get("num_processes", 1)
    if not isinstance(processes, int) or processes < 1:
        raise UserError(f"--launch: {path}: num_processes: expected a number of 1 or more, got {processes!r}")
    return Sharding(processes, _shard(value, path))


def _shard(value: Mapping[str, Any], path: Path) -> Shard:
    kind = value["distributed_type"]
    if kind == "FSDP":
        version = (value.get("fsdp_config") or {}).get("fsdp_version", 1)
        if version == 2:
            return "fsdp2"
        raise UserError(f"--launch: {path}: fsdp_version: 2 is reckoned with, and this is {version}")
    if kind == "DEEPSPEED":
        stage = (value.get("deepspeed_config") or {}).get("zero_stage")
        if stage in (2, 3):
            return "zero2" if stage == 2 else "zero3"
        raise UserError(f"--launch: {path}: zero_stage: 2 and 3 are reckoned with, and this is {stage!r}")
    return "none"
