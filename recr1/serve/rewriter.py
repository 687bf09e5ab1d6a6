"""From needs to queries: the head table, then the cache, then the model behind its gate, then the raw need."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from recr1.config.build import build
from recr1.env import Environment, copies, open_environment
from recr1.formats import Format
from recr1.gate import Gate, overlaps_of
from recr1.gate.outcome import gate_of
from recr1.policies.base import HasContext, KnowsLikelihood, Policy
from recr1.recipe import Recipe
from recr1.runs import Run
from recr1.runs.files import append_lines
from recr1.runs.targets import trained_part
from recr1.serve.bundle import Bundle
from recr1.serve.table import Entry, Table, kept_on_disk, normal
from retrievers.errors import EngineError
from rewards.base import Chat, Need, Search

_log = logging.getLogger(__name__)

Source: TypeAlias = Literal["table", "cache", "model", "raw"]
REWRITTEN, UNCHANGED, GATED, EMPTY, TOO_LONG = "rewritten", "unchanged", "gate", "empty", "too long"
UNREADABLE, FAILED = "unreadable answer", "model failed"
"""Reasons, with those above."""
MEMORY = 100_000
"""Rewrites that are kept in memory."""


class Rewrite(NamedTuple):
    """What to search for."""

    need: str
    query: str
    """The need itself where the source is "raw"."""
    source: Source
    reason: str
    """Short, and one of few, so that it can be counted."""
    gain: float | None = None
    """What the gate expects of the rewrite; None without a gate."""
    likelihood: float | None = None
    """Mean log-probability of the answer's tokens; None where the model was not asked, or does not say."""
    held_back: str | None = None
    """The rewrite that the gate holds back."""
    ms: float = 0.0
    """Milliseconds that the call took."""


def raw(need: str, reason: str, **more: Any) -> Entry:
    """A need that is searched as it came."""
    return Entry(need, need, None, {"reason": reason, **more})


def rewrite_of(need: str, source: Source, entry: Entry) -> Rewrite:
    """What to search for by an entry of a source; the source is "raw" where the entry says so."""
    known, query, held_back = entry.evidence, need, None
    reason = str(known.get("reason", UNCHANGED if entry.rewrite == entry.query else REWRITTEN))
    if entry.used:
        query = entry.rewrite
    elif entry.gate is False:
        source, reason, held_back = "raw", GATED, entry.rewrite
    elif reason != UNCHANGED:
        source = "raw"
    return Rewrite(need, query, source, reason, known.get("gain"), known.get("likelihood"), held_back)


class Known:
    """The rewrites that need no model: of a head table, and those kept in memory and, by option, in a file.

    Usable from several threads. The file has a line of JSON for each rewrite, as a head table, and is for one process.
    If it cannot be written later, that is logged once. Raises `UserError` for one that another bundle wrote, or none.
    """

    def __init__(
        self, table: Table | None = None, memory: int = MEMORY, *, disk: Path | None = None, by: str = ""
    ) -> None:
        """`by` is the id of what writes the rewrites."""
        self.table, self.by = table, by
        self._memory, self._most, self._lock = OrderedDict[str, Entry](), memory, threading.Lock()
        self._disk, self._writing = disk, threading.Lock()
        if disk:
            self.remember(kept_on_disk(disk, by, memory))

    def known(self, need: str) -> Rewrite | None:
        """The rewrite that table or cache have."""
        if self.table and (entry := self.table.get(need)):
            return rewrite_of(need, "table", entry)
        key = normal(need)
        with self._lock:
            if (kept := self._memory.get(key)) is None:
                return None
            self._memory.move_to_end(key)
        return rewrite_of(need, "cache", kept)

    def remember(self, entries: Sequence[Entry]) -> list[Entry]:
        """Keep rewrites in memory, and no failure; returns those that were not there yet."""
        made = {normal(one.query): one for one in entries if one.evidence.get("reason") != FAILED}
        with self._lock:
            new = [one for key, one in made.items() if key not in self._memory]
            for key, one in made.items():
                self._memory[key] = one
                self._memory.move_to_end(key)
            while len(self._memory) > self._most:
                self._memory.popitem(last=False)
        return new

    def save(self, entries: Sequence[Entry]) -> None:
        """Add rewrites to the file, if there is one. A disk may be slow: not for a thread that answers in time."""
        with self._writing:
            if self._disk and entries:
                try:
                    append_lines(self._disk, (entry.to_dict(self.by) for entry in entries))
                except OSError as error:  # rewrites are still answered, from memory
                    _log.warning("rewrites are not kept in %s any more: %s", self._disk, error)
                    self._disk = None


