"""A value that a part cannot use is told by `recr1 check`, under its path, and by the constructor in the same words."""

from __future__ import annotations

import typing

import pytest

import rewards
from recr1 import policies, tasks, trainers
from recr1.cli.main import run
from recr1.config.build import KINDS, check_part, find_class
from recr1.tasks import behaviour
from recr1.trainers.pairs import pairs
from retrievers import BUILTIN
from retrievers.base import Catalog
from retrievers.combine import rerank
from retrievers.dense import encoders
from retrievers.options import options_of

CATALOG = Catalog(["a", "b"], ["red lamp", "blue tent"], {"title": ["red lamp", "blue tent"]})
NAN, INFINITE = float("nan"), float("inf")
BM25 = {"k1": [-1, NAN, INFINITE], "b": [-0.1, 1.1, NAN]}
WORDS = {"fields": [{}, {"title": 0}, {"title": -1}, {"title": NAN}], "stopwords": ["klingon"], "stemmer": ["klingon"]}
LINE = {
    "timeout": [0, -1, NAN, INFINITE],
    "attempts": [0, -1],
    "rate": [0, -1, NAN],
    "threads": [0, -1],
    "cooldown": [0, -1, NAN],
    "max_chars": [0, -1],
}
ELASTIC = {
    **BM25,
    **LINE,
    "url": ["host:9200", "http://me:secret@host"],
    "fields": [{}, {"title": 0}, {"ti tle": 1}],
    "query": [{"match_all": {}}],
    "id_field": ["sku"],
    "tiebreak": ["sku"],
    "headers": [{"authorization": "Bearer x"}, {"x": "${NO_SUCH_VARIABLE}"}],
}
ADDITIVE = {"slope": [0.0, -1.0, NAN, INFINITE], "cap": [0.0, -1.0, NAN, INFINITE]}
NO_MEASURE = {"measure": ["nDCG", "nDCG@0", "nDCG@-1", "nDGC@10", "nDCG(gain=zzz)@10", "Gini@10", ""]}
NDCG = {"type": "measure", "measure": "nDCG@10"}
SPEAKER = {"type": "tests.recr1.policies.speaker:Speaker", "lines": ["[red lamp]"]}
ONLINE = {
    "steps": [0, -1],
    "trl": [None, {"seed": 3}, {"max_steps": 3}],
    "failure_budget": [-0.1, 1, NAN],
    "rollouts_every": [-1],
    "curriculum_uniform": [0, 1.1, NAN],
    "curriculum_rate": [0, 1.1, NAN],
    "curriculum_start": ["./no/such/folder"],
}
GROUPS = {**ONLINE, "dynamic_sampling": [-1], "dynamic_sampling_tolerance": [-0.1, NAN, INFINITE]}
FITTED = {
    **{key: [0, -1] for key in ("epochs", "patience", "batch_size")},
    "learning_rate": [0, NAN, INFINITE],
    "seed": [-1],
    "dropout": [-0.1, 1, NAN],
}
SPLIT_SOURCE = {
    "split": ["random"],
    "per_user": [-1],
    "shares": [{"train": 0.1}, {"test": 0}, {"test": 1.5}],
    "cuts": [[1, 2]],
}
SEQUENTIAL = {
    "source": [{"type": "peeple"}, {"type": "people", "users": 0}],
    "last": [0],
    "candidates": [1, 41],
    "distractors": ["near", {"type": "bm52"}],
    "max_needs": [0],
}
SIZES = ("candidates", "nlist", "nprobe", "hnsw_m", "ef_construction", "ef_search", "pq_m")

