"""The policy that a run trained, as a part that can be built."""

from __future__ import annotations

from pathlib import Path

from recr1.config.build import Part
from recr1.errors import RunError
from recr1.policies.adapters import OPTIONS as ADAPTER_OPTIONS
from recr1.runs import Run


def trained_part(run: Run, policy: Part) -> Part:
    """The policy of a run's recipe with the weights that the run left; raises `RunError` where there are none yet."""
    if not (run.policy_path / "config.json").is_file():
        raise RunError(f"{run.path} holds no trained policy yet ({run.policy_path} is missing): finish the run first")
    return with_weights(policy, run.policy_path)


def with_weights(policy: Part, folder: Path) -> Part:
    """The same policy with the weights of a folder, an adapter merged into them: the folder holds the whole model."""
    options = {name: value for name, value in policy.options.items() if name not in ADAPTER_OPTIONS}
    return Part(policy.type, {**options, "model": str(folder)})
