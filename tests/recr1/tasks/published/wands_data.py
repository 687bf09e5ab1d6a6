"""The files of WANDS, generated small with the quirks of the real ones; a test spoils what it is about."""

from __future__ import annotations

import csv
import random

KINDS = "lamp desk rug pan mug tent sofa chair".split()


def tables(seed=0):
    """The rows of the three files, by name: 24 products, 60 queries, labels with repeated pairs."""
    rng = random.Random(seed)
    products = [
        {
            "product_id": number,
            "product_name": f'{KINDS[number % 8]} "{number}" é',
            "product_class": None if number == 3 else KINDS[number % 8],
            "category hierarchy": f"Home / {KINDS[number % 8]}",
            "product_description": f"a {KINDS[number % 8]}<br>5&quot; wide\nand\ttall" if number % 2 else None,
            "product_features": "color : red|width:5|",
            "rating_count": rng.choice([None, "15.0"]),
            "average_rating": rng.choice([None, "4.5"]),
            "review_count": rng.choice([None, "15.0"]),
        }
        for number in range(24)
    ]
    queries = [
        {"query_id": n, "query": f"{KINDS[n % 8]}, number {n}", "query_class": "" if n % 5 else "Lamps"}
        for n in range(60)
    ]
    labels = [
        {"query_id": n, "product_id": item, "label": ("Exact", "Partial", "Irrelevant")[place % 3]}
        for n in range(60)
        for place, item in enumerate(rng.sample(range(24), 4))
    ]
    labels = [row for row in labels if row["query_id"] != 59 or row["label"] == "Irrelevant"]
    labels += [labels[0], {**labels[1], "label": "Exact"}]
    labels = [{"id": number, **row} for number, row in enumerate(labels)]
    return {"product.csv": products, "query.csv": queries, "label.csv": labels}


def write(folder, rows):
    """Each table separated by tabs, with the quotes of CSV where a cell needs them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in rows.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
    return folder
