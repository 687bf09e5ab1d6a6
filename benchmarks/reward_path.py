"""The way from queries to rewards: one search for each rollout and each hit read back, against `Environment.step`.

    OMP_NUM_THREADS=1 python benchmarks/reward_path.py

384 rollouts, 100,000 items of the task `shop`, k = 1000, nDCG@1000; each rollout's query is the text of its need. The
peer does what the reference implementation (Rec-R1) does for each rollout: one `batch_search([query])` of pyserini,
each hit's stored JSON read back and parsed (twice there; measured once and twice, and once is what the ratios are to),
and nDCG in plain Python. It makes the calls of pyserini's `LuceneSearcher` without importing its Python package, as
lucene.py does. It starts from queries, ours from completions, which are parsed.

All search the same items, cut into the same words, with the same k1 and b. Before the times it is checked that the work
is the same: each query has as many hits on both sides and, place by place, the same scores: on `lucene` to 0.01% of the
best, on `bm25` to 4%, because Lucene keeps lengths in a byte. (Pyserini takes 0.000001 off for each place among equal
scores, which it orders otherwise, so that the rewards of such queries differ.) The reward of each of our rankings is
what the plain loop gives for it. Times are the best of some rounds on the wall clock in which all take turns; the peer
is slow and has a part of the rollouts in each round, so that its time is a sum over rounds; for fewer rollouts than all
it is scaled, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recr1.config.build import Part
from recr1.env import Environment, chat_with, open_environment
from retrievers import Catalog
from retrievers.lucene import jvm
from retrievers.lucene.index import Analysis
from retrievers.lucene.lucene import Lucene
from rewards.base import Need

ROUNDS = 3
K1, B = 1.2, 0.75

TIE = 1e-6
"""What pyserini takes off a score for each equal one before it."""


class Peer:
    """Pyserini's calls, one rollout after the other."""

    def __init__(self, catalog: Catalog, folder: str) -> None:
        jvm.start()
        options = ["-input", "", "-collection", "JsonCollection", "-threads", "1", "-index", folder, "-storeRaw"]
        indexer = jvm.java("io.anserini.index.SimpleIndexer")([*options, "-keepStopwords", "-stemmer", "none"])
        for item, text in zip(catalog.ids, catalog.texts, strict=True):
            indexer.addRawDocument(json.dumps({"id": item, "contents": text}))
        indexer.close()
        self._searcher = jvm.java("io.anserini.search.SimpleSearcher")(folder, Analysis(True, (), None).analyzer())  # noqa: FBT003
        self._searcher.set_bm25(K1, B)

    def search(self, query: str, k: int) -> Sequence[Any]:
        """What `LuceneSearcher.batch_search([query], ["0"], k)` does."""
        queries, names = jvm.java("java.util.ArrayList")(), jvm.java("java.util.ArrayList")()
        queries.add(query)
        names.add("0")
        found = self._searcher.batch_search(queries, names, k, 1)
        return {entry.getKey(): entry.getValue() for entry in found.entrySet().toArray()}["0"]

    def reward(self, query: str, grades: Mapping[str, int], k: int, parses: int) -> float:
        """The nDCG of one rollout."""
        found = []
        for hit in self.search(query, k):
            raw = hit.lucene_document.get("raw")
            for _ in range(parses):
                item = json.loads(raw)
            found.append(item["id"])
        return ndcg(found, grades, k)


