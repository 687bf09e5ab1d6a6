"""Gates of runs: `recr1 gate` fits one, and eval, compare and report show what it does, with the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from recr1.cli.main import run
from recr1.gate import Gate
from recr1.policies.base import Likely
from recr1.recipe import load_recipe
from recr1.runs import Run

NEEDS, SHORT = 120, 36
"""Of each split: needs, and those of two words, which the policy harms; it finds the item of every other need."""


class Planted:
    """A policy of a file with answers; it is sure of all that it writes.

    Args:
        model: its folder.
    """

    def __init__(self, *, model: str) -> None:
        self.answers = json.loads(Path(model, "config.json").read_text())

    def generate(self, chats, n):
        return [[self.answers[chat[-1]["content"]]] * max(n, 1) for chat in chats]


class Sure(Planted):
    """The same, and it says how likely its completions are.

    Args:
        model: its folder.
    """

    def greedy(self, chats):
        return [Likely(text, -0.1 - len(text) / 100) for (text,) in self.generate(chats, 0)]


def world(folder):
    """Items, needs and judgements as files, and the answers of the policy."""
    items, needs, answers = [], {}, {}
    for split in ("validation", "test"):
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        rows = ["query-id\tcorpus-id\tscore"]
        for place in range(NEEDS):
            name = f"{split}{place}"
            items.append({"_id": name, "text": f"red{name} coat{name}"})
            short = place % 10 < 3
            need = f"red{name} coat{name}" if short else f"what does one wear {name} in the cold"
            needs[name], answers[need] = need, "nothing such" if short else f"coat{name} for winter"
            rows.append(f"{name}\t{name}\t1")
        (folder / f"qrels/{split}.tsv").write_text("\n".join([*rows, ""]))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    lines = (json.dumps({"_id": name, "text": text}) + "\n" for name, text in needs.items())
    (folder / "queries.jsonl").write_text("".join(lines))
    return answers


def trained(folder, *, policy="Sure", seed=0, answers=None, home=None, **task):
    """A finished run with its policy."""
    home = home or folder
    answers = answers or world(home / "data")
    splits = {split: f"qrels/{split}.tsv" for split in ("validation", "test")}
    recipe = {
        "seed": seed,
        "task": {
            **{"type": "files", "path": str(home / "data"), "qrels": splits},
            **{"format": {"type": "plain", "prompt": "{need}"}, **task},
        },
        "retriever": {"type": "bm25"},
        "k": 10,
        "rewards": [{"type": "measure", "measure": "nDCG@10"}],
        "policy": {"type": f"tests.recr1.evaluate.test_gated:{policy}", "model": str(home / "start")},
        "evaluate": {"split": "validation", "measures": ["nDCG@10", "RR@10"]},
    }
    (home / "start").mkdir(exist_ok=True)
    (home / "start/config.json").write_text(json.dumps({need: need for need in answers}))
    file = folder / f"{policy}{seed}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    made = Run.create(folder / f"{policy}{seed}", load_recipe(file).to_dict(), {"seed": seed})
    made.policy_path.mkdir()
    (made.policy_path / "config.json").write_text(json.dumps(answers))
    made.finish("finished", policy={"step": 40})
    return str(made.path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a gate, evaluated."""
    path = trained(tmp_path_factory.mktemp("gated"))
    assert run(["gate", path]) == 0
    assert run(["eval", path, "--split", "test"]) == 0
    return path


@pytest.fixture
def copied(made, tmp_path):
    return str(shutil.copytree(made, tmp_path / "copy"))


def printed(capsys, *command):
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *command):
    try:
        assert run([*command]) == 2
    except SystemExit as stop:
        assert stop.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_gate_leaves_the_needs_that_the_policy_harms_on_both_splits(made, capsys):
    for split in ("validation", "test"):
        held = printed(capsys, "gate", made, *(["--split", split] if split == "test" else []))
        systems = held["systems"]
        raw = SHORT / NEEDS
        assert [systems[name]["mean"] for name in systems] == pytest.approx([raw, 1 - raw, 1, 1])
        assert [systems[name]["rewritten"] for name in systems] == pytest.approx([0, 1, 1 - raw, 1 - raw])
        assert [systems[name]["harmed"] for name in systems] == pytest.approx([0, raw, 0, 0])
        assert systems["gated"]["kept"] == pytest.approx((1 - raw) / (1 - 2 * raw))
        assert held["fitted"] == {"measure": "nDCG@10", "split": "validation"}


