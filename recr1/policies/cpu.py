"""Models of real sizes on CPUs: bfloat16 where it is faster than float32, and memory that is used again.

The weights that are trained stay in float32. What generates is a copy of the model in bfloat16, whose weights are
brought up to date before each use.
"""

from __future__ import annotations

import copy
import ctypes
import sys
from typing import Any

LARGE = 16_384
"""Words of a vocabulary from which on training and validation take ways that only pay for models of real sizes."""
SCORED = 512
"""Tokens whose scores of all words are in memory at a time, where the vocabulary is large."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Options of glibc's `mallopt`."""


def is_fast() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    import torch

    known = torch.cpu.get_capabilities()
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


def is_large(model: Any) -> bool:
    """Whether a model on a CPU has a large vocabulary."""
    return bool(model.device.type == "cpu" and model.config.get_text_config().vocab_size >= LARGE)


class Copy:
    """A copy of a model in bfloat16, which generates for it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._copy: Any = None

    def current(self) -> Any:
        """The copy with the weights of the model as they are now, in the model's mode."""
        import torch

        if self._copy is None:
            self._copy = copy.deepcopy(self._model).requires_grad_(requires_grad=False)
            for module in self._copy.modules():
                for name in ("forward", "_original_forward"):  # of a trainer, and bound to the model itself
                    vars(module).pop(name, None)
            self._copy.activation_checkpointing_disable()
            for weight in self._copy.parameters():
                weight.data = weight.data.to(torch.bfloat16)
        with torch.no_grad():
            for weight, own in zip(self._model.parameters(), self._copy.parameters(), strict=True):
                own.copy_(weight)
        return self._copy.train(self._model.training)


def keep_freed_memory() -> None:
    """Let this process use freed memory again, which glibc gives back to the system where it is in large pieces.

    A step of a real model frees and takes gigabytes; without this a third of its time goes into clearing them.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(MMAP_THRESHOLD, 1 << 30)
        mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
