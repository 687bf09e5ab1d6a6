"""Imports stay light, and a foreign module with one of our generic names is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.recr1.tasks.folders import write_start

HEAVY = """
torch transformers trl accelerate datasets peft vllm pyserini jnius sentence_transformers faiss wandb matplotlib pyarrow
numba scipy bm25s rank_bm25 Stemmer pandas
""".split()
CHECKING = ["pydantic", "rich", "yaml"]


def python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False, cwd=ROOT)


def loaded_of(names: list[str], code: str) -> list[str]:
    done = python(f"import sys\n{code}\nprint(*[name for name in {names} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("package", ["retrievers", "rewards", "recr1"])
def test_a_package_loads_nothing_but_numpy(package):
    assert loaded_of([*HEAVY, *CHECKING], f"import {package}") == []


def test_recr1_loads_not_even_numpy():
    assert loaded_of(["numpy"], "import recr1, recr1.cli.main") == []


def test_help_loads_neither_numpy_nor_anything_heavy():
    code = "from recr1.cli.main import run\ntry:\n    run(['--help'])\nexcept SystemExit:\n    print()"
    assert loaded_of([*HEAVY, *CHECKING, "numpy"], code) == []


def test_checking_every_shipped_recipe_loads_nothing_heavy(tmp_path):
    code = (
        f"import os\nos.chdir({str(write_start(tmp_path))!r})\n"
        "from recr1.config.shipped import shipped_recipes\nfrom recr1.recipe import load_recipe\n"
        "for name in shipped_recipes(): load_recipe(name)"
    )
    assert loaded_of(HEAVY, code) == ["Stemmer"]  # is asked for the names of its languages, in a millisecond


def test_check_loads_nothing_heavy_also_where_it_asks_trl():
    code = (
        "from recr1.cli.main import run\nassert [run(['check', name]) for name in ('toy/echo', 'quickstart')] == [0, 0]"
    )
    assert loaded_of(HEAVY, code) == []


def test_listing_every_part_loads_nothing_heavy():
    assert loaded_of(HEAVY, "from recr1.cli.main import run\nrun(['ls', '--parts'])") == []


@pytest.mark.parametrize("name", ["retrievers", "rewards"])
def test_a_foreign_module_of_the_same_name_is_refused(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import recr1"
    done = python(code)
    assert done.returncode == 1
    assert f"recr1 needs its own package '{name}' ({ROOT / name}), but Python finds {tmp_path / name}.py" in done.stderr
    assert f"Rename or move the other '{name}'" in done.stderr
