"""Small data folders in the layout of BEIR, sound as they are written; a test spoils what it is about."""

from __future__ import annotations

import json

CORPUS = [
    {"_id": "mug", "title": "Red mug", "text": "For tea.", "price": 7, "tags": ["red", "clay"], "metadata": {"a": 1}},
    {"_id": "pan", "title": "Iron pan", "text": "", "price": 30, "brand": "Forge"},
    {"_id": "pot", "title": "Tea pot", "text": "Blue.", "price": None, "tags": []},
]
QUERIES = [{"_id": f"q{number}", "text": f"need number {number}"} for number in range(60)]
QRELS = [(f"q{number}", ("mug", "pan", "pot")[number % 3], 1 + number % 3) for number in range(60)]
HEADER = "query-id\tcorpus-id\tscore\n"


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def tsv(rows):
    return HEADER + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def write_folder(folder):
    """Three items, 60 needs and one qrels file."""
    (folder / "corpus.jsonl").write_text(jsonl(CORPUS))
    (folder / "queries.jsonl").write_text(jsonl(QUERIES))
    (folder / "qrels.tsv").write_text(tsv(QRELS))
    return folder


def write_split_folder(folder):
    """The same with split files: 40 needs to train on, 10 to validate with, 10 to test on."""
    write_folder(folder)
    (folder / "qrels.tsv").unlink()
    (folder / "qrels").mkdir()
    for name, rows in {"train": QRELS[:40], "dev": QRELS[40:50], "test": QRELS[50:]}.items():
        (folder / f"qrels/{name}.tsv").write_text(tsv(rows))
    return folder


def write_start(folder):
    """What the recipes `tiny_shopper` and `private_words` read in the current folder before anything loads."""
    for name in ("shopper_start", "private_shopper"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    return folder
