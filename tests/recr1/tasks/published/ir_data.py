"""Sets of the library ir_datasets, generated small: registered from local files, or as the library keeps them."""

from __future__ import annotations

import random
import tarfile
from io import BytesIO

KINDS = "lamp desk rug pan mug tent sofa chair".split()
DOCS, QUERIES, QRELS = "docs.tsv", "queries.tsv", "qrels.trec"


def tables(seed=0):
    """24 documents, 60 queries, and what is relevant to each, from 3 to 0."""
    rng = random.Random(seed)
    docs = [{"doc_id": f"d{n:02d}", "text": f'{KINDS[n % 8]} "número" {n}'} for n in range(24)]
    queries = [{"query_id": f"q{n:02d}", "text": f"a {KINDS[n % 8]} for place {n}"} for n in range(60)]
    qrels = [
        {"query_id": query["query_id"], "iteration": 0, "doc_id": doc["doc_id"], "relevance": (3, 1, 0)[place]}
        for query in queries
        for place, doc in enumerate(rng.sample(docs, 3))
    ]
    return {DOCS: docs, QUERIES: queries, QRELS: qrels}


def encoded(name, table):
    sign = " " if name == QRELS else "\t"
    return "".join(sign.join(map(str, row.values())) + "\n" for row in table).encode()


def write(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in rows.items():
        (folder / name).write_bytes(encoded(name, table))
    return folder


def registered(folder, name, parts=None):
    """The name of a set of the library whose files are in a folder; with `parts`, of a set for each of these files."""
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    docs, queries = TsvDocs(LocalDownload(folder / DOCS)), TsvQueries(LocalDownload(folder / QUERIES))
    ir_datasets.registry._registered.pop(name, None)
    ir_datasets.registry.register(name, Dataset(docs, queries, TrecQrels(LocalDownload(folder / QRELS), {})))
    for part in parts or ():
        ir_datasets.registry._registered.pop(f"{name}/{part}", None)
        qrels = TrecQrels(LocalDownload(folder / f"{part}.trec"), {})
        ir_datasets.registry.register(f"{name}/{part}", Dataset(docs, queries, qrels))
    return name


def vaswani(folder, docs=11429, queries=93):
    """The archive of the set vaswani, as the library keeps it in its folder, with other texts."""
    judged = {n: range(n * 22, n * 22 + (22 if n < 93 else 59)) for n in range(1, 94)}  # 2,083, as the library knows
    texts = {
        "doc-text": "".join(f"{n}\n{KINDS[n % 8]} number\n{n}\n   /\n" for n in range(1, docs + 1)),
        "query-text": "".join(f"{n}\n{KINDS[n % 8]} for place {n}\n/\n" for n in range(1, queries + 1)),
        "rlv-ass": "".join(f"{n}\n{' '.join(map(str, rows))}\n   /\n" for n, rows in judged.items()),
    }
    (folder / "vaswani").mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "vaswani" / "npl.tar.gz", "w:gz") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, BytesIO(text.encode()))
