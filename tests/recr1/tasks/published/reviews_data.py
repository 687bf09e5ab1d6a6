"""The files of Amazon Reviews 2023, generated small with the quirks of the real ones."""

from __future__ import annotations

import random

from recr1.tasks.published.amazon_reviews import CATALOG, FILES
from tests.recr1.tasks.generated import checked_id, written

T1, T2 = 1628643414042, 1658002729837
KINDS = "Soap Brush Comb Lotion Mirror Wig Mask Towel".split()
COLORS = "red blue green oak black white pink gold plum grey".split()


def name(pattern):
    return pattern.format(core="0core", category="All_Beauty")


PRODUCTS = name(CATALOG)
TRAIN, VALID, TEST = map(name, FILES["timestamp_w_his"])
RATINGS, REVIEWS = name(*FILES["rating_only"]), name(*FILES["reviews"])


def products(rng):
    """97 products: their columns are lists, some empty; one has no title."""
    return [
        {
            "main_category": None if n % 9 == 0 else "All Beauty",
            "title": None if n == 3 else f"{COLORS[n % 10]} {KINDS[n % 8]}  né {n}",
            "average_rating": 4.8,
            "features": [] if n % 2 else ["soft", "a 5 inch handle"],
            "description": ["<b>A fine</b> thing", "5 &lt; 6"] if n % 3 else [],
            "price": None,
            "images": [{"thumb": "https://example.org/a.jpg", "variant": "MAIN"}],
            "store": "Forge",
            "categories": [],
            "details": {"UPC": "6", "Brand": "Forge"},
            "parent_asin": checked_id("B", n),
        }
        for n in range(97)
    ]


def reviews(rng):
    """Of 120 users, a third buys old items before the test, one new items after training, and one others anytime."""
    rows = []
    for user in range(120):
        old, new = range(48), range(60, 97)
        items = {0: old, 1: new, 2: [*range(60), 97, 98, 99]}[user % 3]  # three have no product
        first = {0: T1 - 25 * 10**9, 1: (T2 if user % 2 else T1) + 10**6, 2: T1 - 24 * 10**9}[user % 3]
        step = {0: 10**10, 1: 10**8, 2: 12 * 10**9}[user % 3]
        bought = rng.sample(items, rng.randrange(2, 8))
        for place, item in enumerate([*bought, bought[0]] if user % 10 == 2 else bought):
            row = {"rating": 5.0, "title": "Great", "text": 'I "like" it,\nreally', "images": [], "asin": "A"}
            ids = {"parent_asin": checked_id("B", item), "user_id": checked_id("U", user % 100) + "ab"[user // 100]}
            rows.append({**row, **ids, "timestamp": first + step * (place - place % 2 * (user % 7 == 0))})
    rng.shuffle(rows)
    return rows


def histories(rows):
    """What the owners of the set make of reviews: each purchase with those before it, by the file it is in."""
    found = {TRAIN: [], VALID: [], TEST: []}
    users = list(dict.fromkeys(row["user_id"] for row in rows))
    for user in users:
        before = []
        for row in sorted((row for row in rows if row["user_id"] == user), key=lambda row: row["timestamp"]):
            if row["parent_asin"] in before:
                continue
            time = row["timestamp"]
            kept = {column: row[column] for column in ("user_id", "parent_asin", "rating", "timestamp")}
            found[TRAIN if time < T1 else VALID if time < T2 else TEST].append({**kept, "history": " ".join(before)})
            before.append(row["parent_asin"])
    return found


def tables(seed=0):
    """The rows of the published files with histories, and of the catalog."""
    rng = random.Random(seed)
    return {PRODUCTS: products(rng), **histories(reviews(rng))}


def tables_of(purchases, seed=0):
    """The rows of the catalog, and of a file without histories."""
    rng = random.Random(seed)
    items, rows = products(rng), reviews(rng)
    columns = ("user_id", "parent_asin", "rating", "timestamp")
    ratings = [{column: row[column] for column in columns} for row in rows]
    return {PRODUCTS: items, **({RATINGS: ratings} if purchases == "rating_only" else {REVIEWS: rows})}


def write(folder, rows):
    for file, table in rows.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(written(table, file[file.rindex(".") :]))
    return folder
