"""Reranking: by a scorer that is worked by hand, and by a real, tiny cross-encoder."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.combine.rerank import CrossEncoder, Rerank
from retrievers.testing import RetrieverContract
from tests.retrievers.combine.test_hybrid import part

CATALOG = Catalog([f"i{row}" for row in range(6)], ["aa", "b", "ccc", "b", "", "e"], {"size": [3, 1, 2, 4, 6, 5]})


class Length:
    """Longer texts are better; keeps what it was asked."""

    def __init__(self, *, sign: float = 1.0) -> None:
        self.sign, self.asked = sign, []

    def score(self, query, texts):
        self.asked.append((query, list(texts)))
        return np.array([self.sign * len(text) for text in texts])


class Value:
    """A number that stands in the text."""

    def score(self, query, texts):
        return np.array([float(text) for text in texts])


class Broken:
    """Answers as its option says."""

    def __init__(self, *, how: str) -> None:
        self.how = how

    def score(self, query, texts):
        answers = {"few": np.zeros(len(texts) + 1), "nan": np.full(len(texts), np.nan), "huge": [1e300] * len(texts)}
        return answers[self.how]


def scorer(name, **options):
    return {"type": f"{__name__}:{name}", **options}


def test_the_first_items_are_ordered_by_the_scorer_and_ties_by_row():
    hits = Rerank(CATALOG, retriever=part(1, 2, 3, 4, 5), scorer=scorer("Length")).search(["q"], 6)
    assert hits.rows_QK.tolist() == [[2, 0, 1, 3, 4, -1]]
    assert hits.scores_QK[0, :5].tolist() == [3, 2, 1, 1, 0]


def test_items_behind_the_depth_follow_in_their_order():
    rerank = Rerank(CATALOG, retriever=part(9, 7, 8, 4, 4, 1.5), scorer=scorer("Length"), depth=3)
    hits = rerank.search(["q"], 6)
    # First come rows 0, 2, 1 (9, 8, 7), by length 2, 0, 1; then 3 and 4, equal, and 5, which is 2.5 below them.
    assert hits.rows_QK.tolist() == [[2, 0, 1, 3, 4, 5]]
    assert hits.scores_QK.tolist() == [[3, 2, 1, 0, 0, -2.5]]
    for k in (1, 2, 3, 4, 5):
        assert rerank.search(["q"], k).rows_QK.tolist() == [[2, 0, 1, 3, 4, 5][:k]]


def test_a_text_is_scored_once_for_each_query():
    rerank = Rerank(CATALOG, retriever=part(1, 2, 3, 4), scorer=scorer("Length"))
    rerank.search(["q", "r"], 1)
    assert rerank._scorer.asked == [("q", ["b", "ccc", "aa"]), ("r", ["b", "ccc", "aa"])]


def test_a_query_that_finds_nothing_is_not_scored():
    rerank = Rerank(CATALOG, retriever=part(), scorer=scorer("Length"))
    assert rerank.search(["q"], 2).rows_QK.tolist() == [[-1, -1]]
    assert rerank._scorer.asked == []


def test_the_scorer_reads_the_field_that_is_named():
    hits = Rerank(CATALOG, retriever=part(1, 2, 3, 4), scorer=scorer("Value"), field="size").search(["q"], 4)
    assert hits.rows_QK.tolist() == [[3, 0, 2, 1]]


def test_it_understands_what_its_retriever_understands():
    first = part(1, understands=["phrases"], written={"phrases": "in braces"})
    rerank = Rerank(CATALOG, retriever=first, scorer=scorer("Length"))
    assert (rerank.capabilities, rerank.syntax) == ({"phrases"}, {"phrases": "in braces"})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("few", r"scorer Broken returned shape \(4,\) for 3 texts of the query 'q'"),
        ("nan", "scorer Broken returned numbers that are not finite for 3 texts"),
        ("huge", "the score of row [012] for query 0 is inf"),
    ],
)
def test_a_scorer_that_fails_is_never_a_ranking(how, message):
    with pytest.raises(ValueError, match=message):
        Rerank(CATALOG, retriever=part(1, 2, 3), scorer=scorer("Broken", how=how)).search(["q"], 1)


def test_a_query_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match="a scorer reads text, and the query is of type tuple"):
        Rerank(CATALOG, retriever=part(1), scorer=scorer("Length")).search([(1, 2)], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth: must be an integer >= 1, got 0"),
        ({"field": "name"}, "the catalog has no field 'name'; it has: texts, size"),
        ({"retriever": {"type": "bm52"}}, r"retriever\.type: no 'bm52' here"),
        ({"scorer": {"type": "cross"}}, r"scorer\.type: no 'cross' here; did you mean 'cross_encoder'\?"),
        ({"scorer": scorer("Length", sing=1)}, r"scorer\.sing: .*Length has no option 'sing'; did you mean 'sign'"),
        (
            {"retriever": {"type": "tests.retrievers.combine.test_hybrid:Shallow", "scores": [1] * 6}},
            "depth: the retriever finds at most 3 items; set depth to 3 or less",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Rerank(CATALOG, **{"retriever": part(1), "scorer": scorer("Length"), **options})


# --- a real cross-encoder

needs_library = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="install it with: pip install 'recr1[dense]'"
)
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"red blue shoe shoes tea mug the of common word a b c d".split(),
]


def tiny(folder, outputs=1):
    """A random cross-encoder with a dozen words, saved as one from a hub is."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(5)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=outputs,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(model):
    return CrossEncoder(model=model, batch_size=1)