NEEDED = {
    "written": {"policy": {"type": "field_clauses"}},
    "http": {"url": "http://host", "body": {"q": "{query}"}},
    "service": {"url": "http://host"},
    "dense": {"encoder": {"type": "hashing"}},
    "content": {"encoder": {"type": "hashing"}},
    "milvus": {"encoder": {"type": "hashing"}},
    "vqrec": {"encoder": {"type": "hashing"}},
    "history_text": {"retriever": {"type": "bm25"}},
    "hybrid": {"parts": [{"type": "bm25"}, {"type": "rank_bm25"}]},
    "cached": {"retriever": {"type": "bm25"}},
    "rerank": {"retriever": {"type": "bm25"}, "scorer": {"type": "cross_encoder", "model": "some/model"}},
    "sentence_transformers": {"model": "some/model"},
    "cross_encoder": {"model": "some/model"},
    "measure": {"measure": "nDCG@10"},
    "gain": {"measure": "nDCG@10"},
    "rec_r1": {"measure": "nDCG@10"},
    "shuffled": {"measure": "nDCG@10"},
    "annealed": {"measure": "nDCG@10"},
    "phrases": {"phrases": ["in stock"]},
    "rank_tiers": {"places": [1, 10], "pays": [1.0, 0.5]},
    "across": {"reward": NDCG, "retrievers": [{"type": "rank_bm25"}]},
    "of_family": {"family": "rating", "reward": NDCG},
    "worth": {"fields": {"margin": 0.5}},
    "reranking": {"task": {"type": "toy"}},
    **{name: {"source": {"type": "people"}} for name in ("rating", "explain_text", "review_title", "augment")},
    "mixed": {"tasks": {"one": {"type": "toy"}}},
    "sequential": {"source": {"type": "people"}},
    "pick_one": {"source": {"type": "people"}},
    "recommender": {"retriever": {"type": "bm25"}},
    "interactions": {"path": "data"},
    "scripted": {"answers": {"mug": "red mug"}},
    "transformers": {"model": "tiny-shopper"},
    "ctranslate2": {"model": "./no/such/folder"},
    "openai": {"url": "http://host", "model": "some/model"},
    "few_shot": {"policy": SPEAKER},
    "prompt_search": {"policy": SPEAKER},
    "best_of": {"policy": SPEAKER},
    "files": {"path": "data"},
    "esci": {"path": "data"},
    "wands": {"path": "data"},
    "amazon_c4": {"path": "data"},
    "amazon_reviews": {"path": "data"},
    "hnm": {"path": "data"},
    "ir": {"name": "vaswani"},
    "trec_products": {"path": "data"},
    "grpo": {"steps": 1},
    "ppo": {"steps": 1},
    "rloo": {"steps": 1},
    "sft": {"steps": 1, "pairs": {"type": "shopper", "count": 1}},
    "file": {"path": "pairs.tsv"},
    "shopper": {"count": 1},
}
"""What each type must have beside the value that is wrong."""

