"""What the documentation names exists, and what the code has is documented: links, files, modules, tables."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pkgutil import resolve_name

from recr1.baselines.without_model import Echo
from recr1.cli import COMMANDS
from recr1.cli.main import command_parser, inner_parsers
from recr1.config.build import KINDS, EvaluationSpec, builtin
from recr1.env import Environment, chat_with, metrics
from recr1.evaluate import Evaluator
from recr1.recipe import SECTIONS
from recr1.tasks.tables import COLUMNS
from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from rewards.guards.form import LengthReward
from tests.docs.pages import PAGES, ROOT, blocks, name_of, prose, read


def test_links_within_the_project_lead_to_a_file():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose(page))]
    assert len(links) > 100
    assert [(name_of(page), link) for page, link in links if not (page.parent / link).exists()] == []


def test_links_to_a_section_lead_to_its_heading():
    links = [
        (page, file, anchor)
        for page in PAGES
        for file, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", prose(page))
    ]
    assert len(links) > 50
    lost = [
        f"{name_of(page)}: {file}#{anchor}"
        for page, file, anchor in links
        if anchor not in anchors((page.parent / file).resolve() if file else page)
    ]
    assert lost == []


def anchors(page):
    """The anchors that mkdocs makes of the headings of a page; a page that includes a file has those of the file."""
    text = page.read_text(encoding="utf-8")
    if included := re.search(r'include-markdown "(.+?)"', text):
        text = (page.parent / included[1]).read_text(encoding="utf-8")
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    names = [f"`{name}`" for kind in re.findall(r"<!-- parts: (\w+) -->", text) for name in builtin(kind)]
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings + names]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


CODE = [(name_of(page), name) for page in PAGES for name in re.findall(r"`([^`\s]+)`", prose(page))]


def test_files_that_a_page_names_exist():
    folders = r"(recr1|retrievers|rewards|recipes|tests|docs|benchmarks)/[\w./]+"
    files = [(page, name) for page, name in CODE if re.fullmatch(folders, name)]
    assert len(files) > 50
    assert [(page, name) for page, name in files if not (ROOT / name).exists()] == []


def test_modules_that_a_page_names_exist():
    module = r"(?!.*\.(py|json)$)(recr1|retrievers|rewards)(\.[A-Za-z_]\w*)+"
    names = [name for _, name in CODE if re.fullmatch(module, name)]
    names += re.findall(r"^::: (\S+)$", read("docs/reference.md"), re.MULTILINE)
    assert len(names) > 20
    for name in names:
        resolve_name(name)


def test_the_source_distribution_leaves_out_no_page():
    built = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]
    left_out = [path.strip("/") for path in built["exclude"]]
    assert [name for name in map(name_of, PAGES) if any(name.startswith(path) for path in left_out)] == []


def test_every_kind_of_part_has_a_page_with_its_built_in_types():
    marked = {kind for page in PAGES for kind in re.findall(r"^<!-- parts: (\w+) -->$", prose(page), re.MULTILINE)}
    assert marked == set(KINDS)


def test_every_key_of_a_recipe_is_described():
    described = set(re.findall(r"^\| `(\w+)` \|", read("docs/recipes.md"), re.MULTILINE))
    assert set(SECTIONS) | {field.name for field in fields(EvaluationSpec)} == described


def test_the_usual_column_names_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|$", read("docs/data.md"), re.MULTILINE)
    assert {role: tuple(re.findall("`([^`]+)`", names)) for role, names in rows} == COLUMNS


def test_every_option_of_every_command_stands_in_the_synopsis():
    synopsis = next(block.text for block in blocks("text") if "docs/cli.md" in block.name)
    parsers = {}
    for name in COMMANDS:
        parser = command_parser(name)
        parsers |= {f"{name} {inner}": one for inner, one in inner_parsers(parser).items()} or {name: parser}
    for line, (name, parser) in zip(filter(None, synopsis.splitlines()), parsers.items(), strict=True):
        options = {text for action in parser._actions for text in action.option_strings if not action.required}
        assert line.startswith(f"recr1 {name} ")
        assert set(re.findall(r"\[(-+[\w-]+)", line)) == options - {"-h", "--help", "--traceback"}


def test_every_metric_is_described():
    task = ToyTask()
    env = Environment(task, BM25(task.catalog), [(LengthReward(), 1.0)], k=10)
    needs = task.needs("test")
    step = env.step(needs, [chat_with(env.format.render(need), "") for need in needs])
    logged = {f"train/{name}" for name in metrics(step)} | set(Evaluator(env, "test", ["nDCG@10"])(Echo()).metrics())
    patterns = {"length(6)": "<name>", "invalid/empty query": "invalid/<reason>", "/test/": "/<split>/"}
    patterns |= {"nDCG@10": "<measure>"}
    for text, pattern in patterns.items():
        logged = {name.replace(text, pattern) for name in logged}
    described = set(re.findall(r"^\| `([^`]+)` \|", read("docs/runs.md"), re.MULTILINE))
    assert logged - described == set()


# Pages that are about no command, and why.
NO_COMMAND = {
    "docs/changes.md": "includes CHANGELOG.md",
    "docs/contributing.md": "includes CONTRIBUTING.md",
    "docs/glossary.md": "a list of words",
    "docs/hidden-catalog.md": "an argument",
    "docs/log.md": "a list of results",
    "docs/reference.md": "generated from docstrings",
}
COMMAND = re.compile(r"\b(recr1 [a-z]|make [a-z]|pip install|accelerate launch)")


def begins_with_a_command(page):
    lead = page.read_text(encoding="utf-8").partition("\n## ")[0]
    block = re.search(r"```\w+[^\n]*\n(.*?)```", lead, re.DOTALL)
    line = next((line for line in lead.splitlines()[1:] if line.strip()), "")
    return bool(COMMAND.search(line) or (block and COMMAND.search(block[1])))


def test_a_page_begins_with_the_command_that_it_is_about():
    pages = [page for page in PAGES if ROOT / "docs" in page.parents]
    assert {name_of(page) for page in pages if not begins_with_a_command(page)} == set(NO_COMMAND)


def test_every_extra_is_described():
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`.+?`) \|", read("docs/install.md"), re.MULTILINE)
    assert set(re.findall("`([^`]+)`", " ".join(rows))) == set(extras) - {"docs", "test", "dev"}


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"(\S+\.md)$", read("mkdocs.yml"), re.MULTILINE)
    assert sorted(f"docs/{name}" for name in listed) == sorted(name_of(page) for page in PAGES if page.parent != ROOT)


def test_every_benchmark_is_in_their_list():
    rows = re.findall(r"^\| (`.+?`) \|", read("benchmarks/README.md"), re.MULTILINE)
    listed = re.findall(r"`(\w+\.py)`", " ".join(rows))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))
