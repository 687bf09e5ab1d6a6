"""The pages of the algorithms: each detail is where they say, each option and each metric is one."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs import from_registry
from recr1.config.build import builtin, find_class
from recr1.trainers.trl.options import trl_options
from retrievers.options import options_of
from tests.docs.pages import ROOT, read

PAGES = sorted(path.stem for path in (ROOT / "docs" / "algorithms").glob("*.md"))


def table(page: str, head: str) -> list[tuple[str, str]]:
    """The rows below the line that begins with this first cell, of two columns."""
    text = read(f"docs/algorithms/{page}.md")
    start = text.index(head)
    lines = text[start:].split("\n\n")[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ", 1)) for line in lines]


@cache
def defined(path: Path) -> frozenset[str]:
    """Functions and classes of a file, methods as Class.method too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return frozenset(names)


@cache
def names_of_trl() -> frozenset[str]:
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("pip install 'recr1[train]'")
    return frozenset().union(*(defined(path) for path in Path(spec.origin).parent.glob("trainer/*.py")))


def test_every_trainer_has_a_page():
    assert set(PAGES) == set(builtin("trainer"))


@pytest.mark.parametrize("page", PAGES)
def test_every_detail_is_in_the_code_that_is_named(page):
    rows = table(page, "| detail | where |")
    assert len(rows) >= 6
    for detail, where in rows:
        assert "`" in where, detail
        for clause in where.split(";"):
            names = re.findall("`([^`]+)`", clause)
            files = [name for name in names if "/" in name]
            named = [name for name in names if name not in files]
            if "TRL's" in clause:
                assert set(named) <= names_of_trl(), detail
            elif named:
                [file] = files
                assert set(named) <= defined(ROOT / file), detail


@pytest.mark.parametrize("page", PAGES)
def test_every_option_is_one_of_the_trainer(page):
    cls = find_class("trainer", page)
    text = read(f"docs/algorithms/{page}.md")
    known = {"trl": set(trl_options(cls.config)), "trainer": set(options_of(cls))}
    if not known["trl"]:
        pytest.skip("pip install 'recr1[train]'")
    for place in ("trl", "trainer"):
        head = f"| key under `{place}:` | is |"
        rows = table(page, head) if head in text else []
        assert rows or place == "trainer"
        for keys, _ in rows:
            assert set(re.findall("`([^`]+)`", keys)) <= known[place]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_a_formula_a_command_or_recipe_and_what_to_watch(page):
    text = read(f"docs/algorithms/{page}.md")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {"The formula", "Details, and where they are", "Options that matter", "What to watch"} <= set(headings)
    assert re.search(r"^    loss|^    policy", text, re.MULTILINE)
    assert "troubleshooting.md" in text


@pytest.mark.parametrize("name", PAGES)
def test_the_page_of_trainers_lists_each_option_with_its_text(name):
    listed = from_registry.described("trainer", name, builtin("trainer")[name])
    for option in options_of(find_class("trainer", name)):
        [(value, text)] = re.findall(rf"^\| `{option}` \| .+? \| (.+?) \| (.+?) \|$", listed, re.MULTILINE)
        assert value and len(text) > 10