def ndcg(found: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    gain = sum(grades[item] / math.log2(place + 2) for place, item in enumerate(found) if item in grades)
    ideal = sorted(grades.values(), reverse=True)[:k]
    best = sum(grade / math.log2(place + 2) for place, grade in enumerate(ideal))
    return gain / best if best else 0.0


def check(name: str, env: Environment, needs: Sequence[Need], chats: Sequence[Any], peer: Peer, share: float) -> str:
    """Stops where the two sides do not do the same; `share` of the best score is how much scores may differ."""
    step = env.step(needs, chats)
    ids = env.task.catalog.ids
    same = []
    for row, need in enumerate(needs):
        found = step.batch.hits.rows_QK[row]
        found, ours = found[found >= 0], step.batch.hits.scores_QK[row][found >= 0]
        hits = peer.search(need.text, env.k)
        theirs = np.array([hit.score for hit in hits], np.float32)
        assert len(ours) == len(theirs), (name, need.text, len(ours), len(theirs))
        allowed = share * theirs.max(initial=0) + TIE * len(theirs)
        assert np.allclose(ours, theirs, rtol=0, atol=allowed), (name, need.text, np.abs(ours - theirs).max())
        clear = {hit.docid for hit in hits[:10] if hit.score > theirs[-1] + 2 * allowed}  # whatever the order of ties
        assert clear <= {ids[item] for item in found}, (name, need.text, clear)
        same += [hit.docid in {ids[item] for item in found[ours >= ours[:10].min()]} for hit in hits[:10]]
        grades = {ids[item]: grade for item, grade in env.task.qrels[need.id].items()}
        reward = ndcg([ids[item] for item in found], grades, env.k)
        assert math.isclose(step.rewards[row], reward, abs_tol=1e-5), (name, need.text, step.rewards[row], reward)
    found_Q = (step.batch.hits.rows_QK >= 0).sum(1)
    return (
        f"{name} and pyserini, {len(needs)} queries: {found_Q.mean():.0f} hits a query, as many on both sides, same "
        f"scores within {share:.2%} of the best; {np.mean(same):.1%} of pyserini's first ten are ours, ties included"
    )


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="catalog size")
    parser.add_argument("--rollouts", type=int, default=384, help="rollouts of a step")
    parser.add_argument(
        "--peer", type=int, default=384, help="how many of them the peer is timed on; the rest is scaled"
    )
    parser.add_argument("--checked", type=int, default=48, help="queries on which both sides are compared")
    parser.add_argument("-k", type=int, default=1000, help="items of a search")
    options = parser.parse_args()

    task = Part("shop", {"items": options.items, "train": options.rollouts, "validation": 10, "test": 10})
    rewards = [(Part("measure", {"measure": f"nDCG@{options.k}"}), 1.0)]
    env = open_environment(task, Part("bm25", {"k1": K1, "b": B}), rewards, options.k)
    needs = env.task.needs("train")
    chats = [chat_with(prompt, need.text) for prompt, need in zip(env.prompts(needs), needs, strict=True)]
    catalog = env.task.catalog
    grades = [{catalog.ids[row]: grade for row, grade in env.task.qrels[need.id].items()} for need in needs]
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(catalog, str(Path(folder) / "peer"))
        lucene = env.with_retriever(Lucene(catalog, k1=K1, b=B, store=str(Path(folder) / "ours"), threads=1))
        ours = {"bm25": env, "lucene, 1 thread": lucene}
        some = slice(options.checked)
        print(check("bm25", env, needs[some], chats[some], peer, 0.04))
        print(check("lucene", lucene, needs[some], chats[some], peer, 0.0001))

        best = dict.fromkeys(ours, float("inf"))
        took = {1: 0.0, 2: 0.0}
        timed = min(options.peer, len(needs))
        for part in range(ROUNDS):
            for name, each in ours.items():
                best[name] = min(best[name], seconds(lambda each=each: each.step(needs, chats)))
            for parses in took:
                for row in range(part, timed, ROUNDS):
                    text, wanted = needs[row].text, grades[row]
                    took[parses] += seconds(lambda: peer.reward(text, wanted, options.k, parses))  # noqa: B023 - called at once
    print(f"\n{len(needs)} rollouts, {options.items:,} items, k={options.k}; peer timed on {timed} rollouts", end="")
    print(", scaled" if timed < len(needs) else "")
    once = took[1] * len(needs) / timed
    print(f"  pyserini, one search a rollout, JSON parsed once   {once:8.2f} s")
    print(f"  the same, JSON parsed twice                        {took[2] * len(needs) / timed:8.2f} s")
    for name, time_taken in best.items():
        print(f"  Environment.step, {name:33}{time_taken:8.2f} s   {once / time_taken:6.0f} times as fast")


if __name__ == "__main__":
    main()
