"""A script that builds TRL's configs and says what they refuse; `config.py` starts it, in a process of its own.

It hides torch: transformers supports a machine without it, where its config loads in a second instead of ten, and asks
nothing of the hardware. Standard input is a list of [class, keys, processes] in JSON; standard output a list with what
each refuses, or null.
"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

HIDDEN = ("torch", "accelerate", "peft", "bitsandbytes", "deepspeed", "vllm")


def refusal(name: str, keys: dict[str, Any], processes: int) -> str | None:
    """Why TRL's config refuses the keys, in its own words; None where it takes them."""
    from transformers import TrainingArguments

    TrainingArguments.device, TrainingArguments.world_size = SimpleNamespace(type="cpu"), processes
    module = importlib.import_module(f"trl.trainer.{name.removesuffix('Config').lower()}_config")
    try:
        getattr(module, name)(**keys)
    except (TypeError, ValueError) as error:
        return str(error) or type(error).__name__
    return None


if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(HIDDEN))  # type: ignore[arg-type]
    with redirect_stdout(sys.stderr):
        refusals = [refusal(*request) for request in json.load(sys.stdin)]
    json.dump(refusals, sys.stdout)
