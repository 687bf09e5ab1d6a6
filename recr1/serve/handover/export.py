"""Exports of a head table: what each engine is given, measured, and written into a new folder at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from recr1.errors import UserError
from recr1.judge.table import Table as Shown
from recr1.judgements import WRITERS, Judgement, Judgements
from recr1.runs import write_text, writing
from recr1.runs.files import new_folder, replacing
from recr1.serve.bundle import Bundle
from recr1.serve.card import templates
from recr1.serve.handover import querqy, synonyms
from recr1.serve.handover.effect import Judged, effect, open_judged
from recr1.serve.table import Table, normal

TEMPLATES = Path(__file__).with_name("templates")
SET, QUERIES = 10_000, 1_000
"""Rules that Elasticsearch takes in a set, and queries that the workbench takes in one."""
FOLDS = 2
"""Parts of the judged needs: synonyms are measured on each part with rules that the others show."""
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Given:
    """What an export is made of."""

    bundle: Bundle
    table: Table
    """A head table of the bundle."""
    index: str = "products"
    """The engine's index, and the fields of it that are searched."""
    fields: Sequence[str] = ("title",)
    url: str = "http://127.0.0.1:8080"
    """Where `recr1 serve` answers."""
    support: int = 2
    """Needs that must show a synonym."""

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Raw needs and the queries that are searched for them, which differ."""
        return [(entry.query, entry.rewrite) for entry in self.table.entries if entry.used]

    @cached_property
    def measured(self) -> tuple[Judged | None, str]:
        """The judged needs, or why there are none."""
        return open_judged(self.bundle, self.table)

    @property
    def judged(self) -> Judged | None:
        """The judged needs; None where there are none."""
        return self.measured[0]

    @cached_property
    def address(self) -> dict[str, Any]:
        """The parts of the url; raises `UserError` for one without a host."""
        parts = urlsplit(self.url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise UserError(f"--url {self.url}: must be an address such as http://127.0.0.1:8080")
        trusted = f"^{re.escape(self.url)}/.*$"
        port = parts.port or PORTS[parts.scheme]
        return {"scheme": parts.scheme, "host": parts.hostname, "port": port, "trusted": trusted}


class Export(NamedTuple):
    """What is written besides the templates."""

    files: Mapping[str, str] = {}
    """Name -> text."""
    queries: Sequence[str] | None = None
    """(N,) what is searched for the judged needs where it is less than the rewrites."""
    size: str = ""
    """How many rules there are, and what was left out."""
    values: Mapping[str, Any] = {}
    """For the templates."""


def hand_over(given: Given, target: str, out: str | Path) -> tuple[list[Shown], list[str]]:
    """Write an export for one of `TARGETS` into a new folder; returns what to tell of it: tables and lines.

    Raises `UserError` for a folder that is not empty, and a table that has nothing for this engine; `RunError` where
    the folder cannot be written. Nothing is left half written.
    """
    folder, made = new_folder(out), templates(TEMPLATES)
    if not given.pairs:
        what = f"the table rewrites none of its {len(given.table.entries):,} queries"
        raise UserError(f"{what}: there is nothing to hand over")
    address, export = given.address, TARGETS[target](given)
    tables, lines, facts = list[Shown](), [text for text in (export.size, given.measured[1]) if text], dict[str, Any]()
    if given.judged:
        shown, sentences, facts = effect(given.judged, export.queries)
        tables, lines = [shown], [*lines, *sentences]
    values = {**address, **export.values, "given": given, "tables": tables, "lines": lines}
    names = sorted(file.name for file in (TEMPLATES / target).iterdir())
    filled = {name.removesuffix(".jinja"): made.get_template(f"{target}/{name}").render(values) for name in names}
    about = {"target": target, "bundle": given.bundle.id, "said": lines, "effect": facts}
    files = {**export.files, **filled, "effect.json": json.dumps(about, indent=2) + "\n"}
    with writing(folder), replacing(folder) as (part,):
        part.mkdir(parents=True)
        for name, text in files.items():
            write_text(part / name, text)
    return tables, lines


def _workbench(given: Given) -> Export:
    """The judged needs with their rewrites, or without these the first queries of the table."""
    judged, files = given.judged, dict[str, str]()
    pairs = dict(islice(((one.query, one.rewrite if one.used else one.query) for one in given.table.entries), QUERIES))
    if judged:
        pairs, task = dict(zip(judged.raw, judged.rewrites, strict=True)), judged.env.task
        rows = [
            Judgement(None, need.text, task.catalog.ids[row], float(grade))
            for need in judged.needs
            for row, grade in task.qrels[need.id].items()
        ]
        files = WRITERS["workbench"](Judgements(rows).merged(), f"recr1 {given.bundle.id} judgements")
    queries = [{"queryText": need, "rewrite": query} for need, query in pairs.items()]
    named = {f"judgments.json{ending}": text for ending, text in files.items()}
    return Export(named, None, f"{len(queries):,} queries", {"queries": queries})


def _synonyms(given: Given) -> Export:
    """The rules of all needs; each judged need is measured with rules that were learned without it."""
    every, dropped = _rules(given, range(0))
    lines = synonyms.solr_lines(every)
    if not lines:
        what = f"no synonym is shown by {given.support} needs of the table or more and gains on judged ones"
        raise UserError(f"{what}: lower --support, or rewrite more queries")
    files = {"rules.csv": synonyms.table(every)}
    for start in range(0, len(lines), SET):
        rows, number = lines[start : start + SET], start // SET + 1
        rules = [{"id": f"recr1-{place}", "synonyms": line} for place, line in enumerate(rows, start + 1)]
        files[f"synonyms-{number}.txt"] = "".join(f"{line}\n" for line in rows)
        files[f"synonyms-{number}.json"] = json.dumps({"synonyms_set": rules}, ensure_ascii=False, indent=1) + "\n"
    queries = list(given.judged.raw) if given.judged else []
    for held in (range(fold, len(queries), FOLDS) for fold in range(FOLDS)):
        known = synonyms.by_phrase(_rules(given, held)[0]) if held else {}
        for place in held:
            queries[place] = synonyms.expanded_query(queries[place], known)
    judged = sum(rule.judged > 0 for rule in every)
    size = f"{len(lines):,} rules with {len(every):,} additions, {judged:,} of them tried on judged needs; "
    size += f"{dropped:,} additions that gain nothing there are left out"
    return Export(files, queries or None, size, {"sets": -(-len(lines) // SET)})


def _rules(given: Given, held: range) -> tuple[list[synonyms.Rule], int]:
    """The rules without those that gain nothing on judged needs, and how many these are; `held` are not read."""
    judged, raw = given.judged, given.judged.raw if given.judged else []
    unread = {normal(raw[place]) for place in held}
    seen = [(one.query, one.rewrite if one.used else one.query) for one in given.table.entries]
    rules = synonyms.learn([pair for pair in seen if normal(pair[0]) not in unread], given.support)
    if not judged:
        return rules, 0
    places: dict[synonyms.Words, list[int]] = {}
    for place in set(range(len(raw))).difference(held):
        for phrase in {*synonyms.phrases(synonyms.words(raw[place]))}:
            places.setdefault(phrase, []).append(place)
    tried = [(number, place) for number, rule in enumerate(rules) for place in places.get(rule.left, ())]
    queries = [synonyms.expanded_query(raw[at], {rules[number].left: [rules[number].right]}) for number, at in tried]
    gain_T = judged.values(queries, [at for _, at in tried]) - judged.raw_values[[at for _, at in tried]]
    number_T = np.array([number for number, _ in tried], np.int64)
    counts, sums = (np.bincount(number_T, weights, len(rules)).tolist() for weights in (None, gain_T))
    known = [
        rule._replace(judged=int(count), gain=total / count) if count else rule
        for rule, count, total in zip(rules, counts, sums, strict=True)
    ]
    kept = [rule for rule in known if rule.gain is None or rule.gain > 0]
    return kept, len(known) - len(kept)


def _querqy(given: Given) -> Export:
    """A rule for each need of the table."""
    found, left_out = querqy.rules(given.pairs)
    if not found:
        raise UserError("no need of the table can be a rule: all have signs that Querqy reads, such as - : * or quotes")
    keys, rules, queries = {querqy.key(need) for need in found}, "\n".join(found.values()), None
    if judged := given.judged:
        both = zip(judged.raw, judged.rewrites, strict=True)
        queries = [querqy.replaced(*pair) if querqy.key(pair[0]) in keys else pair[0] for pair in both]
    size = f"{len(found):,} rules; {left_out:,} needs are left out: they or their queries have signs that Querqy reads"
    return Export({"rules.txt": rules}, queries, size, {"rules": rules})


TARGETS: Mapping[str, Callable[[Given], Export]] = {
    "opensearch": lambda _: Export(),  # it asks `recr1 serve`
    "workbench": _workbench,
    "synonyms": _synonyms,
    "querqy": _querqy,
    "proxy": lambda _: Export(),
}
"""Engines by the names that `recr1 handover` takes."""
