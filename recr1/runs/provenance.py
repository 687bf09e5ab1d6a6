"""Where a result comes from: versions, platform and commit; which policy of which run; task, retriever and k.

A resumed run keeps its folder and name while its policy changes, and a command can use another task, retriever or k
than the run. So a result keeps its `origin`, and a reader compares that with what the run is now.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrievers.abilities import retriever_fingerprint, versions
from rewards.abilities import retrievers_of

if TYPE_CHECKING:
    from recr1.env import Environment
    from recr1.runs.run import Run

LIBRARIES = ("recr1", "torch", "trl", "transformers", "peft", "accelerate", "numpy", "bm25s", "rank-bm25", "PyStemmer")
"""Libraries whose versions a run records, if they are installed."""
SETTING = ("task", "retriever", "k")
"""Keys of a recipe that a result on needs depends on."""
IDENTITY = ("started", "seed")
"""Facts that together identify a run, whatever its folder is called."""


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
    """Fingerprints of what rewards depend on: `catalog`, `retriever`, and `other_retrievers` if rewards have some.

    `retriever` is the recipe's section of the retriever: `type` and the options.
    """
    catalog = env.task.catalog
    specs = {name: spec for reward, _ in env.rewards for name, spec in retrievers_of(reward).items()}
    others = {name: retriever_fingerprint(spec, catalog, env.elsewhere[name]) for name, spec in specs.items()}
    own = retriever_fingerprint(retriever, catalog, env.retriever)
    return {"catalog": catalog.fingerprint, "retriever": own, **({"other_retrievers": others} if others else {})}


def _git_commit() -> str | None:
    """The commit of the working folder, with "-dirty" if files were changed; None outside a repository."""
    # A repository may have programs of its own to run: hooks, a monitor of its files, a fetch of what it lacks.
    own = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"]
    command = ["git", "--no-pager", *own, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def policy_of(run: Run) -> dict[str, Any]:
    """Which policy a run has now: name, seed and start of the run, and the step of the policy that it keeps."""
    facts = run.facts()
    return {"run": run.path.resolve().name, **{name: facts.get(name) for name in IDENTITY}, "step": _step(facts)}


def setting_of(recipe: Mapping[str, Any], catalog: str) -> dict[str, Any]:
    """What a result was made with: task, retriever and k of a resolved recipe, and the fingerprint of the catalog."""
    return {name: recipe.get(name) for name in SETTING} | {"catalog": catalog}


def origin_of(run: Run, recipe: Mapping[str, Any], catalog: str) -> dict[str, Any]:
    """The `origin` of a result of a run, from the resolved recipe of the command and the catalog that it searched."""
    return policy_of(run) | setting_of(recipe, catalog)


def same_run(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether a result is of this run; runs that started in the same second differ in their seeds."""
    return all(origin.get(name) == facts.get(name) for name in IDENTITY)


def policy_mismatch(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Why a result is not of the policy that a run has now; nothing where that is not known."""
    step = origin.get("step")
    if not origin.get("started"):
        return
    if not same_run(origin, facts):
        was, now = (", ".join(f"{name} {of.get(name)}" for name in IDENTITY) for of in (origin, facts))
        yield f"it is of another run ({was}; this one: {now})"
    elif None not in (step, _step(facts)) and step != _step(facts):
        yield f"it is of the policy of step {step}, and the run now keeps that of step {_step(facts)}"


def setting_mismatch(origin: Mapping[str, Any], facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """Why a result was not made with the run's own task, retriever, k and catalog; nothing where that is not known."""
    differ = [name for name in SETTING if origin.get(name) is not None and origin[name] != recipe.get(name)]
    if differ:
        yield f"it was made with another {' and another '.join(differ)} than the run's"
    elif None not in (origin.get("catalog"), facts.get("catalog")) and origin["catalog"] != facts["catalog"]:
        yield "it was made with another catalog than the run's, under the same name"


def _step(facts: Mapping[str, Any]) -> int | None:
    kept = facts.get("policy")
    return kept.get("step") if isinstance(kept, dict) else None
