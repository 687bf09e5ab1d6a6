"""200 drawn changes of shipped recipes: a mistake is refused at its line, and anything else means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from recr1.cli.main import run
from recr1.config.shipped import shipped_recipes
from recr1.recipe import load_recipe
from tests.recr1.mutations import mutation
from tests.recr1.tasks.folders import write_start

SHIPPED = {name: path.read_text(encoding="utf-8") for name, path in shipped_recipes().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(200))
def test_a_mistake_is_refused_at_its_line_and_nothing_else_is(number, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    name, made = mutation(number, SHIPPED)
    Path("mine.yaml").write_bytes(made.content)
    status = run(["check", "mine.yaml"])
    said = capsys.readouterr().err
    assert status == (2 if made.refused else 0), made.what
    if made.refused:
        assert said.startswith("recr1: error: mine.yaml: "), made.what
        assert made.line is None or f"  mine.yaml:{made.line}: " in said, (made.what, said)
    else:
        assert load_recipe("mine.yaml") == load_recipe(name), made.what
