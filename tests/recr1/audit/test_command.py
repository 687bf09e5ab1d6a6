"""`recr1 audit RUN`: the trained policy, the answers that its evaluation saved, files, a log and an exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recr1.cli.main import run
from recr1.recipe import load_recipe
from recr1.runs import Run

TASK = {"type": "shop", "items": 200, "train": 60, "validation": 40, "test": 40}
SAID: list[tuple[int, dict[str, float], str]] = []


class Prefixed:
    """Writes the need after the word in its folder, and counts how often it is asked."""

    asked = 0

    def __init__(self, *, model: str) -> None:
        self.word = json.loads((Path(model) / "config.json").read_text())

    def generate(self, chats, n):
        Prefixed.asked += len(chats)
        return [[f"{self.word} {chat[-1]['content']}"] * max(n, 1) for chat in chats]


class Heard:
    """A service that hears the numbers."""

    def start(self, run_path, config):
        self.heard = []

    def log(self, step, metrics):
        self.heard.append((step, dict(metrics)))

    def finish(self, status):
        SAID.extend((*one, status) for one in self.heard)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("audited")
    recipe = {
        "task": {**TASK, "format": {"type": "plain", "prompt": "{need}"}},
        "retriever": {"type": "bm25"},
        "k": 5,
        "rewards": [{"type": "measure", "measure": "nDCG@5"}],
        "policy": {"type": f"{__name__}:Prefixed", "model": str(home / "start")},
        "evaluate": {"split": "validation", "measures": ["nDCG@5"]},
        "audit": {"words": {"age": ["young", "old"]}, "limits": {"growth": 2}},
    }
    for folder, word in (("start", "plain"), ("run/policy", "very " * 40)):
        file = home / "recipe.yaml"
        if folder == "start":
            file.write_text(yaml.safe_dump(recipe))
            made = None
        else:
            made = Run.create(home / "run", load_recipe(file).to_dict(), {"seed": 0})
        path = home / folder if made is None else made.policy_path
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(word.strip()))
    made.finish("finished", policy={"step": 7})
    return made


def audited(made, *more):
    before = Prefixed.asked
    status = run(["audit", str(made.path), "--split", "test", *more])
    return status, Prefixed.asked - before, json.loads((made.path / "audit/test/audit.json").read_text())


def test_the_trained_policy_is_audited_and_what_an_evaluation_saved_is_not_asked_again(made, capsys):
    status, asked, content = audited(made)
    assert status == 3 and asked == 120 and content["answers"] == {"generated": 120, "from the evaluation": 0}
    assert content["verdict"].startswith("2 of ") and content["origin"]["step"] == 7
    numbers = {one["name"]: one for part in content["parts"] for one in part["numbers"]}
    assert numbers["growth"]["fails"] and numbers["repeated"]["fails"] and numbers["words"]["value"] > 40
    assert run(["eval", str(made.path), "--split", "test"]) == 0
    status, asked, again = audited(made)
    assert status == 3 and asked == 80 and again["answers"] == {"generated": 80, "from the evaluation": 40}
    assert again["parts"] == content["parts"]


def test_answers_to_another_task_are_not_taken_and_limits_can_be_lifted(made):
    _, asked, _ = audited(made, "task.seed=5", "--needs", "20")
    assert asked == 60
    assert audited(made, "audit.limits.growth=null", "audit.limits.repeated=null")[0] == 0


def test_the_numbers_go_to_the_services_of_the_recipe_after_the_last_step(made):
    audited(made, f"log=[{{type: '{__name__}:Heard'}}]", "--needs", "20")
    [(step, numbers, status)] = SAID
    assert (step, status, numbers["audit/failures"]) == (0, "finished", 2.0) and numbers["audit/words"] > 40


def test_a_broken_evaluation_is_named(made, capsys):
    file = made.path / "eval/test/trained/eval.json"
    file = file if file.exists() else next((made.path / "eval/test").rglob("eval.json"))
    whole = file.read_text()
    try:
        file.write_text(whole[:100])
        assert run(["audit", str(made.path), "--split", "test"]) != 0
        assert "eval.json is not as recr1 writes it" in capsys.readouterr().err
    finally:
        file.write_text(whole)
