"""What rewritten items are worth together: the whole catalog indexed again, and measured on people who never paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from recr1.env import Environment
from recr1.errors import UserError
from recr1.evaluate.references import CHUNK
from recr1.formats import parsed
from recr1.judge.difference import mean_cell, paired_test
from recr1.judge.stats import LEVEL, mean_interval
from recr1.judge.table import Table
from recr1.policies.base import Policy
from recr1.tasks.base import splits_of
from rewards.base import Answer, Graded, Need, Qrels
from rewards.measures import parse_measure

if TYPE_CHECKING:
    from recr1.evaluate.evaluation import Evaluation

RAW, SHUFFLED, GOLD = "raw texts", "shuffled rewrites", "gold texts"


@runtime_checkable
class HasPeople(Protocol):
    """A task whose needs are items, with people who were held out to measure all rewrites together."""

    def people(self, split: str) -> tuple[Sequence[tuple[int, ...]], Sequence[Qrels]]:
        """The histories of the people of validation or test, and the items that each is asked for."""
        ...


def rewrites_of(env: Environment, policy: Policy) -> dict[int, str]:
    """Catalog row -> the policy's greedy text, for the items of all splits; an item without a valid answer has none.

    Raises `UserError` where the retriever cannot rank with changed texts.
    """
    if env.ranker is None:
        name = type(env.retriever).__name__
        raise UserError(f"retriever: {name} cannot rank with changed texts: choose one that can, such as content")
    texts: dict[int, str] = {}
    needs = _items(env)
    for start in range(0, len(needs), CHUNK):
        chunk = needs[start : start + CHUNK]
        for need, (completion,) in zip(chunk, policy.generate(env.prompts(chunk), 0), strict=True):
            if isinstance(action := parsed(env.format, need, completion), Answer):
                texts[env.task.catalog.row(need.id)] = action.text
    return texts


def reindexed(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """nDCG@k of held-out people with the whole catalog indexed again: `reindexed` of `eval.json`.

    The systems are raw texts, those of each policy, the last ones shuffled over their items (a control), and the gold
    texts. "all" counts everything that people are asked for, "held_out" the items of the split alone, which no policy
    was trained on; it is missing where nobody is asked for one. Each has its interval and its paired test against the
    raw texts.
    """
    env, split, seed = evaluations[0].env, evaluations[0].split, evaluations[0].seed
    task, measure = env.task, parse_measure(f"nDCG@{env.k}")
    assert isinstance(task, HasPeople) and env.ranker is not None
    histories, keys = task.people(split)
    of_split = {task.catalog.row(need.id) for need in task.needs(split)}
    held = [Qrels({row: 1 for row in key if row in of_split}) for key in keys]
    asked_N = np.array([len(key) > 0 for key in held])
    last = sorted((evaluations[-1].rewrites or {}).items())
    texts = Random(seed).sample([text for _, text in last], len(last))
    golds = {task.catalog.row(need.id): task.qrels[need.id].gold or need.text for need in _items(env)}
    systems: dict[str, Mapping[int, str]] = {
        RAW: {},
        SHUFFLED: {row: text for (row, _), text in zip(last, texts, strict=True)},
        **{one.name: one.rewrites or {} for one in evaluations},
        GOLD: golds,
    }
    found: dict[str, dict[str, Any]] = {}
    raw: list[Any] = []
    for name, changed in systems.items():
        rows_NK = env.ranker.with_texts(changed).search(histories, env.k).rows_QK
        both = [measure.of(Graded.join(rows_NK, key, task.catalog)) for key in (keys, held)]
        both[1] = both[1][asked_N]
        raw = raw or both
        found[name] = {
            which: mean_interval(np.atleast_2d(own), seed=seed)._asdict()
            | {"versus_raw": paired_test(own, its_raw, seed=seed)._asdict()}
            for which, own, its_raw in zip(("all", "held_out"), both, raw, strict=True)
            if len(own)
        }
    people = {"all": len(keys), "held_out": int(asked_N.sum())}
    return {"measure": measure.name, "people": people, "items": len(golds), "systems": found}


def reindex_table(split: str, held: Mapping[str, Any]) -> Table:
    """The table of what `reindexed` gives."""
    rows = [
        [name, *(mean_cell(of, None if name == RAW else of["versus_raw"]["p"]) for of in one.values())]
        for name, one in held["systems"].items()
    ]
    measure, people = held["measure"], held["people"]
    note = (
        f"The texts of {held['items']:,} items of all splits are replaced, and the catalog is indexed again. Means "
        f"over {people['all']:,} held-out people, and the {people['held_out']:,} of them who are asked for an item of "
        f"{split}, with {LEVEL:.0%} bootstrap intervals. p: paired randomisation test against the raw texts. "
        f"{SHUFFLED}: those of the last policy, each on another item."
    )
    header = ["", f"{measure}, all items", *([f"{measure}, items of {split}"] if people["held_out"] else [])]
    return Table(f"{split}: the whole catalog with new texts", header, rows, [note])


def _items(env: Environment) -> list[Need]:
    return [need for needs in splits_of(env.task).values() for need in needs]