class Rewriter(Known):
    """Rewrites of a policy. Usable from several threads, of which one at a time asks the model."""

    def __init__(
        self,
        by: str,
        format: Format,
        policy: Policy,
        *,
        table: Table | None = None,
        gate: Gate | None = None,
        env: Environment | None = None,
        memory: int = MEMORY,
    ) -> None:
        """Use `Rewriter.load` or `Rewriter.of_run`, unless the policy is open already."""
        super().__init__(table, memory, by=by)
        self.format, self.policy, self.gate, self._env = format, policy, gate, env
        self._model, self._tell_once = threading.Lock(), lru_cache(64)(_log.warning)

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle,
        *,
        engine: str | None = None,
        table: str | Path | None = None,
        gate: bool = True,
        env: Environment | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Rewriter:
        """Open a bundle for rewriting.

        Args:
            bundle: its folder.
            engine: "transformers", "ctranslate2" or "openai"; default: the bundle's.
            table: a head table of this bundle.
            gate: use the bundle's gate, where it has one.
            env: what a gate that compares two rankings searches; default: task and retriever of the bundle's recipe.
            options: of the engine, such as `url` and `model` of "openai".

        Raises `UserError` for what is wrong with any of them.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        rows = Table.load(table, bundle=opened.id) if table else None
        policy, used = opened.policy(engine, **(options or {})), opened.gate if gate else None
        if used and used.needs_search and env is None:
            recipe = opened.recipe
            env = open_environment(recipe.task, recipe.retriever, [], recipe.k)
        return cls(opened.id, opened.format, policy, table=rows, gate=used, env=env)

    @classmethod
    def of_run(cls, run: Run, recipe: Recipe, env: Environment, *, gate: bool = True) -> Rewriter:
        """The policy and the gate of a run, before it is exported; raises `RunError` where no policy is trained yet.

        Args:
            run: a run folder.
            recipe: the run's, with overrides of its policy.
            env: the recipe's: its prompt and parser, and the searches of a gate that compares two rankings.
            gate: use the run's gate, where it has one.
        """
        policy = build("policy", trained_part(run, recipe.policy))
        return cls(run.path.resolve().name, env.format, policy, gate=gate_of(run) if gate else None, env=env)

    def __call__(self, needs: Sequence[str]) -> list[Rewrite]:
        """The rewrite of each need, in order. What the model writes, and a model that fails, never raise."""
        began = perf_counter()
        known = [self.known(need) for need in needs]
        first: dict[str, str] = {}
        for need, one in zip(needs, known, strict=True):
            if one is None:
                first.setdefault(normal(need), need)
        written = self.tried([*first.values()])
        self.remember(written)
        made, ms = dict(zip(first, written, strict=True)), (perf_counter() - began) * 1000
        rewrites = (one or rewrite_of(at, "model", made[normal(at)]) for at, one in zip(needs, known, strict=True))
        return [one._replace(ms=ms) for one in rewrites]

    def tried(self, needs: Sequence[str]) -> list[Entry]:
        """As `entries`; where these fail, each need is asked alone, and those that fail again are raw."""
        try:
            return self.entries(needs) if needs else []
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the model, the raw need can be searched
            if len(needs) > 1 and not isinstance(error, EngineError):  # a server that is down is not asked for each
                return [entry for need in needs for entry in self.tried([need])]
            self._tell_once(f"the model failed, and needs are searched as they are: {error!r}")
            return [raw(need, FAILED) for need in needs]

    def entries(self, needs: Sequence[str]) -> list[Entry]:
        """What the model writes for each need, with the gate's word; neither table nor cache is asked.

        Raises what the model raises.
        """
        chats = [self.format.render(Need("", need)) for need in needs]
        refused = [self._refused(need, chat) for need, chat in zip(needs, chats, strict=True)]
        asked = [chat for chat, reason in zip(chats, refused, strict=True) if not reason]
        with self._model:  # a retriever that the gate searches need not search for two at once either
            answers: list[tuple[str, float | None]]
            if isinstance(self.policy, KnowsLikelihood):
                answers = [*self.policy.greedy(asked)]
            else:
                answers = [(texts[0], None) for texts in self.policy.generate(asked, 0)]
            if len(answers) != len(asked):
                raise ValueError(f"the model gave {len(answers)} answers for {len(asked)} needs")
            given = iter(answers)
            pairs = zip(needs, refused, strict=True)
            return self._gated([raw(at, why) if why else self._read(at, *next(given)) for at, why in pairs])

    def _refused(self, need: str, chat: Chat) -> str:
        """Why the model is not asked; empty if it is."""
        if not normal(need):
            return EMPTY
        return TOO_LONG if isinstance(self.policy, HasContext) and not self.policy.fits(chat) else ""

    def _read(self, need: str, answer: str, likelihood: float | None) -> Entry:
        action = self.format.parse(answer)
        known = {} if likelihood is None or math.isnan(likelihood) else {"likelihood": likelihood}
        if isinstance(action, Search) and copies(need, str(action.query)):
            return raw(need, UNCHANGED, **known)
        if isinstance(action, Search):
            return Entry(need, str(action.query), None, {"reason": REWRITTEN, **known})
        return raw(need, UNREADABLE, why=getattr(action, "reason", type(action).__name__), **known)

    def _gated(self, entries: list[Entry]) -> list[Entry]:
        """The entries; of rewritten ones the gate decides, and is closed where it lacks a likelihood that it needs."""
        places = [place for place, one in enumerate(entries) if one.evidence["reason"] == REWRITTEN]
        if self.gate is None or not places:
            return entries
        needs, queries = ([getattr(entries[place], name) for place in places] for name in ("query", "rewrite"))
        given = [entries[place].evidence.get("likelihood") for place in places]
        known = [np.nan if one is None else one for one in given] if self.gate.needs_likelihood else None
        overlaps = None
        if self.gate.needs_search and self._env:
            overlaps = overlaps_of(*(self._env.search(texts).rows_QK for texts in (needs, queries)))
        gains, opened = self.gate.decide(needs, queries, known, overlaps)
        for place, gain, is_open in zip(places, gains.tolist(), opened.tolist(), strict=True):
            more = {} if np.isnan(gain) else {"gain": gain}
            entries[place] = entries[place]._replace(gate=is_open, evidence={**entries[place].evidence, **more})
        return entries
