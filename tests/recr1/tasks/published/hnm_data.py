"""The files of H&M's search data, generated small with the quirks of the real ones; a test spoils what it is about."""

from __future__ import annotations

import random

from recr1.tasks.published.hnm import SOURCE
from tests.recr1.tasks.generated import checked_id, written

ARTICLES, QUERIES, QRELS = SOURCE.files
KINDS = "Vest top,Bra,Sweater,Trousers,T-shirt,Hair clip".split(",")
COLORS = "Black White Light Pink".split(" ")


def tables(seed=0):
    """The rows of the three files: 24 articles whose ids begin with 0, 60 queries, many with the same text."""
    rng = random.Random(seed)
    articles = [
        {
            "article_id": checked_id("0", number),
            "product_code": checked_id("0", number)[:3],
            "prod_name": f"Strap {KINDS[number % 6].lower()} ({number})",
            "product_type_no": 253,
            "product_type_name": KINDS[number % 6],
            "product_group_name": "Garment Upper body",
            "graphical_appearance_name": rng.choice(["Solid", "Stripe"]),
            "colour_group_name": COLORS[number % 4],
            "department_name": "Jersey Basic",
            "index_name": "Ladieswear",
            "section_name": "Womens Everyday Basics",
            "garment_group_name": "Jersey Basic",
            "detail_desc": "" if number == 3 else f'{KINDS[number % 6]}, with "narrow" straps\nand 5 pockets.',
        }
        for number in range(24)
    ]
    queries = [
        {
            "query_id": checked_id("8", n),
            "transaction_id": 10_000 + n,
            "query_text": f"{COLORS[n // 2 % 4].lower()} {KINDS[n // 2 % 6].lower()}, size {n // 2}",
        }
        for n in range(60)
    ]
    qrels = []
    for n, query in enumerate(queries):
        bought, *others = rng.sample([row["article_id"] for row in articles], 5)
        both = [bought] if n == 7 else []  # an article that is on both sides
        row = {"query_id": query["query_id"], "positive_ids": bought, "negative_ids": " ".join([*others, *both])}
        qrels.append(row)
    qrels[9]["positive_ids"] = ""
    return {ARTICLES: articles, QUERIES: queries, QRELS: qrels}


def write(folder, rows):
    for name, table in rows.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(written(table, ".csv"))
    return folder