def test_the_file_has_how_the_gate_was_fitted(made):
    facts = Gate.load(Path(made, "gate.json")).facts
    shown = {name: facts[name] for name in ("measure", "split", "k", "needs", "margin", "bound", "confidence")}
    assert shown == {
        **{"measure": "nDCG@10", "split": "validation", "k": 10, "needs": NEEDS},
        **{"margin": 0.05, "bound": 0.05, "confidence": 0.95},
    }
    assert facts["origin"]["run"] == "Sure0" and facts["origin"]["step"] == 40 and facts["harmed"] == 0


def test_eval_shows_what_the_gate_command_shows(made, capsys):
    held = json.loads(Path(made, "eval/test/trained/eval.json").read_text())["gate"]
    assert held == printed(capsys, "gate", made, "--split", "test")
    lines = [json.loads(line) for line in Path(made, "eval/test/trained/per_need.jsonl").open()]
    assert [line["gate"]["open"] for line in lines] == [len(line["text"].split()) > 2 for line in lines]
    page = Path(made, "eval/test/eval.md").read_text()
    assert "## Gate on test, 120 needs" in page and "| oracle gate | 1.000 1.000 to 1.000 | 70.0% | 0.0% |" in page
    assert "- The gate rewrites 70.0% of needs and keeps 175.0% of the gain" in page


def test_an_invalid_query_is_never_let_through(copied, capsys):
    path = Path(copied, "policy/config.json")
    answers = json.loads(path.read_text())
    broken = next(need for need in answers if "test" in need and len(need.split()) > 2)
    path.write_text(json.dumps(answers | {broken: ""}))
    held = printed(capsys, "gate", copied, "--split", "test")["systems"]
    assert held["always"]["rewritten"] == (NEEDS - 1) / NEEDS
    assert held["gated"]["rewritten"] == pytest.approx(0.7 - 1 / NEEDS)
    assert held["gated"]["mean"] == pytest.approx(1 - 1 / NEEDS)


def test_compare_shows_the_gate_of_a_run(copied, capsys):
    assert run(["compare", copied, "--policies", f"raw,mine={copied}"]) == 0
    assert "Gate on test, 120 needs" in capsys.readouterr().out
    held = json.loads(Path(copied, "compare/test/compare.json").read_text())
    own = json.loads(Path(copied, "eval/test/trained/eval.json").read_text())["gate"]
    assert held["gates"] == {"mine": own}


def test_compare_says_that_samples_have_no_gate(copied, capsys):
    assert run(["compare", copied, "--policies", f"raw,mine={copied}:2"]) == 0
    assert "mine: its gate is not shown, as samples have none." in " ".join(capsys.readouterr().out.split())
    assert "gates" not in json.loads(Path(copied, "compare/test/compare.json").read_text())