BAD = {
    "retriever": {
        "bm25": {**BM25, **WORDS},
        "rank_bm25": {**BM25, **WORDS, "epsilon": [-0.1, NAN, INFINITE]},
        "lucene": {
            **BM25,
            **WORDS,
            "mu": [0, -1, NAN, INFINITE],
            "rm3_items": [-1],
            "rm3_terms": [0],
            "rm3_weight": [-0.1, 1.1, NAN],
            "threads": [0, 65],
        },
        "http": {**LINE, "url": ["host", "http://me:secret@host"], "body": [{"q": "all"}], "headers": [{"token": "x"}]},
        "opensearch": ELASTIC,
        "elasticsearch": ELASTIC,
        "postgres": {
            **LINE,
            "fields": [{}, {"title": 0}, dict.fromkeys("abcde", 1)],
            "dsn": ["password=x", "postgresql://me:secret@host", "not a dsn"],
            "id_column": ["sku"],
            "vector": ["words"],
            "normalization": [-1, 64],
        },
        "milvus": {
            **LINE,
            "uri": ["host:19530", "http://me:secret@host", "./no/such/folder/m.db"],
            "token": ["${NO_SUCH_VARIABLE}", "literal"],
            "id_field": ["sku"],
            "vector_field": ["v"],
        },
        "dense": {size: [0, -1, 1] for size in SIZES},
        "hybrid": {"rrf_k": [-1, NAN], "depth": [0], "weights": [[1], [1, 0], [1, NAN]], "parts": [[{"type": "bm25"}]]},
        "cached": {"memory": [-1, 0], "disk_mb": [0, -1]},
        "service": {"url": ["host"], "token": ["literal", "${NO_SUCH_VARIABLE}"], "timeout": [0, NAN], "attempts": [0]},
        "rerank": {"depth": [0, -1]},
        "popularity": {},
        "item_knn": {"neighbours": [0, -1]},
        "als": {
            **{"factors": [0], "l2": [0, -1, NAN], "alpha": [0, NAN], "iterations": [0, -1], "seed": [-1]},
            "patience": [0, -1],
        },
        "content": {},
        "ease": {"l2": [0, -1, NAN, INFINITE], "memory_gb": [0, -1, NAN]},
        "multvae": {**FITTED, **{key: [0] for key in ("hidden", "latent")}, "beta": [-1], "positive_weight": [0]},
        "personas": {**FITTED, **{key: [0] for key in ("personas", "dim", "rounds", "sample")}, "prior": [-1]},
        "vqrec": {
            **{name: values for name, values in FITTED.items() if name != "dropout"},
            **{key: [0] for key in ("parts", "dim", "last", "examples", "decay", "temperature")},
            "encoder": [None],
        },
        "history_text": {"last": [0]},
    },
    "encoder": {
        "hashing": {"dim": [0, 7, 12, -8], "ngrams": [1, 0]},
        "sentence_transformers": {"batch_size": [0], "model": ["./no/such/folder"]},
    },
    "scorer": {"cross_encoder": {"batch_size": [0], "max_length": [7], "model": ["./no/such/folder"]}},
    "reward": {
        "measure": NO_MEASURE,
        "lift": {"others": [-1, NAN]},
        "facts": {},
        "gain": NO_MEASURE,
        "rec_r1": NO_MEASURE,
        "shuffled": NO_MEASURE,
        "annealed": {**NO_MEASURE, "start": [10, 0, -1], "steps": [0, -1]},
        "format": {"valid": [NAN, INFINITE], "invalid": [NAN, -INFINITE, 1.5]},
        "length": {**ADDITIVE, "budget": [0, -1]},
        "operators": {**ADDITIVE, "budget": [-1]},
        "group_length": {"free": [0, -1]},
        "repetition": {"run": [0, -1]},
        "unmatched": {"stemmer": ["klingon", ""]},
        "copied": {"title_words": [0, -1], "id_characters": [0, -1]},
        "phrases": {"phrases": [[], [""], ["in stock", "!?"]]},
        "drift": {"at_least": [0.0, -0.1, 1.1, NAN, INFINITE]},
        "log_rank": {"cutoff": [0, -1], "rel": [0, -1]},
        "rank_tiers": {
            "places": [[0, 10], [10, 10], [10, 1], [-1, 1]],
            "pays": [[], [1.0], [0.5, 1.0], [-1.0, -2.0], [NAN, 0.5], [INFINITE, 0.5]],
            "rel": [0, -1],
        },
        "across": {
            "reward": [{"type": "across", "reward": NDCG, "retrievers": [{"type": "bm25"}]}],
            "retrievers": [[], [{"type": "bm25"}, {"type": "bm25"}]],
        },
        "of_family": {"family": [""], "reward": [{"type": "measure", "measure": "nDCG"}]},
        "worth": {
            "fields": [{"margin": -1.0}, {"margin": NAN}, {"margin": INFINITE}],
            "cutoff": [0, -1],
            "stock": [""],
            "relevance": [-1.0, NAN, INFINITE],
        },
        "crowding": {"cutoff": [0, -1]},
        "popularity_lift": {"cutoff": [0, -1], "over": ["everyone"]},
        "miscalibration": {"cutoff": [0, -1]},
        "disagreement": {},
        "by_person": {"cutoff": [0, -1], "similarity": ["cosine"]},
    },
    "policy": {
        "echo": {},
        "as_shown": {},
        "scripted": {},
        "recommender": {"retriever": [{"type": "bm52"}, {"type": "bm25", "k1": -1}]},
        "transformers": {
            "model": ["./no/such/folder"],
            "lora_rank": [-1],
            "lora_alpha": [0, -1],
            "lora_dropout": [-0.1, 1, NAN],
            "lora_targets": [["q_proj"]],
            "use_dora": [True],
            "max_new_tokens": [0, -1],
            "temperature": [0, -1, NAN, INFINITE],
            "batch_size": [0, -1],
        },
        "ctranslate2": {
            "model": ["./no/such/folder", "tiny-shopper"],
            "max_new_tokens": [0, -1],
            "temperature": [0, -1, NAN, INFINITE],
            "batch_size": [0, -1],
            "threads": [0, -1],
        },
        "openai": {
            "url": ["host", "http://me:secret@host", "${NO_SUCH_VARIABLE}"],
            "api_key": ["${NO_SUCH_VARIABLE}"],
            "max_new_tokens": [0, -1],
            "temperature": [0, -1, NAN, INFINITE],
            **{name: [0, -1] for name in ("concurrency", "attempts")},
            **{name: [0, -1, NAN, INFINITE] for name in ("timeout", "cooldown")},
            "seed": [-1],
        },
        "keywords": {"top": [0, -1], "language": ["english", "E"]},
        "prf": {"items": [0], "terms": [0], "words": [0], "weight": [-0.1, 1.1, NAN]},
        "few_shot": {"shots": [0], "needs": [0], "samples": [0]},
        "prompt_search": {"prompts": [1], "budget": [10], "instructions": [[" "]]},
        "best_of": {"n": [1, 0]},
        "best_item": {"words": [0]},
        "mean_rating": {"of": ["mode"]},
        "best_edit": {"rounds": [0], "beam": [0], "tried": [0], "added": [-1], "measure": ["nDCG"]},
        "linear_edits": {
            "at_least": [0, -0.1, NAN],
            "rounds": [0],
            "beam": [0],
            "tried": [0],
            "added": [-1],
            "needs": [0],
            "measure": ["nDCG"],
        },
        "field_clauses": {"clauses": [0], "at_least": [-0.1, NAN], "measure": ["nDCG"]},
        "term_oracle": {"terms": [0], "items": [0], "tried": [0], "measure": ["nDCG"]},
    },
    "task": {
        "toy": {},
        "files": {
            "splits": [{"train": 1.5}, {"train": NAN}, {"trian": 0.5}],
            "gains": [{"E": -1.0}, {"E": NAN}],
            "min_grade": [0, -1],
            "max_needs": [0, -1],
            "qrels": [{}, {"trian": "qrels.tsv"}],
            "columns": [{"nead": "text"}],
        },
        "esci": {
            "locale": ["uk"],
            "version": ["medium"],
            "gains": [{"E": 1.0}, {"E": -1.0, "S": 0.1, "C": 0.0, "I": 0.0}, dict.fromkeys("ESCI", 0.0)],
            "text_fields": [[], ["titel"], ["title", "title"]],
            "validation": [-0.1, 1.0, NAN],
            "max_needs": [0, -1],
        },
        "wands": {
            "gains": [{"Exact": 1.0}, {"Exact": NAN, "Partial": 0.5, "Irrelevant": 0.0}],
            "text_fields": [[], ["product_name"]],
            "splits": [{"train": 1.5}, {"trian": 0.5}],
            "max_needs": [0, -1],
        },
        "amazon_c4": {"text_fields": [["title"]], "splits": [{"train": 1.5}, {"trian": 0.5}], "max_needs": [0, -1]},
        "amazon_reviews": {
            "purchases": ["last_out"],
            "core": ["1core"],
            "setting": ["seen"],
            "last": [0, -1],
            "valid_from": [0, -1],
            "test_from": [0, 1],
            "text_fields": [["details"]],
            "max_needs": [0, -1],
        },
        "hnm": {"text_fields": [["prod_name"]], "splits": [{"train": 1.5}], "max_needs": [0, -1]},
        "ir": {"name": [{}, {"trian": "vaswani"}], "splits": [{"train": 1.5}], "max_needs": [0, -1]},
        "trec_products": {
            "qrels": [{}, {"trian": "a.qrels"}],
            "queries": [[]],
            "text_fields": [["text"]],
            "splits": [{"train": 1.5}],
            "max_needs": [0, -1],
        },
        **{
            name: {
                "source": [{"type": "peeple"}, {"type": "people", "users": 0}],
                "template": ["unseen"],
                "words": [0],
                **({} if name == "review_title" else {"last": [0]}),
            }
            for name in ("rating", "explain_text", "review_title")
        },
        "augment": {
            "source": [{"type": "peeple"}, {"type": "people", "users": 0}],
            "neighbours": [-1],
            "users": [0],
            "shares": [{"train": 1.5}, {"trian": 1.0}, {"train": 0.5}],
        },
        "mixed": {
            "tasks": [{}, {"one": {"type": "toyy"}}, {"a/b": {"type": "toy"}}],
            "share": [{"two": 1.0}, {"one": 0.0}],
            "measures": [{"two": "nDCG@1"}, {"one": "nDCG"}],
        },
        "reranking": {
            "task": [{"type": "toyy"}],
            "candidates": ["judge", {"type": "bm52"}, {"type": "bm25", "k1": -1}],
            "count": [1, 41],
            "words": [0],
        },
        "sequential": SEQUENTIAL,
        "pick_one": {**SEQUENTIAL, "candidates": [None, 1, 41]},
        "shop": {
            "items": [99, -1],
            "train": [-1],
            "validation": [-1],
            "test": [-1],
            "shared": [-0.1, 1.1, NAN],
            "indirect": [-0.1, 1.1, NAN],
            "typos": [-0.1, 1.1, NAN],
            "dialect": ["c"],
        },
    },
    "source": {
        "people": {**SPLIT_SOURCE, "users": [0], "items": [99], "purchases": [3]},
        "interactions": {
            **SPLIT_SOURCE,
            "columns": [{"usr": "u"}],
            "scale": [[5, 1]],
            "at_least": [NAN, INFINITE],
            "encoding": ["klingon"],
        },
    },
    "trainer": {
        "grpo": {**GROUPS, "trl": [*GROUPS["trl"], {"loss_type": "cispo"}]},
        "rloo": GROUPS,
        "ppo": {
            **ONLINE,
            "trl": [*ONLINE["trl"], {"scale_rewards": "none"}, {"loss_type": "cispo"}],
            "critic_learning_rate": [0, -1, NAN],
            "gamma": [-0.1, 1.1, NAN],
            "gae_lambda": [-0.1, 1.1, NAN],
            "value_clip": [0, -1, NAN],
            "value_weight": [-1, NAN, INFINITE],
        },
        "sft": {
            "steps": [0, -1],
            "trl": [None, {"packing": True}],
            "failure_budget": [-0.1, 1, NAN],
            "pairs": [{"type": "fil"}, {"type": "sampled", "per_need": 0}, {"type": "shopper"}],
        },
    },
    "pairs": {
        "copy": {"needs": [0, -1]},
        "edits": {"edits": [0, -1], "changed": [-0.1, 1.1, NAN], "per_need": [0, -1], "needs": [0, -1]},
        "file": {},
        "answered": {"per_need": [0], "at_least": [NAN, INFINITE], "needs": [0]},
        "listed": {"order": ["worst"], "per_need": [0], "needs": [0]},
        "sampled": {"per_need": [0, -1], "keep": [0, 9], "at_least": [NAN, INFINITE], "needs": [0, -1]},
        "searched": {
            "at_least": [0, -0.1, NAN],
            "keep": [0, -1],
            "unchanged": [-0.1, 1.1, NAN],
            "rounds": [0, -1],
            "beam": [0, -1],
            "tried": [0, -1],
            "added": [-1],
            "samples": [-1],
            "choose": ["best"],
            "needs": [0, -1],
        },
        "shopper": {"count": [0, -1], "private": [-0.1, 1.1, NAN]},
        "written": {"policy": [{"type": "no_such"}, {}], "at_least": [NAN, INFINITE], "needs": [0, -1]},
    },
}
"""For each type, values of the right kind that it cannot use."""

