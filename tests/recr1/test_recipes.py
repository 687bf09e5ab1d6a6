"""Every recipe on disk is a test case."""

from __future__ import annotations

from pathlib import Path

import pytest

from recr1.config.shipped import shipped_recipes
from recr1.recipe import load_recipe
from tests.processes import ROOT
from tests.recr1.tasks.folders import write_start

FOLDER = ROOT / "recipes"
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".yaml", ".yml"))
LAUNCH = [path for path in FILES if path.parent.name == "launch"]
RECIPES = [path for path in FILES if path not in LAUNCH]


def header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return lines[:end]


def test_every_file_on_disk_is_shipped_under_its_own_name():
    assert list(shipped_recipes().values()) == RECIPES


@pytest.fixture(params=RECIPES, ids=lambda path: path.relative_to(FOLDER).with_suffix("").as_posix())
def path(request, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(write_start(tmp_path))
    return request.param


def test_it_loads_and_round_trips(path, tmp_path):
    recipe = load_recipe(path)
    recipe.dump(tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_it_is_under_forty_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def test_its_header_says_what_for_and_on_what_hardware(path):
    first = " ".join(line for line in header(path) if not line.startswith("#  "))
    assert any(word in first for word in ("CPU", "GPU"))


def test_its_header_has_the_launch_command_and_one_override(path):
    name = path.relative_to(FOLDER.parent).as_posix()
    commands = [line for line in header(path) if line.startswith("#   ") and name in line]
    assert any(" train " in line or " eval " in line for line in commands)
    assert any("=" in line.partition(name)[2] for line in commands)


def test_the_override_in_its_header_is_good(path):
    name = path.relative_to(FOLDER.parent).as_posix()
    for line in header(path):
        overrides = [word for word in line.partition(name)[2].split() if "=" in word and not word.startswith("-")]
        load_recipe(path, overrides)