def test_seeds_each_have_their_gate_and_are_pooled(made, tmp_path, capsys):
    answers = json.loads(Path(made, "policy/config.json").read_text())
    worse = {need: "nothing such" if "test1" in need else answer for need, answer in answers.items()}
    other = trained(tmp_path, seed=1, answers=worse, home=Path(made).parent)
    assert run(["gate", other]) == 0 and run(["eval", other, "--split", "test"]) == 0
    pair = f"both={made}+{other}"
    assert run(["compare", made, "--policies", f"raw,{pair}", "--out", str(tmp_path / "out")]) == 0
    held = json.loads((tmp_path / "out/compare.json").read_text())["gates"]["both"]["systems"]
    ones = [
        json.loads(Path(path, "eval/test/trained/eval.json").read_text())["gate"]["systems"] for path in (made, other)
    ]
    for name, part in (("gated", "mean"), ("gated", "rewritten"), ("always", "harmed"), ("oracle", "mean")):
        assert held[name][part] == pytest.approx(sum(one[name][part] for one in ones) / 2)
    capsys.readouterr()
    assert run(["report", made, other, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| gated"))
    assert f"{held['gated']['mean']:.3f}" in row and f"{held['gated']['harmed']:.1%}" in row
    assert f"The gate rewrites {held['gated']['rewritten']:.1%} of needs" in page


def test_report_says_where_seeds_have_no_common_gate(made, tmp_path):
    answers = json.loads(Path(made, "policy/config.json").read_text())
    other = trained(tmp_path, seed=1, answers=answers, home=Path(made).parent)
    assert run(["gate", other, "--bound", "0.1"]) == 0 and run(["eval", other, "--split", "test"]) == 0
    assert run(["report", made, other, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.md").read_text()
    assert "The runs have no gates with one bound in common" in page and "| gated" not in page


def test_a_second_search_is_an_option(copied, capsys):
    held = printed(capsys, "gate", copied, "--search", "--no-likelihood")
    gate = Gate.load(Path(copied, "gate.json"))
    assert gate.needs_search and not gate.needs_likelihood
    assert held["systems"]["gated"]["mean"] == 1
    assert printed(capsys, "gate", copied, "--split", "test")["systems"]["gated"]["harmed"] == 0


def test_a_policy_without_likelihoods_gets_a_gate_without_them(tmp_path, made, capsys):
    own = trained(tmp_path, policy="Planted")
    assert printed(capsys, "gate", own)["systems"]["gated"]["mean"] == 1
    assert not Gate.load(Path(own, "gate.json")).needs_likelihood
    shutil.copy(Path(made, "gate.json"), own)
    assert "needs likelihoods, and the policy Planted has none" in refused(capsys, "eval", own)


def test_a_gate_of_another_policy_is_said_to_be_old(copied, capsys):
    facts = json.loads(Path(copied, "run.json").read_text())
    Path(copied, "run.json").write_text(json.dumps(facts | {"policy": {"step": 60}}))
    for command in (["gate", copied, "--split", "test"], ["eval", copied, "--split", "test"]):
        assert run(command) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "does not belong to this policy: it is of the policy of step 40, and the run now keeps that of" in said
        assert f"make it again with recr1 gate {copied}" in said


def test_a_gate_of_fewer_needs_than_there_are_says_how_to_use_all(copied, capsys):
    assert run(["gate", copied, f"evaluate.needs={NEEDS - 20}"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"the gate is fitted on {NEEDS - 20} of {NEEDS} needs, as evaluate.needs says" in said
    assert run(["gate", copied, "evaluate.needs=null"]) == 0
    assert "as evaluate.needs says" not in " ".join(capsys.readouterr().err.split())


def test_samples_have_no_gate_and_eval_says_so(copied, capsys):
    assert run(["eval", copied, "--split", "test", "--samples", "2"]) == 0
    said = capsys.readouterr()
    assert "the gate is not shown: it decides on greedy completions" in " ".join(said.err.split())
    assert "Gate on" not in said.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["gate", "toy/echo"], "toy/echo is a recipe: a gate is for the policy of a run folder; train it first"),
        (["gate", "RUN", "--split", "test"], "has no gate: make it with recr1 gate RUN"),
        (["gate", "MADE", "--split", "test", "--bound", "0.1", "--search"], "--bound, --search: is how a gate is"),
        (["gate", "MADE", "--bound", "1"], "--bound: must be a number > 0 and < 1, got '1'"),
        (["gate", "MADE", "--margin", "-1"], "--margin: must be a number > 0, got '-1'"),
        (["gate", "NOVALIDATION"], "a gate is fitted on validation needs, and this task has none"),
        (["eval", "CUT"], "cannot be read, or was cut off"),
    ],
)
def test_what_cannot_be_done_is_said(command, message, made, tmp_path, capsys):
    if "NOVALIDATION" in command:
        trained(tmp_path, qrels={"test": "qrels/test.tsv"})
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    if "CUT" in command:
        (folder / "gate.json").write_text((folder / "gate.json").read_text()[:-20])
    elif "RUN" in command:
        (folder / "gate.json").unlink()
    names = {"MADE": folder, "RUN": folder, "CUT": folder, "NOVALIDATION": tmp_path / "Sure0"}
    assert message in refused(capsys, *(str(names.get(word, word)) for word in command))