ANY_NUMBER = {"seed", "split_seed"}
"""Numeric options of which no value is wrong."""

CASES = [
    pytest.param(kind, name, option, value, id=f"{name}-{option}-{value}")
    for kind, types in BAD.items()
    for name, options in types.items()
    for option, values in options.items()
    for value in values
]


def spec(name, option, value):
    return {"type": name, **NEEDED.get(name, {}), option: value}


def is_number(annotation):
    """Whether a type is a number, or one with bounds, or null."""
    return annotation in (int, float) or any(map(is_number, typing.get_args(annotation)[:2]))


def test_no_built_in_type_is_left_out():
    assert set(BAD["retriever"]) == set(BUILTIN)
    assert set(BAD["encoder"]) == set(encoders.BUILTIN)
    assert set(BAD["scorer"]) == set(rerank.BUILTIN)
    assert set(BAD["reward"]) == set(rewards.BUILTIN)
    assert set(BAD["policy"]) == set(policies.BUILTIN)
    assert set(BAD["task"]) == set(tasks.BUILTIN)
    assert set(BAD["trainer"]) == set(trainers.BUILTIN)
    assert set(BAD["source"]) == set(behaviour.BUILTIN)
    assert set(BAD["pairs"]) == set(pairs.BUILTIN)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, types in BAD.items() for name in types])
