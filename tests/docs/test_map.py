"""The map names every module, and the reading order exists."""

from __future__ import annotations

import re
import sys
from importlib import import_module

from tests.docs.pages import ROOT, read

sys.path.append(str(ROOT / "docs"))
gen_map = import_module("gen_map")

MODULES = [path for package in gen_map.PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_every_module_says_in_its_first_line_what_it_has():
    assert [path for path in MODULES if not re.match(r"\S.{8,119}$", gen_map.first_line(path))] == []


def test_the_map_is_current():
    assert read("docs/map.md") == gen_map.page(), "run: make map"


def test_the_map_has_every_module_once():
    listed, folder = [], ""
    for line in gen_map.page().splitlines():
        if heading := re.match(r"###? (\S+)$", line):
            folder = heading[1]
            listed.append(f"{folder}/__init__.py")
        elif row := re.match(r"\| `(\S+\.py)` \|", line):
            listed.append(f"{folder}/{row[1]}")
    assert sorted(listed) == sorted(path.relative_to(ROOT).as_posix() for path in MODULES)


def test_lower_layers_come_first():
    text = gen_map.page()
    headings = ["## retrievers\n", "## rewards\n", "## recr1\n", "### recr1/config\n", "### recr1/trainers\n"]
    places = [text.index(heading) for heading in [*headings, "### recr1/cli\n"]]
    assert places == sorted(places)


def test_the_reading_order_is_sixteen_files_that_exist():
    order = read("CONTRIBUTING.md").partition("## Reading order\n")[2].partition("\n## ")[0]
    files = re.findall(r"`([\w/]+\.py)`", order)
    assert len(files) == len(set(files)) == 16
    assert [file for file in files if not (ROOT / file).is_file()] == []
