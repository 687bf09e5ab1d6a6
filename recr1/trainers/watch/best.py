"""The weights of the best policy so far, on disk beside the checkpoints.

Only weights that are trained are kept: those of the frozen model under an adapter are where they were. Each checkpoint
holds them too, as links that cost nothing, so that a run goes on with the best of that moment, whenever it was killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

FOLDER, WEIGHTS = "best", "weights.safetensors"


class Best:
    """The folder with the best weights; every rank calls, the writing one writes.

    Weights that are sharded over ranks are kept as the trainer saves them, in Hugging Face format.
    """

    def __init__(self, folder: Path, *, writer: bool) -> None:
        self.folder, self.writer = folder, writer

    def save(self, trainer: Any) -> None:
        """Keep the trainer's weights in place of those before."""
        part = self.folder.with_name(f".{self.folder.name}.part")
        if self.writer:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        if sharded(trainer):
            trainer.accelerator.wait_for_everyone()
            trainer.save_model(str(part))
            trainer.accelerator.wait_for_everyone()
        elif self.writer:
            _write(trainer, part / WEIGHTS)
        if self.writer:
            # A folder is put in its place, never written into: its files may be linked from checkpoints.
            shutil.rmtree(self.folder, ignore_errors=True)
            part.replace(self.folder)

    def restore(self, trainer: Any) -> None:
        """Make the best weights the trainer's again, in the process that writes."""
        if self.writer:
            _read(trainer, self.folder / WEIGHTS)

    def copy_to(self, folder: Path) -> None:
        """Write the best weights of a sharded model as they were saved."""
        if self.writer:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def remove(self) -> None:
        """Remove them."""
        if self.writer:
            shutil.rmtree(self.folder, ignore_errors=True)


def sharded(trainer: Any) -> bool:
    """Whether no rank has all weights."""
    return bool(trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled)


def _trained(trainer: Any) -> dict[str, Any]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {name: weights for name, weights in model.named_parameters() if weights.requires_grad}


def _write(trainer: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: weights.detach().cpu().contiguous() for name, weights in _trained(trainer).items()}, path)


def _read(trainer: Any, path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    kept = load_file(path)
    with torch.no_grad():
        for name, weights in _trained(trainer).items():
            weights.copy_(kept[name])
