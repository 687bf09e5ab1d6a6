"""The recipe that makes the policy of the quickstart, from nothing to the folder that ships: the same bytes twice."""

from __future__ import annotations

import json
import sys

import pytest

from recr1.assets import shipped_model
from recr1.assets.make_tiny_shopper import start
from recr1.config.build import Part
from recr1.env import open_environment
from recr1.errors import UserError
from recr1.trainers.pairs.pairs import ShopperPairs
from tests.processes import ROOT, begin

RECIPE = ROOT / "recipes/tiny_shopper.yaml"
FEW = ["trainer.steps=6", "trainer.pairs.count=120", "trainer.trl.per_device_train_batch_size=16", "evaluate.every=6"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "start"
    start(folder, seed=0)
    return folder


def test_a_start_is_a_random_policy_of_the_shape_that_ships(begun):
    config = json.loads((begun / "config.json").read_text())
    shipped = json.loads((shipped_model("tiny-shopper") / "config.json").read_text())
    assert config.pop("dtype") == "float32" and shipped.pop("dtype") == "bfloat16"
    assert config == shipped


def test_what_it_learns_from_is_what_shoppers_say_and_mean():
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}})
    env = open_environment(task, Part("bm25"), [(Part("format"), 1.0)], 10)
    pairs = ShopperPairs(count=80, seed=2).pairs(env)
    assert len({pair.need.text for pair in pairs}) == 80
    assert max(len(pair.completion.split()) for pair in pairs) <= 5


def test_a_need_of_a_held_out_split_is_left_out_of_what_it_learns_from():
    env = open_environment(Part("toy", {"format": {"type": "plain", "prompt": "{need}"}}), Part("bm25"), [], 10)
    whole = ShopperPairs(count=20).pairs(env)
    env.task.needs = lambda split: [whole[3].need] if split == "test" else []
    assert [pair.place for pair in ShopperPairs(count=20).pairs(env)] == [p.place for p in whole[:3] + whole[4:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count: must be an integer >= 1, got 0"),
        ({"count": 1, "private": 1.5}, "private: must be a number between 0 and 1, got 1.5"),
    ],
)
def test_pairs_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ShopperPairs(**options)


def test_the_tokenizer_that_ships_is_that_of_the_start(begun):
    ours, shipped = (folder / "tokenizer.json" for folder in (begun, shipped_model("tiny-shopper")))
    assert ours.read_bytes() == shipped.read_bytes()


def recr1(*arguments):
    process = begin([sys.executable, "-m", *arguments])
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


@pytest.mark.slow
def test_the_recipe_gives_the_same_bytes_twice(tmp_path):
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        recr1("recr1.assets.make_tiny_shopper", "start", folder / "start")
        recr1("recr1", "train", RECIPE, f"policy.model={folder / 'start'}", *FEW, "--out", folder / "run")
        recr1("recr1.assets.make_tiny_shopper", "ship", folder / "run", folder / "shipped")
        files = [*(folder / "start").rglob("*.*"), *(folder / "shipped").iterdir()]
        made.append({path.relative_to(folder): path.read_bytes() for path in files if path.is_file()})
    assert made[0] == made[1] and len(made[0]) > 10
    shipped = {path.name: path.read_bytes() for path in shipped_model("tiny-shopper").iterdir()}
    ours = {path.name: path.read_bytes() for path in (tmp_path / "one/shipped").iterdir()}
    assert ours.keys() == shipped.keys()
    assert [name for name in ours if ours[name] != shipped[name]] == ["model.safetensors"]
