"""The command line as a user meets it: what it prints, what it refuses and with which status."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recr1 import __version__
from recr1.cli import COMMANDS, GROUPS
from recr1.cli.arguments import names
from recr1.cli.main import run
from tests.processes import ROOT
from tests.recr1.config import parts

GOOD = """\
# A store of three items. Any CPU.
task: {type: my_parts:Store}
retriever: {type: my_parts:Scan}
k: 10
rewards:
  - {type: my_parts:Pay}
policy: {type: my_parts:Mute}
"""


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A user's folder with parts and a recipe of their own, and nothing of ours."""
    shutil.copy(parts.__file__, tmp_path / "my_parts.py")
    (tmp_path / "good.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    return tmp_path


def recr1(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """The installed command: unlike `python -m`, it does not put the current folder on Python's path (hence -P)."""
    command = [sys.executable, "-P", "-m", "recr1", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def assert_refused(done: subprocess.CompletedProcess[str], *messages: str) -> None:
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "recr1: error: " in done.stderr
    for message in messages:
        assert message in done.stderr


# --- good input, on the real command


def test_check_says_that_a_recipe_with_parts_of_the_current_folder_is_fine(shop):
    done = recr1("check", "--trust", "good.yaml", "retriever.boost=2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "good.yaml: the recipe is fine\n", "")


def test_check_with_data_counts_items_needs_and_what_is_left_out(shop, capsys):
    assert run(["check", "--trust", "good.yaml", "task.splits=[train, validation]", "--data"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "items       3",
        "judgements  0 of 0 needs",
        "text        as the task makes it; the first item's:",
        "  red tent",
        "fields      title",
        "train       2 needs",
        "validation  2 needs",
        "test        none (the store has no split 'test')",
        "counted     no positive grade: 4",
    ]


def test_check_with_data_refuses_a_reward_that_the_data_cannot_pay(shop, capsys):
    rewards = "rewards=[{type: worth, fields: {title: 1.0}}]"
    assert run(["check", "toy/echo", rewards, "--data"]) == 2
    assert "reward 'worth(title=1)@10' does not fit this task: " in capsys.readouterr().err


def test_search_prints_columns_with_tabs_when_piped(shop):
    done = recr1("search", "good.yaml", "red tent", "-k", "2")
    assert done.returncode == 0
    assert done.stdout == "1\t2.0000\ta\tred tent\tred tent\n2\t1.0000\tb\tblue tent\tred tent\n"


def test_search_reads_queries_from_standard_input_and_tells_which_find_nothing(shop):
    done = recr1("search", "good.yaml", "-", stdin="cup\n\nsofa\n")
    assert done.stdout == "1\t1.0000\tc\tred cup of tea\tcup\n"
    assert done.stderr == "recr1: note: nothing matches 'sofa'\n"


def test_search_prints_a_table_on_a_terminal_and_takes_brackets_as_they_are(shop):
    reader, writer = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    command = [sys.executable, "-P", "-m", "recr1", "search", "good.yaml", "blue [bold]"]
    subprocess.run(command, stdout=writer, env=env, check=True)
    shown = [line.split() for line in os.read(reader, 10_000).decode().splitlines()]
    assert shown == [["blue", "[bold]"], ["rank", "score", "id", "title"], ["1", "1.0000", "b", "blue", "tent"]]


def test_ls_lists_recipes_with_the_first_line_of_their_header(capsys):
    assert run(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("toy/echo ") and "the raw need is the query" in line for line in lines)


def test_ls_parts_lists_types_with_options_and_defaults(capsys):
    assert run(["ls", "--parts"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["model", "required", "a", "string"] in lines
    assert ["retriever"] in lines


def test_cp_copies_a_recipe_and_makes_the_folder(shop, capsys):
    assert run(["cp", "toy/echo", "deep/er/mine.yaml"]) == 0
    assert capsys.readouterr().out == "wrote deep/er/mine.yaml\n"
    assert Path("deep/er/mine.yaml").read_text() == (ROOT / "recipes/toy/echo.yaml").read_text()


def test_cp_into_a_folder_keeps_the_name(shop):
    assert run(["cp", "toy/echo", "."]) == 0
    assert run(["cp", "toy/echo", "new/"]) == 0
    assert Path("echo.yaml").exists()
    assert Path("new/echo.yaml").exists()


def test_version_and_help_answer(capsys):
    for option, words in {"--version": f"recr1 {__version__}", "--help": "exit status:"}.items():
        with pytest.raises(SystemExit) as ended:
            run([option])
        assert ended.value.code == 0
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status"), [(["search", "toy/echo", "zzxq"], 0), (["eval", "nothing"], 2), (["nothing"], 2)]
)
def test_a_closed_standard_error_changes_no_status(words, status):
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "recr1", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")


def test_no_argument_at_all_shows_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert "COMMAND" in capsys.readouterr().out


def test_overrides_may_stand_on_both_sides_of_an_option(shop):
    assert run(["check", "--trust", "good.yaml", "seed=1", "--data", "k=12"]) == 0


# --- bad input, on the real command


def test_a_bad_recipe_is_refused_with_all_that_is_wrong(shop):
    Path("bad.yaml").write_text(GOOD.replace("Scan", "Scam").replace("k: 10", "k: ten").replace("policy", "polcy"))
    assert_refused(
        recr1("check", "--trust", "bad.yaml"),
        "bad.yaml: 4 problems",
        "bad.yaml:7: polcy: a recipe has no 'polcy'; did you mean 'policy'?",
        "bad.yaml:3: retriever.type: the module 'my_parts' has no class 'Scam'",
        "bad.yaml:4: k: must be an integer between 1 and 2147483647, got 'ten'",
        "bad.yaml: policy: missing",
    )


def test_a_recipe_that_is_no_yaml_is_refused_with_its_line(shop):
    Path("bad.yaml").write_text("seed: 1\ntask: {type: toy\n")
    assert_refused(recr1("search", "bad.yaml", "tent"), "bad.yaml:3: not YAML")


def test_a_bad_override_is_refused_as_it_was_written(shop):
    assert_refused(
        recr1("check", "--trust", "good.yaml", "retriever.bost=2"),
        "override 'retriever.bost=2'",
        "did you mean 'boost'",
    )


def test_an_unknown_recipe_is_refused_with_the_nearest(shop):
    assert_refused(recr1("check", "toy/ecko"), "there is no recipe 'toy/ecko'; did you mean 'toy/echo'?")


def test_a_bad_data_file_is_refused_with_its_line(shop):
    assert_refused(
        recr1("check", "--trust", "good.yaml", "task.broken=file", "--data"), "error: items.jsonl:3: no field 'title'"
    )


def test_a_split_that_the_recipe_needs_and_the_task_has_not_is_refused(shop):
    done = recr1("check", "--trust", "good.yaml", "task.splits=[train]", "--data")
    assert_refused(done, "the store has no split 'validation'")


def test_an_existing_file_is_not_copied_over(shop):
    assert_refused(recr1("cp", "toy/echo", "good.yaml"), "good.yaml exists already and is not overwritten")
    assert Path("good.yaml").read_text() == GOOD


def test_an_output_that_cannot_be_written_is_refused_with_a_remedy(shop):
    done = recr1("cp", "toy/echo", "good.yaml/inside/mine.yaml")
    assert_refused(done, "good.yaml/inside: Not a directory (a part of this path is a file)")


@pytest.mark.parametrize("command", ["train", "eval", "compare", "report", "rescore", "cross"])
def test_a_run_that_does_not_exist_is_refused_with_those_that_do(shop, capsys, command):
    for name in ("old", "new"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "run.json").write_text("{}")
        os.utime(Path("runs", name), (1, {"old": 1, "new": 2}[name]))
    assert run([command, "runs/none", *(["runs/other"] * (command == "cross"))]) == 2
    what = "run folder" if command in ("report", "rescore", "cross") else "run folder or recipe"
    said = capsys.readouterr().err
    assert said.startswith(f"recr1: error: there is no {what} 'runs/none'")
    assert "runs here: runs/new, runs/old" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_eighty_columns_and_loads_nothing(command):
    code = (
        "import sys; from recr1.cli.main import parsed\ntry:\n    parsed(sys.argv[1:])\n"
        "finally:\n    sys.stderr.write(str('numpy' in sys.modules))"
    )
    env = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, done.stderr) == (0, "False")
    assert done.stdout.startswith(f"usage: recr1 {command} ")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_help_groups_commands_by_use_in_eighty_columns(capsys):
    with pytest.raises(SystemExit):
        run(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:-1] for line in lines if line[:-1] in GROUPS] == list(GROUPS)
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= set(COMMANDS)
    assert max(map(len, lines)) <= 80


def test_a_full_disk_is_told_in_one_message(shop):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "recr1", "ls"],
        stdout=Path("/dev/full").open("w"),
        stderr=-1,
        text=True,
        check=False,
    )
    assert (done.returncode, "No space left on device" in done.stderr) == (2, True)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(shop):
    Path("my_parts.py").open("a").write(
        "\n\nclass Torched(Scan):\n    def search(self, queries, k):\n        import torch\n"
    )
    code = "import sys; sys.modules['torch'] = None; from recr1.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", code, "search", "good.yaml", "x", "retriever.type=my_parts:Torched"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused(done, "this command needs the library 'torch'. Install it with: pip install 'recr1[train]'")


def test_a_reader_that_closes_early_ends_the_command_quietly(shop):
    command = f"{sys.executable} -P -m recr1 search good.yaml - ; echo $? >status"
    process = subprocess.Popen(command, shell=True, stdin=-1, stdout=-1, stderr=-1, text=True)
    process.stdout.close()
    _, stderr = process.communicate("tent\n" * 10)
    assert (stderr, Path("status").read_text()) == ("", "141\n")


# --- messages, in this process


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian", "x"], "there is no command 'trian'; did you mean 'train'?"),
        (["frobnicate"], f"there is no command 'frobnicate' (commands: {', '.join(COMMANDS)})"),
        (["check"], "the following arguments are required: RECIPE"),
        (["check", "x", "--dta"], "unrecognized arguments: --dta"),
        (
            ["check", "x", "--data", "loose"],
            "must be key=value, such as retriever.k1=1.2, got 'loose'",
        ),
        (["ls", "k=3"], "unrecognized arguments: k=3"),
        (["search", "x", "q", "-k", "0"], "argument -k: must be an integer >= 1, got '0'"),
        (["search", "x", "q", "-k", "many"], "must be an integer >= 1, got 'many'"),
        (["eval", "x", "--samples", "-1"], "must be an integer >= 0, got '-1'"),
    ],
)
def test_a_bad_command_line_is_refused(args, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run(args)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_ends_with_one_line_and_its_own_status(shop, capsys):
    Path("my_parts.py").open("a").write(
        "\n\nclass Stopped(Scan):\n    def search(self, queries, k):\n        raise KeyboardInterrupt\n"
    )
    done = recr1("search", "good.yaml", "x", "retriever.type=my_parts:Stopped")
    assert (done.returncode, done.stderr) == (130, "recr1: interrupted\n")


def test_a_retriever_that_fails_is_no_users_error_and_shows_where(shop):
    Path("my_parts.py").open("a").write(
        "\n\nclass Failing(Scan):\n    def search(self, queries, k):\n        return 1 / 0\n"
    )
    done = recr1("search", "good.yaml", "x", "retriever.type=my_parts:Failing")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(("args", "env"), [(["--traceback"], {}), ([], {"RECR1_TRACEBACK": "1"})])
def test_the_traceback_of_a_users_error_is_there_when_asked_for(shop, args, env, monkeypatch):
    from recr1.errors import UserError

    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="there is no recipe 'nothing'"):
        run(["check", "nothing", *args])


def test_measures_are_split_at_commas_outside_of_brackets():
    assert names("nDCG@10, R(rel=2,x=1)@5,") == ["nDCG@10", "R(rel=2,x=1)@5"]
