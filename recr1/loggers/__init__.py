"""Where a run's numbers go besides its own folder: one class a service, all fed from one place, `recr1.runs.Run`."""

from recr1.loggers.base import Alerting, Logger, Resuming, Showing, Table

BUILTIN = {
    "jsonl": "recr1.loggers.jsonl:JsonlLogger",
    "tensorboard": "recr1.loggers.tensorboard:TensorBoardLogger",
    "trackio": "recr1.loggers.trackio:TrackioLogger",
    "wandb": "recr1.loggers.wandb:WandbLogger",
}
"""Loggers by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Alerting", "Logger", "Resuming", "Showing", "Table"]
