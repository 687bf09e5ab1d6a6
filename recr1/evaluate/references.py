"""The floor and the ceiling, with which the value of a policy is compared.

The floor of a need is what a search for its raw text finds. The ceiling is, for each measure, the best value of these
queries, which are made from the answer key:

- the text of each of the best items (those of the need's highest grade, the first five in catalog order), cut to its
  first 64 words;
- the title of each of them, where the catalog has a field "title";
- the words that all items of the highest grade share, in the order of the first one's text;
- the raw need, so that a ceiling is never below its floor.

It is the value of a good query, not an upper limit: a policy can be above it.

For a recommender, the floor is what it finds for the history of the need, and the ceiling is the best of that and of
what it finds for each of the last five items alone.

Where a need is answered in text, nothing is searched: the floor is the first answer that the task can give without a
model, such as the mean of all ratings (without any, the text of the need), and the ceiling is the gold answer.

Where needs have candidates, the floor is how a search for the raw need orders them, and the ceiling is their best
order: by grade, unjudged ones last. The order in which they are shown, which is random, is measured too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from recr1.env import Environment
from recr1.env.search import listed
from recr1.tasks.base import plain_answers
from retrievers.analyzer import folded
from retrievers.base import Catalog, Floats, Query, Rows
from rewards.base import UNJUDGED, Graded, Need, Qrels
from rewards.measures import Measure, deepest

BEST_ITEMS, TEXT_WORDS = 5, 64
CHUNK = 128  # needs per search

AGAIN = 2
"""How often an evaluation retries a query that the retriever did not answer."""

Progress = Callable[[int, int], None]
"""Called with the needs done and the number of needs."""


@dataclass(frozen=True)
class References:
    """Floor and ceiling of N needs; they depend on data and retriever only, so they are the same for every policy."""

    needs: Sequence[Need]
    floor: Mapping[str, Floats]  # measure name -> (N,)
    ceiling: Mapping[str, Floats]  # measure name -> (N,)
    best_queries: Sequence[str]
    """(N,) the query that reached the ceiling of the first measure."""
    floor_rows_NK: Rows  # (N, k) what the raw need finds
    shown: Mapping[str, Floats] = field(default_factory=dict)
    """Measure name -> (N,) the candidates as they are shown; empty where not all needs have some."""
    plain: Mapping[str, Mapping[str, Floats]] = field(default_factory=dict)
    """Other answers without a model ("user mean") -> measure name -> (N,); only those that all needs have."""


def find_references(
    env: Environment, needs: Sequence[Need], measures: Sequence[Measure], progress: Progress | None = None
) -> References:
    """Search the queries of floor and ceiling for every need; one search for each chunk of needs."""
    floor: dict[str, list[Floats]] = {measure.name: [] for measure in measures}
    ceiling: dict[str, list[Floats]] = {measure.name: [] for measure in measures}
    kinds = {_kind(need, env.task.qrels[need.id]) for need in needs}
    first = [*plain_answers(env.task, needs[0])][1:] if kinds == {"answer"} else []
    names = [name for name in first if all(name in plain_answers(env.task, need) for need in needs)]
    others = ["shown"] if kinds == {"list"} else names
    plain: dict[str, dict[str, list[Floats]]] = {name: {m.name: [] for m in measures} for name in others}
    best_queries: list[str] = []
    floor_rows: list[Rows] = []
    for start in range(0, len(needs), CHUNK):
        chunk = needs[start : start + CHUNK]
        keys = [env.task.qrels[need.id] for need in chunk]
        queries, rows_QK, answers_Q = _tried(env, chunk, keys, names)
        starts = np.cumsum([0, *map(len, queries[:-1])])
        qrels = [key for key, of_need in zip(keys, queries, strict=True) for _ in of_need]
        floor_rows.append(rows_QK[starts])
        graded = Graded.join(rows_QK[:, : deepest(measures)], qrels, env.task.catalog)
        asked_Q = [need.text for need, of_need in zip(chunk, queries, strict=True) for _ in of_need]
        graded = graded._replace(answers_B=answers_Q, asked_B=asked_Q, ranker=env.ranker)
        for place, measure in enumerate(measures):
            values = measure.of(graded)
            floor[measure.name].append(values[starts])
            ceiling[measure.name].append(np.maximum.reduceat(values, starts))
            for number, name in enumerate(others, start=1):
                plain[name][measure.name].append(values[starts + number])
            if place == 0:
                # argmax takes the first of equals.
                winners = [int(np.argmax(of_need)) for of_need in np.split(values, starts[1:])]
                best_queries += [of_need[winner] for of_need, winner in zip(queries, winners, strict=True)]
        if progress:
            progress(min(start + CHUNK, len(needs)), len(needs))
    floors, ceilings, *more = (
        {name: np.concatenate(parts) for name, parts in one.items()} for one in (floor, ceiling, *plain.values())
    )
    beside = dict(zip(others, more, strict=True))
    shown = beside.pop("shown", {})
    return References(needs, floors, ceilings, best_queries, np.concatenate(floor_rows), shown, beside)


def _kind(need: Need, key: Qrels) -> Literal["answer", "list", "query"]:
    return "answer" if key.gold is not None else "list" if need.candidates else "query"


def _tried(
    env: Environment, needs: Sequence[Need], keys: Sequence[Qrels], names: Sequence[str]
) -> tuple[list[list[str]], Rows, list[str | None]]:
    """What is tried for each need, the floor first; (Q, k) what each of these finds; and (Q,) those that are answers.

    `names` are the plain answers that come in this order after the floor.
    """
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(zip(needs, keys, strict=True)):
        groups.setdefault(_kind(*one), []).append(place)
    tried: dict[int, tuple[list[str], Rows, bool]] = {}
    for kind, places in groups.items():
        own, their = [needs[place] for place in places], [keys[place] for place in places]
        if kind == "answer":
            texts = [_answers(env, *one, names) for one in zip(own, their, strict=True)]
            rows_QK = np.full((sum(map(len, texts)), env.k), -1, np.int32)
        else:
            texts, rows_QK = _rankings(env, own, their, candidates=kind == "list")
        ends = np.cumsum([len(of_need) for of_need in texts]).tolist()
        for place, of_need, end in zip(places, texts, ends, strict=True):
            tried[place] = of_need, rows_QK[end - len(of_need) : end], kind == "answer"
    in_order = [tried[place] for place in range(len(needs))]
    answers = [text if answered else None for of_need, _, answered in in_order for text in of_need]
    return [of_need for of_need, *_ in in_order], np.concatenate([rows for _, rows, _ in in_order]), answers


def _answers(env: Environment, need: Need, key: Qrels, names: Sequence[str]) -> list[str]:
    """The floor, the other plain answers, and the gold one."""
    assert key.gold is not None
    plain = plain_answers(env.task, need)
    return [next(iter(plain.values()), need.text), *(plain[name] for name in names), *plain.values(), key.gold]


def _rankings(
    env: Environment, needs: Sequence[Need], keys: Sequence[Qrels], *, candidates: bool
) -> tuple[list[list[str]], Rows]:
    """What is tried for each need, the raw need first, and (Q, k) what each of these finds, need after need."""
    if candidates:
        raw_NK = env.search([env.raw(need) for need in needs], again=AGAIN, needs=needs).rows_QK
        shown_NK = listed([[one.row for one in need.candidates] for need in needs], env.k).rows_QK
        best_NK = listed([best_order(*one) for one in zip(needs, keys, strict=True)], env.k).rows_QK
        orders = np.stack([raw_NK, shown_NK, best_NK], 1).reshape(-1, env.k)
        return [[need.text, "(as they are shown)", "(by grade)"] for need in needs], orders
    if env.reads_histories:
        histories = [[n.history, *((row,) for row in n.history[: -BEST_ITEMS - 1 : -1])] for n in needs]
        rows_QK = _found(env, histories, needs)
        title = env.task.catalog.title
        return [[" | ".join(map(title, one)) for one in of_need] for of_need in histories], rows_QK
    queries = [[n.text, *answer_queries(key, env.task.catalog)] for n, key in zip(needs, keys, strict=True)]
    return queries, _found(env, queries, needs)


def _found(env: Environment, queries: Sequence[Sequence[Query]], needs: Sequence[Need]) -> Rows:
    asked = [(query, need) for of_need, need in zip(queries, needs, strict=True) for query in of_need]
    return env.search([query for query, _ in asked], again=AGAIN, needs=[need for _, need in asked]).rows_QK


def best_order(need: Need, qrels: Qrels) -> list[int]:
    """The candidates of a need by grade, equal ones as they are shown, unjudged ones last."""
    return sorted((one.row for one in need.candidates), key=lambda row: -qrels.get(row, UNJUDGED))


def answer_queries(qrels: Qrels, catalog: Catalog) -> list[str]:
    """The ceiling's queries besides the raw need, each once."""
    top = max(qrels.values())
    best = [row for row, grade in qrels.items() if grade == top]
    texts = [" ".join(catalog.texts[row].split()[:TEXT_WORDS]) for row in best[:BEST_ITEMS]]
    titles = catalog.fields.get("title", ())
    named = [str(titles[row]) for row in best[:BEST_ITEMS] if titles and titles[row] is not None]
    first, *others = (re.findall(r"\w+", folded(catalog.texts[row])) for row in best)
    common = set(first).intersection(*others)
    shared = " ".join([word for word in dict.fromkeys(first) if word in common][:TEXT_WORDS])
    return list(dict.fromkeys(query for query in (*texts, *named, shared) if query.strip()))
