"""A playground over a shop with hostile titles, whose policy follows a script, on a real port."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from recr1.cli.listening import listener
from recr1.config.build import Part, build
from recr1.env import Environment
from recr1.policies.base import Likely
from recr1.serve import Rewriter
from recr1.serve.playground.marks import Marks

pytest.importorskip("fastapi", reason="pip install 'recr1[service]'")

HOSTILE = '<img src=x onerror="alert(1)"> lamp & <b>bold</b>'
ITEMS = {
    "a": "red lamp",
    "b": "blue lamp",
    "c": "lamp lamp for reading",
    "d": "tent for two",
    "e": "warm tent",
    "f": HOSTILE,
}
SCRIPT = {"a lamp": "red tent", "tents": "warm tent", "kettle": "pot", "hostile": "<script>alert(2)</script> bold"}
NEEDS = ["a lamp", "tents", "nothing else", "hostile", "x" * 300, "two", "blue"]


class Script:
    """Writes what the script has for a need, or the need; an answer of None fails."""

    def greedy(self, chats):
        needs = [chat[-1]["content"] for chat in chats]
        if "broken" in needs:
            raise RuntimeError("out of memory")
        return [Likely(SCRIPT.get(need, need), -0.25) for need in needs]

    def generate(self, chats, n):
        return [[one.text] for one in self.greedy(chats)]


class Moody:
    """A retriever behind a network that is down."""

    def search(self, queries, k):
        from retrievers.errors import EngineError

        raise EngineError("moody", "http://engine", 3, "no answer")


@pytest.fixture(scope="session")
def envs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    rows = [{"_id": item, "title": title, "text": title} for item, title in ITEMS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    needs = [f'{{"_id": "q{place}", "text": {json.dumps(need)}}}\n' for place, need in enumerate(NEEDS)]
    (folder / "queries.jsonl").write_text("".join(needs))
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\ta\t1\n" for n in range(len(NEEDS)))
    )
    task = build("task", Part("files", {"path": str(folder)}))
    env = Environment(task, build("retriever", Part("bm25"), task.catalog), [], 5)
    other = build("retriever", Part("rank_bm25"), task.catalog)
    return {"bm25": env, "rank_bm25": env.with_retriever(other), "moody": env.with_retriever(Moody())}


@pytest.fixture
def opened(bundle, envs, tmp_path):
    """Opens playgrounds: the address of each, and its marks."""
    from recr1.serve.playground.app import Playground
    from retrievers.service.server import serving

    @contextmanager
    def opened(token=None, examples=NEEDS, gate=None):
        marks = Marks(tmp_path / "marks.jsonl")
        page = Playground(Rewriter(bundle.id, bundle.format, Script(), gate=gate), envs, marks, examples, token)
        with listener("127.0.0.1", 0) as socket, serving(page, socket) as running:
            yield running.address, marks

    return opened
