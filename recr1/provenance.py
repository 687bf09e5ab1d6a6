"""What a result came from: versions, platform, commit, and the fingerprint of a retriever."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrievers.base import Catalog

LIBRARIES = ("recr1", "torch", "trl", "transformers", "peft", "accelerate", "numpy", "bm25s", "rank-bm25", "PyStemmer")
"""Libraries whose versions a run records, where they are installed."""
SEARCH_LIBRARIES = ("recr1", "numpy", "bm25s", "rank-bm25", "PyStemmer", "pyserini")
"""Libraries that can change a ranking: their versions are part of a retriever's fingerprint."""


def surroundings() -> dict[str, Any]:
    """What a run ran with: versions, platform, command line, working folder, git commit, number of processes."""
    return {
        "versions": {"python": platform.python_version(), **_versions(LIBRARIES)},
        "platform": platform.platform(),
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "git": _git_commit(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


def retriever_fingerprint(spec: Mapping[str, Any], catalog: Catalog) -> str:
    """16 hex digits that change with a retriever's type and options, the catalog, and the versions of search libraries.

    `spec` is the recipe's section: `type` and the options.
    """
    parts = [dict(spec), catalog.fingerprint, _versions(SEARCH_LIBRARIES)]
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the libraries that are installed, read from their metadata: nothing is imported."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git_commit() -> str | None:
    """The commit of the working folder, with "-dirty" after it where files were changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
