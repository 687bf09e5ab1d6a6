"""Where a run's numbers go besides its folder: one class a service, all called by `recr1.runs.Run`."""

from recr1.loggers.base import Logger, LogTable, SupportsAlert, SupportsResume, SupportsShow

BUILTIN = {
    "jsonl": "recr1.loggers.jsonl:JsonlLogger",
    "tensorboard": "recr1.loggers.tensorboard:TensorBoardLogger",
    "trackio": "recr1.loggers.trackio:TrackioLogger",
    "wandb": "recr1.loggers.wandb:WandbLogger",
}
"""Loggers by their name in a recipe; a class is imported when it is needed."""

__all__ = ["BUILTIN", "LogTable", "Logger", "SupportsAlert", "SupportsResume", "SupportsShow"]
