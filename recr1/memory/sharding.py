"""How the processes of a launch shard a model: not at all (DDP), or weights, gradients and optimizer (ZeRO, FSDP2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recr1.config import yaml12
from recr1.config.shipped import shipped_launch_configs
from recr1.errors import UserError, shown

Shard: TypeAlias = Literal["none", "zero2", "zero3", "fsdp2"]


@dataclass(frozen=True)
class Sharding:
    """The parts of a launch that change the memory of one process."""

    processes: int = 1
    shard: Shard = "none"

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed trains: weights in half precision, with a master copy in the optimizer."""
        return self.shard in ("zero2", "zero3")

    @property
    def of_weights(self) -> int:
        """Number of shards of the weights."""
        return self.processes if self.shard in ("zero3", "fsdp2") else 1

    @property
    def of_gradients(self) -> int:
        """Number of shards of gradients and optimizer."""
        return self.processes if self.shard != "none" else 1


def sharding_of(launch: str | None, processes: int | None, shard: Shard | None) -> Sharding:
    """The sharding of a configuration of accelerate (a file, or the name of one that ships), with overrides.

    What is None is taken from the configuration; without one there is one process. Raises `UserError` for a
    configuration that cannot be read, or whose sharding is not supported.
    """
    found = _configured(launch) if launch else Sharding()
    kind = shard or found.shard
    if kind != "none" and processes is None and not launch:
        raise UserError(f"--shard {kind} needs several processes: add --processes N")
    return Sharding(found.processes if processes is None else processes, kind)


def _configured(launch: str) -> Sharding:
    path = shipped_launch_configs().get(launch, Path(launch))
    if not path.is_file():
        known = ", ".join(shipped_launch_configs())
        raise UserError(f"--launch: no file and no shipped configuration {launch!r}; shipped are {known}")
    value = yaml12.read(path.read_text(encoding="utf-8")).value
    if not isinstance(value, dict) or "distributed_type" not in value:
        raise UserError(f"--launch: {path} has no distributed_type: is it a configuration of `accelerate config`?")
    processes = value.get("num_processes", 1)
    if not isinstance(processes, int) or processes < 1:
        raise UserError(f"--launch: {path}: num_processes: must be an integer >= 1, got {shown(processes)}")
    return Sharding(processes, _shard(value, path))


def _shard(value: Mapping[str, Any], path: Path) -> Shard:
    kind = value["distributed_type"]
    if kind == "FSDP":
        version = (value.get("fsdp_config") or {}).get("fsdp_version", 1)
        if version == 2:
            return "fsdp2"
        raise UserError(f"--launch: {path}: fsdp_version: must be 2 for an estimate, got {version}")
    if kind == "DEEPSPEED":
        stage = (value.get("deepspeed_config") or {}).get("zero_stage")
        if stage in (2, 3):
            return "zero2" if stage == 2 else "zero3"
        raise UserError(f"--launch: {path}: zero_stage: must be 2 or 3 for an estimate, got {shown(stage)}")
    return "none"
