"""Every example of the documentation runs: files, Python blocks, commands, recipes and the messages shown for them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tomllib
from contextlib import suppress
from importlib import import_module

import pytest

from recr1.cli import COMMANDS
from recr1.cli import main as cli
from recr1.config import yaml12
from recr1.config.build import KINDS, EvaluationSpec, build, builtin, check_part, options_of_part
from recr1.config.shipped import find_recipe, shipped_launch_configs
from recr1.errors import UserError
from recr1.judge.difference import Difference, statement
from recr1.recipe import load_recipe
from recr1.tasks.files import FilesTask
from recr1.tasks.toy import TOY_DATA
from recr1.trainers.trl.options import trl_options
from retrievers.secrets import VARIABLE
from rewards.base import Search
from tests.docs.pages import PAGES, ROOT, blocks, name_of, prose, read
from tests.recr1.tasks.folders import CORPUS, QRELS, jsonl, tsv, write_split_folder, write_start
from tests.recr1.tasks.published import c4_data, esci_data, hnm_data, reviews_data, trec_data, wands_data

EXTEND = ROOT / "docs" / "extend"
MODULES = [file.stem for file in sorted(EXTEND.glob("*.py"))]

# The tests that stand in the example files themselves, contracts included, are collected here.
sys.path.append(str(EXTEND))
for _module in MODULES:
    globals().update({n: t for n, t in vars(import_module(_module)).items() if n.startswith(("Test", "test_"))})


@pytest.mark.parametrize("module", MODULES)
def test_every_example_file_has_a_test_and_stands_on_a_page(module):
    assert any(name.startswith(("Test", "test_")) for name in vars(import_module(module)))
    assert f'{{% include "./{module}.py"' in read(f"docs/extend/{module.removeprefix('my_')}.md")


WITHOUT_BUNDLE = [block for block in blocks("python") if not block.name.startswith("docs/production.md")]
"""Those that need a bundle run in tests/recr1/serve/test_page.py."""


@pytest.mark.parametrize("block", WITHOUT_BUNDLE, ids=lambda block: block.name)
def test_python_blocks_run_and_print_what_they_say(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, block.name, "exec"), {"__name__": "example"})
    said = re.findall(r"^print\(.*\)  # (.*)$", block.text, re.MULTILINE)
    if said:
        assert capsys.readouterr().out.splitlines() == said


def shell_lines() -> list[tuple[str, str]]:
    """(page, line) of each command: lines of bash blocks and of recipe headers, and `recr1 ...` in the prose."""
    found = [(block.name, line) for block in blocks("bash") for line in block.text.splitlines() if line.strip()]
    for recipe in ROOT.glob("recipes/**/*.yaml"):
        lines = re.findall(r"^#   ([^;\n]*\brecr1 [^;\n]*)", recipe.read_text(), re.MULTILINE)
        found += [(f"{name_of(recipe)}.md", line) for line in lines]
    for page in [
        page for page in PAGES if page.name != "map.md"
    ]:  # first lines of docstrings, which only name commands
        inline = re.findall(r"`(recr1 [^`]+)`", prose(page))
        found += [(name_of(page), " ".join(line.split())) for line in inline]
    return [(page, line) for page, line in dict.fromkeys(found) if "recr1 COMMAND" not in line]


RECR1 = [(page, line) for page, line in shell_lines() if re.search(r"(^|-m |=\w+ )recr1 [^-]", line)]
MAKE = [(page, line) for page, line in shell_lines() if line.startswith("make ")]
PLACEHOLDER = re.compile(r"[A-Z_]+|\S*(my|bad)\.yaml|runs/\S+")


def arguments(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return [word for word in words[words.index("recr1") + 1 :] if word != "..."]


def page_of(name: str) -> str:
    return name.partition(".md")[0] + ".md"


@pytest.mark.parametrize("page", sorted({page_of(name) for name, _ in RECR1}))
def test_commands_parse_and_their_recipes_and_overrides_are_sound(page, monkeypatch, tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(write_start(tmp_path))
    for line in [line for name, line in RECR1 if page_of(name) == page]:
        print(line)  # shown where the test fails
        for variable in VARIABLE.findall(line):
            monkeypatch.setenv(variable, "secret")
        words = arguments(line)
        if words[0] in COMMANDS and words[1:] in (
            [],
            *([name] for name in cli.inner_parsers(cli.command_parser(words[0]))),
        ):
            continue  # a command that is only named
        args = vars(cli.parsed(words))
        recipe = args.get("recipe") or args.get("target") or args.get("name")
        if recipe and not PLACEHOLDER.fullmatch(recipe) and recipe not in shipped_launch_configs():
            load_recipe(find_recipe(recipe), args.get("overrides", ()))


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_parts_in_yaml_blocks_are_sound(block, monkeypatch):
    for variable in VARIABLE.findall(block.text):
        monkeypatch.setenv(variable, "secret")
    document = yaml12.read(block.text)
    assert document.problems == []
    if "bad.yaml" in block.info:
        return  # its mistakes are shown with their messages, see below
    kinds = {"rewards": "reward", "log": "logger"}
    sections = dict(document.value)
    for name in {"evaluate", "audit"} & sections.keys():  # no part of a registry: it is checked as a recipe's
        load_recipe(find_recipe("quickstart"), [f"{name}={json.dumps(sections.pop(name))}"])
    several = {key: value if isinstance(value, list) else [value] for key, value in sections.items()}
    for key, spec in [(key, spec) for key, specs in several.items() for spec in specs]:
        bare = {name: value for name, value in spec.items() if name != "weight"}
        assert check_part(kinds.get(key, key), bare, key) == []


def filled(line: str) -> list[str]:
    """A command with a recipe that comes with recr1 for RECIPE, and the files of the toy shop for FOLDER."""
    words = [word.replace("FOLDER", str(TOY_DATA)) for word in arguments(line)]
    recipe = "quickstart" if {"--memory", "--gpu-gb"}.intersection(words) else "toy/echo"
    deep = ["k=100"] * any("R@100" in word for word in words)
    return [recipe if word == "RECIPE" else word for word in words] + deep


RUN_HERE = ("check", "cp", "doctor", "eval", "ls", "search", "store")
SLOW = {
    "recipes/esci.yaml",
    "recipes/amazon_c4.yaml",
    "recipes/amazon_reviews.yaml",
    "quickstart",
    "your_data",
    "recipes/your_data.yaml",
    "smollm2",
    "--memory",
    "--gpu-gb",
}
RUNNABLE = [
    pytest.param(words, id=" ".join(words), marks=[pytest.mark.slow] * bool(SLOW.intersection(words)))
    for words in dict.fromkeys(tuple(filled(line)) for _, line in RECR1)
    if words[0] in RUN_HERE and (words[1:] or words[0] in ("ls", "store"))
    if not any(PLACEHOLDER.fullmatch(word) or word.startswith("policy.model=") for word in words[1:])
]


@pytest.mark.parametrize("words", RUNNABLE)
def test_commands_without_a_run_or_a_model_succeed(words, tmp_path, monkeypatch):
    shutil.copy(EXTEND / "clicks.csv", tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    if SLOW.intersection(words):  # in the folders that recipes and pages name
        esci_data.write(tmp_path / "esci-data/shopping_queries_dataset", esci_data.tables())
        wands_data.write(tmp_path / "WANDS/dataset", wands_data.tables())
        c4_data.write(tmp_path / "amazon_c4", c4_data.tables())
        reviews_data.write(tmp_path / "amazon_reviews", reviews_data.tables())
        hnm_data.write(tmp_path / "hnm", hnm_data.tables())
        trec_data.write(tmp_path / "trec_products", trec_data.tables())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "cache"))
    assert cli.run(words) == 0


def test_commands_were_found():
    assert {arguments(line)[0] for _, line in RECR1} == set(COMMANDS)


def test_make_targets_exist():
    named = {shlex.split(line, comments=True)[1] for _, line in MAKE}
    assert named >= {"demo", "test"}
    assert named <= set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))


def test_the_page_of_recipes_shows_the_messages_of_its_bad_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad = next(block for block in blocks("yaml") if "bad.yaml" in block.info)
    shown = next(block for block in blocks("text") if "recr1 check bad.yaml" in block.info)
    (tmp_path / "bad.yaml").write_text(bad.text)
    assert cli.run(["check", "bad.yaml"]) == 2
    assert capsys.readouterr().err == shown.text


def test_the_page_of_data_shows_the_messages_of_its_mistakes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = next(block.text for block in blocks("text") if "d/qrels.tsv:2" in block.text)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/queries.jsonl").write_text('{"_id": "q", "text": "mug"}\n')
    (tmp_path / "d/qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t0.5\n")
    for second in ("b", "a"):
        items = "".join(f'{{"_id": "{item}", "title": "Mug"}}\n' for item in ("a", second))
        (tmp_path / "d/corpus.jsonl").write_text(items)
        assert cli.run(["check", "your_data", "task.path=d", "--data"]) == 2
    assert capsys.readouterr().err == shown


def test_the_answers_on_the_page_of_formats_are_read_as_the_same_query():
    rows = re.findall(r"^\| `(\w+)` \| `(.*)` \|$", read("docs/formats.md"), re.MULTILINE)
    meant = {name: build("format", {"type": name}).parse(answer) for name, answer in rows}
    assert meant == dict.fromkeys(("plain", "tag", "json_answer"), Search("2 person tent waterproof"))


INLINE = sorted(
    {
        (name_of(page), " ".join(code.split()))
        for page in PAGES
        if page.name not in ("map.md", "CHANGELOG.md", "changes.md", "log.md")  # names of modules, and what was
        for code in re.findall(r"`([^`]+)`", prose(page))
    }
)
SECTIONS = "evaluate|k|log|policy|retriever|rewards|seed|task|trainer"
PLACES = (
    *(
        "{}",
        "evaluate.{}",
        "task.{}",
        "trainer.{}",
        "trainer.trl={}",
        "task.gains={}",
        "retriever={}",
        "trainer.0.pairs={}",
    ),
    "rewards=[{}, {{type: measure, measure: RR@7}}]",
)


def is_sound(overrides: str, *recipes: str) -> bool:
    """Whether one of these recipes takes them."""
    for recipe in recipes:
        with suppress(UserError):
            load_recipe(find_recipe(recipe), ["k=100", *shlex.split(overrides)])
            return True
    return False


def test_overrides_in_the_prose_are_sound(monkeypatch, tmp_path):
    monkeypatch.chdir(write_start(tmp_path))
    found = [one for one in INLINE if re.match(rf"'?({SECTIONS})(\.\w+)*=", one[1])]
    recipes = ("quickstart", "your_data", "gpu_24gb_lora", "quickstart_sft_grpo", "quickstart_ppo", "rating")
    assert [one for one in found if not is_sound(one[1], *recipes)] == []
    assert len(found) > 40


def test_mappings_in_the_prose_are_sound_somewhere_in_a_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(write_start(tmp_path))
    found = [one for one in INLINE if re.match(r"(\w+: )?\{\w+: .*\}$", one[1]) and "..." not in one[1]]
    for page, code in found:
        written = re.sub(r"^(\w+): ", r"\1=", code)
        overrides = [shlex.quote(place.format(written)) for place in PLACES]
        assert any(is_sound(one, "quickstart", "your_data", "tiny_shopper", "pick_one") for one in overrides), (
            page,
            code,
        )
    assert len(found) > 25


def test_options_that_the_prose_names_exist():
    options = {kind: {name for one in builtin(kind) for name in options_of_part(kind, one)} for kind in KINDS}
    options["trl"] = {*trl_options("GRPOConfig"), *trl_options("SFTConfig")}
    options["evaluate"] = set(EvaluationSpec.__dataclass_fields__)
    path = re.compile(r"(?:trainer\.)?(trl|evaluate|policy|retriever|task|trainer)\.(?!trl$)(\w+)")
    named = [(page, match) for page, code in INLINE if (match := path.fullmatch(code))]
    assert [(page, match[0]) for page, match in named if match[2] not in options[match[1]]] == []
    assert len(named) > 50


def test_flags_of_scripts_and_extras_to_install_exist():
    lines = [line for _, line in [*shell_lines(), *INLINE]]
    extras = set(",".join(re.findall(r"(?:recr1|\.)\[([\w,]+)\]", "\n".join(lines))).split(","))
    assert extras <= set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])
    for line in lines:
        if script := re.match(r"python (benchmarks/\w+\.py)", line):
            assert [flag for flag in re.findall(r"--[\w-]+", line) if f'"{flag}"' not in read(script[1])] == [], line


def test_the_layout_that_the_page_of_data_shows_is_read(tmp_path):
    shown = next(block.text for block in blocks("text") if block.text.startswith("FOLDER/"))
    for name, row in re.findall(r"^  (\w+\.jsonl) +(\{.*\})$", shown, re.MULTILINE):
        (tmp_path / name).write_text(row)
    header, row = (re.search(rf"{name}\.tsv +(.*)$", shown, re.MULTILINE)[1].split()[:3] for name in ("train", "dev"))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/train.tsv").write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
    task = FilesTask(path=str(tmp_path), splits={"train": 1.0})
    assert [dict(task.qrels[need.id]) for need in task.needs("train")] == [{0: 3}]


def test_sentences_about_a_gain_are_those_that_commands_print():
    numbers = r"([-+.\d]+) (\S+) \(95% interval (\S+) to (\S+), p (?:= |< )([.\d]+), (\d+) needs\)"
    wanted = re.compile(rf"([\w ]+) against ([\w ]+): {numbers}: [a-z ]+")
    found = [match for page in PAGES for match in wanted.finditer(" ".join(prose(page).split()))]
    found += [match for block in blocks("text") for match in wanted.finditer(block.text)]
    for match in found:
        difference, low, high, p = (float(match[place]) for place in (3, 5, 6, 7))
        test = Difference(difference, low, high, p if "p = " in match[0] else 0.0, int(match[8]), 0, 0)
        assert statement(match[1].strip(), match[2], match[4], test) == match[0].strip()
    assert len(found) >= 4


def test_the_page_of_data_shows_counts_as_a_check_prints_them(tmp_path, monkeypatch, capsys):
    folder = write_split_folder(tmp_path)
    items = [{**item, "text": "new"} for item in (*CORPUS, {**CORPUS[0], "_id": "copy"})]
    (folder / "corpus.jsonl").write_text(jsonl(items))
    (folder / "qrels/train.tsv").write_text(tsv([*QRELS[:40], ("q0", "mug", 3)]))
    (folder / "qrels/dev.tsv").unlink()
    assert cli.run(["check", "toy/echo", f"task={{type: files, path: {folder}}}", "--data"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("counted ")]
    assert lines == next(block.text for block in blocks("text") if block.text.startswith("counted ")).splitlines()
