"""The hidden catalog, proven: the matrix of policies by catalogs, a control, and a canary in every item."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from recr1.assets import shipped_model
from recr1.assets.make_private_shopper import make
from recr1.cli.main import run
from recr1.recipe import load_recipe
from recr1.tasks.shop.lexicon import DIALECTS, dialect_words
from recr1.tasks.shop.task import ShopTask
from tests.processes import begin

CANARY = str(load_recipe("private_words", ["policy.model=tiny-shopper"]).task.options["canary"])
CONTROL = "rewards=[{type: shuffled, measure: nDCG@10}]"
SHORT = [
    "task.items=300",
    "task.train=32",
    "task.validation=8",
    "task.test=8",
    "trainer.0.steps=2",
    "trainer.1.steps=2",
    "trainer.2.steps=2",
    "evaluate.every=1",
    *(f"trainer.{stage}.trl.per_device_train_batch_size=32" for stage in range(3)),
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "start"
    make(folder, seed=0)
    return folder


def test_every_private_word_is_one_new_token_of_the_policy_it_starts_from(start):
    tokenizer = AutoTokenizer.from_pretrained(start)
    words = [word for dialect in DIALECTS for word in dialect_words(dialect).values()]
    ids = [tokenizer(f" {word}")["input_ids"] for word in words]
    shipped = AutoTokenizer.from_pretrained(shipped_model("tiny-shopper"))
    assert {len(tokens) for tokens in ids} == {1}
    assert min(min(ids)) >= len(shipped) > 2000
    assert tokenizer.decode([*ids[0], *ids[1]]) == f" {words[0]} {words[1]}"
    text = "i need a portable, oversized, satin satchel. surprise me"
    assert tokenizer(text)["input_ids"] == shipped(text)["input_ids"]


def test_the_policy_it_starts_from_keeps_the_weights_that_ship(start):
    ours, shipped = (LlamaForCausalLM.from_pretrained(f).state_dict() for f in (start, shipped_model("tiny-shopper")))
    rows = len(shipped["lm_head.weight"])
    assert all(torch.equal(ours[name][:rows], weights.to(ours[name])) for name, weights in shipped.items())


class Reader:
    """Everything that a policy reads, as text, from the tokens that reach its weights."""

    def __init__(self, tokenizer, monkeypatch):
        self.texts = set()
        forward = LlamaForCausalLM.forward

        def reads(model, input_ids=None, **more):
            self.texts.update(tokenizer.batch_decode(input_ids))
            return forward(model, input_ids=input_ids, **more)

        monkeypatch.setattr(LlamaForCausalLM, "forward", reads)


def test_neither_the_canary_nor_an_item_reaches_the_policy_in_a_run(start, tmp_path, monkeypatch):
    read = Reader(AutoTokenizer.from_pretrained(start), monkeypatch).texts
    assert run(["train", "private_words", f"policy.model={start}", *SHORT, "--out", str(tmp_path / "run")]) == 0
    assert run(["eval", str(tmp_path / "run"), "--split", "test"]) == 0
    shop = ShopTask(items=300, train=32, validation=8, test=8, dialect="a", shared=0.0, canary=CANARY)
    everything = "\n".join(read)
    for split in ("validation", "test"):  # what was read is really here
        assert all(need.text in everything for need in shop.needs(split))
    assert any(need.text in everything for need in shop.needs("train"))
    assert all(CANARY in text for text in shop.catalog.texts)
    assert CANARY not in everything
    titles = [str(title).lower() for title in shop.catalog.fields["title"]]
    assert not any(title in everything for title in titles)


def test_a_prompt_with_the_canary_ends_the_run(start, tmp_path, capsys):
    leak = f"task.format={{type: plain, prompt: 'such as {CANARY}: {{need}}'}}"
    assert run(["train", "private_words", f"policy.model={start}", *SHORT, leak, "--out", str(tmp_path / "run")]) == 2
    assert "holds the canary 'kestrel-7f3a-never-shown'" in capsys.readouterr().err


def recr1(*arguments):
    process = begin([sys.executable, "-m", "recr1", *arguments])
    output, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    """Runs a, b and control; the warm start, which no shop has a say in, is made once."""
    home = tmp_path_factory.mktemp("runs")
    recr1("train", "private_words", f"policy.model={start}", "--out", home / "a")
    recipe = load_recipe(home / "a/recipe.yaml")
    last = f"trainer={json.dumps(recipe.stages[-1].to_dict())}"
    warm = [f"policy.model={home / 'a/stages/2-sft/policy'}", last]
    recr1("train", "private_words", "task.dialect=b", *warm, "--out", home / "b")
    recr1("train", "private_words", CONTROL, *warm, "--out", home / "control")
    return home


@pytest.fixture(scope="module")
def crossed(trained):
    return json.loads(recr1("cross", *(trained / name for name in ("a", "b", "control")), "--samples", "8", "--json"))


def difference(crossed, kind, policy, catalog, other="start"):
    wanted = {"kind": kind, "policy": policy, "catalog": catalog, "other": other}
    return next(one for one in crossed["differences"]["nDCG@10"] if wanted.items() <= one.items())


@pytest.mark.slow
def test_the_warm_start_favours_no_shop(crossed):
    starts = [crossed["catalogs"][shop]["start"] for shop in ("a", "b")]
    assert all(one["measures"]["nDCG@10"]["policy"]["mean"] < 0.05 for one in starts)
    assert all(0.01 < one["query_known"] < 0.1 for one in starts)


@pytest.mark.slow
@pytest.mark.parametrize(("shop", "stranger"), [("a", "b"), ("b", "a")])
def test_each_policy_wins_in_its_own_shop_alone(crossed, shop, stranger):
    own, away = (difference(crossed, "gain", shop, catalog) for catalog in (shop, stranger))
    assert own["test"]["difference"] > 0.5 and own["p_holm"] < 0.01
    assert abs(away["test"]["difference"]) < 0.02
    assert away["p_holm"] >= 0.05 or away["test"]["difference"] < 0
    for other in (
        difference(crossed, "rival", shop, shop, stranger),
        difference(crossed, "home", shop, shop, stranger),
    ):
        assert other["test"]["difference"] > 0.5 and other["p_holm"] < 0.01


@pytest.mark.slow
def test_the_control_does_not_learn(crossed):
    """It drifts, by a hundredth or so (the log has three seeds), and no further at home than in the other shop."""
    assert abs(difference(crossed, "gain", "control", "a")["test"]["difference"]) < 0.05
    assert difference(crossed, "home", "control", "a", "b")["test"]["difference"] < 0.03


@pytest.mark.slow
def test_the_words_that_the_catalog_knows_rise_from_near_nothing_and_are_logged(trained, crossed):
    lines = [json.loads(line) for line in (trained / "b/metrics.jsonl").read_text().splitlines()]
    shares = [line["train/query/known"] for line in lines if "train/query/known" in line]
    validated = [line["eval/validation/query/known"] for line in lines if "eval/validation/query/known" in line]
    assert max(shares[0], validated[0]) < 0.1
    assert min(shares[-1], validated[-1]) > 0.9
    assert crossed["catalogs"]["a"]["b"]["query_known"] < 0.1
