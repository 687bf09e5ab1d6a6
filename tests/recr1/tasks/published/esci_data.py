"""The files of ESCI, generated small with the quirks of the real ones; a test spoils what it is about."""

from __future__ import annotations

import random

EXAMPLES, PRODUCTS = "shopping_queries_dataset_examples.parquet", "shopping_queries_dataset_products.parquet"
WORDS = {"E": "Exact", "S": "Substitute", "C": "Complement", "I": "Irrelevant"}
KINDS = "lamp desk rug pan mug tent sofa chair".split()
COLORS = "red blue green oak black white".split()


def products(rng):
    """30 products of us, 6 of es and 4 of jp; B0000 is one id with another product in us and in es."""
    rows = []
    for locale, count in (("us", 30), ("es", 6), ("jp", 4)):
        for number in range(count):
            color, kind = rng.choice(COLORS), KINDS[number % len(KINDS)]
            described = [None, f"<p>A <b>{kind}</b>&nbsp;for you</p><br/>5 &lt; 6", f"Plain {kind}"]
            rows.append(
                {
                    "product_id": "B0000" if locale != "jp" and not number else f"B{locale}{number:02d}",
                    "product_title": f"{color} {kind} número {number} {locale}",
                    "product_description": described[number % 3],
                    "product_bullet_point": rng.choice([None, "soft\nwarm", "”strong“"]),
                    "product_brand": rng.choice([None, "Forge", "None"]),
                    "product_color": color,
                    "product_locale": locale,
                }
            )
    rng.shuffle(rows)
    return rows


def examples(rng, items):
    """120 needs of us, two thirds to train on, five of es, and then the quirks."""
    rows = []

    def judge(need, text, locale, judged, *, split, small=1):
        for item, label in judged:
            rows.append(
                {
                    "example_id": len(rows),
                    "query": text,
                    "query_id": need,
                    "product_id": item,
                    "product_locale": locale,
                    "esci_label": label,
                    "small_version": small,
                    "large_version": 1,
                    "split": split,
                }
            )

    ids = {locale: [row["product_id"] for row in items if row["product_locale"] == locale] for locale in ("us", "es")}
    for number in range(120):
        text = (" " if number == 0 else "") + f"{KINDS[number % 8]} for place {number}"
        judged = [(item, "ESCI"[place % 4]) for place, item in enumerate(rng.sample(ids["us"], 5))]
        judge(number, text, "us", judged, split="test" if number % 3 == 2 else "train", small=int(number < 100))
    for number in range(300, 305):
        judge(number, f"lámpara {number}", "es", [(item, "E") for item in ids["es"][:2]], split="train")
    judge(200, "nothing fits", "us", [(ids["us"][0], "I")], split="train")
    judge(201, "Lamp for place 8!", "us", [(ids["us"][1], "E")], split="train")  # the words of need 8 of test
    judge(202, "in both splits", "us", [(ids["us"][2], "E"), (ids["us"][3], "S")], split="train", small=0)
    judge(202, "in both splits", "us", [(ids["us"][4], "E")], split="test", small=0)
    judge(1, "desk for place 1", "us", [(rows[5]["product_id"], "C"), (rows[6]["product_id"], "S")], split="train")
    return rows


def tables(seed=0):
    """The rows of both files, by name."""
    rng = random.Random(seed)
    items = products(rng)
    return {EXAMPLES: examples(rng, items), PRODUCTS: items}


def write(folder, rows):
    """Each table as a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    for name, table in rows.items():
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), folder / name)
    return folder


def hub_tables(seed=0, shards=(2, 1)):
    """The same as tasksource/esci on the hub has it: each row with its product, labels in words, a split a file."""
    rows = tables(seed)
    of = {(row["product_locale"], row["product_id"]): row for row in rows[PRODUCTS]}
    counts = dict(zip(("train", "test"), shards, strict=True))
    found = {shard(split, number, count): [] for split, count in counts.items() for number in range(count)}
    for number, row in enumerate(rows[EXAMPLES]):
        count = counts[row["split"]]
        whole = {**of[row["product_locale"], row["product_id"]], **row, "esci_label": WORDS[row["esci_label"]]}
        whole["product_text"] = str(whole["product_title"])
        found[shard(whole.pop("split"), number % count, count)].append(whole)
    return found


def shard(split, number, count):
    return f"{split}-{number:05d}-of-{count:05d}-0a1b2c.parquet"
