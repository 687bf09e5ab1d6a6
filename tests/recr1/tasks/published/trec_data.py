"""The files of TREC Product Search, generated small with the quirks of the real ones."""

from __future__ import annotations

import gzip
import random

from recr1.tasks.published.trec_products import SIZES
from tests.recr1.tasks.generated import checked_id, written

CORPUS, QUERIES, ASKED, TRAIN, DEV, TEST = SIZES
KINDS = "lamp desk rug pan mug tent sofa chair".split()


def tables(seed=0):
    """The rows of the six files: 24 products, 60 queries of ESCI and 12 of the track, of which one is in both files."""
    rng = random.Random(seed)
    items = [
        {
            "doc_id": int(checked_id("5", n)),
            "title": None if n == 3 else f"{KINDS[n % 8]} número {n}",
            "description": "" if n == 3 else f"<p>A {KINDS[n % 8]} for 5 &lt; 6 guests</p>",
            "category": ["Home", KINDS[n % 8]],
            "attrs": {"Color": "red"},
        }
        for n in range(24)
    ]
    queries = [{"qid": checked_id("7", n), "query": f'{KINDS[n % 8]} 5" for place {n}'} for n in range(60)]
    asked = [{"qid": checked_id("6", n), "query": f"a {KINDS[n % 8]} that lasts {n}"} for n in range(11)]
    asked.append(dict(queries[59]))

    def judged(rows):
        return [
            {"qid": row["qid"], "iteration": 0, "docid": item["doc_id"], "grade": (3, 2, 1, 0)[place]}
            for row in rows
            for place, item in enumerate(rng.sample(items, 4))
        ]

    test = judged(asked)
    test[1]["grade"] = -1
    train = judged(queries[:40]) + judged(queries[59:])  # a query of the test that is trained on too
    return {CORPUS: items, QUERIES: queries, ASKED: asked, TRAIN: train, DEV: judged(queries[40:55]), TEST: test}


def write(folder, rows):
    for name, table in rows.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(name, table))
    return folder


def encoded(name, table):
    """The bytes of a file: queries with tabs, judgements of NIST with blanks, and no header."""
    if "corpus" in name:
        return written(table, ".jsonl.gz" if name.endswith(".gz") else ".jsonl")
    sign = " " if name == TEST else "\t"
    content = "".join(sign.join(map(str, row.values())) + "\n" for row in table).encode()
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content
