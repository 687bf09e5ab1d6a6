"""The files of Amazon-C4, generated small with the quirks of the real ones; a test spoils what it is about."""

from __future__ import annotations

import csv
import json
import random

NEEDS, ITEMS = "test.csv", "sampled_item_metadata_1M.jsonl"
CATEGORIES = ("Games", "Baby", "Office", "Sports", "Pet")
SECRET = "XYZZY the cat loved it"


def words(rng):
    return " ".join("".join(rng.choices("aeioulnrst", k=5)) for _ in range(4))


def tables(seed=0):
    """The rows of both files, by name: 40 products, five of them with the text of another, and 60 long needs."""
    rng = random.Random(seed)
    items = [
        {
            "item_id": f"B{n:03d}",
            "category": CATEGORIES[n % 5],
            "metadata": f"Thing {n % 35} of {CATEGORIES[n % 5]}, née new",
        }
        for n in range(40)
    ]
    needs = [
        {
            "qid": n,
            "query": f'I need something "{words(rng)}"\nfor {words(rng)} {n} in my {CATEGORIES[n % 5].lower()} corner.',
            "item_id": items[5 * rng.randrange(8) + n % 5]["item_id"],
            "user_id": f"U{n}",
            "ori_rating": rng.choice([4.0, 5.0]),
            "ori_review": f'{SECRET}, "really",\n{n} times',
        }
        for n in range(60)
    ]
    return {NEEDS: needs, ITEMS: items}


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    with (folder / NEEDS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[NEEDS][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[NEEDS])
    (folder / ITEMS).write_text("".join(json.dumps(row) + "\n" for row in rows[ITEMS]), encoding="utf-8")
    return folder