TEXTS = ["red shoe", "blue tea mug", "shoes", ""]


@needs_library
def test_a_cross_encoder_gives_the_logits_of_its_model(model):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    scores = CrossEncoder(model=model).score("red mug", TEXTS)
    tokens = AutoTokenizer.from_pretrained(model)(["red mug"] * 4, TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(model)(**tokens).logits[:, 0].numpy()
    assert scores == pytest.approx(logits, rel=1e-4)
    assert len(set(scores.tolist())) == 4
    assert scores.dtype == np.float32


@needs_library
def test_a_cross_encoder_survives_pickling_and_threads(model):
    encoder = CrossEncoder(model=model, max_length=16, batch_size=2)
    scores = encoder.score("red", TEXTS)
    assert pickle.loads(pickle.dumps(encoder)).score("red", TEXTS).tolist() == scores.tolist()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: encoder.score("red", TEXTS).tolist(), range(16)))
    assert found == [scores.tolist()] * 16


@needs_library
def test_a_model_of_several_outputs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has 3 outputs, and a reranker has one: take another model"):
        CrossEncoder(model=tiny(tmp_path, outputs=3))


@needs_library
def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model: cannot load "):
        CrossEncoder(model=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "./nowhere"}, r"model: there is no folder '\./nowhere'; give a folder or a hub name"),
        ({"model": "x", "max_length": 2}, "max_length: must be an integer >= 8, or null, got 2"),
        ({"model": "x", "batch_size": 0}, "batch_size: must be an integer >= 1, got 0"),
    ],
)
def test_options_of_a_cross_encoder_are_refused_before_a_model_is_loaded(options, message):
    with pytest.raises(ValueError, match=message):
        CrossEncoder(**options)


@pytest.mark.slow
@needs_library
class TestCrossEncoderContract(RetrieverContract):
    """What a model says depends, in its last bits, on how many texts it reads at once: never on other queries."""

    @pytest.fixture(autouse=True)
    def _model(self, model, encoder):
        self.spec, self.encoder = {"type": "cross_encoder", "model": model}, encoder

    def build(self, catalog):
        return Rerank(catalog, retriever={"type": "bm25", "backend": "numpy"}, scorer=self.spec, depth=20)

    def brute_force(self, catalog, query):
        hits = BM25(catalog, backend="numpy").search([query], len(catalog))
        ranking = [(int(row), float(score)) for row, score in zip(*map(np.ravel, hits), strict=True) if row >= 0]
        head = [row for row, _ in ranking[:20]]
        logits = self.encoder.score(query, [catalog.texts[row] for row in head]) if head else []
        scores = dict(zip(head, map(float, logits), strict=True))
        behind = ranking[20:]
        return scores | {row: min(scores.values()) - 1 - (behind[0][1] - score) for row, score in behind}

    def distinct_catalog(self, items):
        """Without a common word: what a random model thinks of it is no matter."""
        texts = [f"only{row}" for row in range(items)]
        return Catalog(texts, texts, {"title": texts, "body": [""] * items})