def test_no_number_is_left_out(kind, name):
    known = options_of(find_class(kind, name), takes=KINDS[kind].takes)
    numeric = {key for key, option in known.items() if is_number(option.annotation)}
    assert numeric - set(BAD[kind][name]) - ANY_NUMBER == set()


@pytest.mark.parametrize(("kind", "name", "option", "value"), CASES)
def test_a_check_tells_it_under_its_path(kind, name, option, value):
    paths = {problem.path for problem in check_part(kind, spec(name, option, value), kind)}
    assert any(path == f"{kind}.{option}" or path.startswith(f"{kind}.{option}.") for path in paths), paths


@pytest.mark.parametrize(("kind", "name", "option", "value"), CASES)
def test_the_constructor_refuses_it_in_the_same_words(kind, name, option, value):
    told = {
        problem.path.removeprefix(f"{kind}.") + ": " + problem.what
        for problem in check_part(kind, spec(name, option, value), kind)
    }
    cls = find_class(kind, name)
    options = {key: given for key, given in spec(name, option, value).items() if key != "type"}
    with pytest.raises(ValueError, match=r"^\w") as refused:
        cls(*[CATALOG] * KINDS[kind].takes, **options)
    assert set(str(refused.value).splitlines()) <= told


@pytest.mark.parametrize(
    ("outer", "place"),
    [
        ({"type": "cached", "retriever": ...}, "retriever"),
        ({"type": "rerank", "retriever": ..., "scorer": {"type": "cross_encoder", "model": "m"}}, "retriever"),
        ({"type": "hybrid", "parts": [{"type": "bm25"}, ...]}, "parts.1"),
        ({"type": "cached", "retriever": {"type": "hybrid", "parts": [..., {"type": "bm25"}]}}, "retriever.parts.0"),
    ],
)
@pytest.mark.parametrize(
    "inner", [{"type": "bm25", "k1": -1}, {"type": "rank_bm25", "k1": -1}, {"type": "lucene", "k1": -1}]
)
def test_it_is_told_inside_of_other_retrievers(outer, place, inner):
    def filled(part):
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        return [filled(value) for value in part] if isinstance(part, list) else inner if part is ... else part

    assert f"retriever.{place}.k1" in {problem.path for problem in check_part("retriever", filled(outer), "retriever")}


def test_what_is_wrong_outside_and_inside_is_told_at_once():
    wrong = {
        "type": "hybrid",
        "depth": 0,
        "parts": [{"type": "bm25", "b": 2, "k1": -1}, {"type": "dense", "encoder": {"type": "hashing", "dim": 7}}],
    }
    paths = {problem.path for problem in check_part("retriever", wrong, "retriever")}
    assert paths == {"retriever.depth", "retriever.parts.0.k1", "retriever.parts.0.b", "retriever.parts.1.encoder.dim"}


def test_the_command_lists_all_of_them_before_anything_loads(capsys):
    assert run(["check", "toy/echo", "retriever.k1=-1", "retriever.b=2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[-2:] for line in lines[1:3]] == [
        ["retriever.k1", "must be a number >= 0 (0.9 to 1.5 is usual), got -1"],
        ["retriever.b", "must be a number between 0 and 1, got 2"],
    ]
    assert run(["check", "toy/echo", "retriever.stemmer=klingon", "retriever.stopwords=klingon"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "retriever.stopwords: must be a list or its name, got 'klingon'" in lines[1]
    assert "retriever.stemmer: must be a language, got 'klingon'" in lines[2]
