"""What a result came from: versions, platform, commit."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrievers.fingerprint import retriever_fingerprint, versions
from rewards.abilities import retrievers_of

if TYPE_CHECKING:
    from recr1.env import Environment

LIBRARIES = ("recr1", "torch", "trl", "transformers", "peft", "accelerate", "numpy", "bm25s", "rank-bm25", "PyStemmer")
"""Libraries whose versions a run records, where they are installed."""


def surroundings() -> dict[str, Any]:
    """What a run ran with: versions, platform, command line, working folder, git commit, number of processes."""
    return {
        "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
        "platform": platform.platform(),
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "git": _git_commit(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


def fingerprints(env: Environment, retriever: Mapping[str, Any]) -> dict[str, Any]:
    """What rewards depend on beside the policy: `catalog`, `retriever`, and `other_retrievers` where rewards have some.

    Args:
        env: Where all of them are open.
        retriever: The recipe's section of the retriever: `type` and the options.
    """
    catalog = env.task.catalog
    specs = {name: spec for reward, _ in env.rewards for name, spec in retrievers_of(reward).items()}
    others = {name: retriever_fingerprint(spec, catalog, env.elsewhere[name]) for name, spec in specs.items()}
    return {
        "catalog": catalog.fingerprint,
        "retriever": retriever_fingerprint(retriever, catalog, env.retriever),
        **({"other_retrievers": others} if others else {}),
    }


def _git_commit() -> str | None:
    """The commit of the working folder, with "-dirty" after it where files were changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
