"""What recr1 overrides of TRL is in one table, and a new TRL that changed one of these methods is named."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re

import pytest

from recr1.trainers.trl.additions import OVERRIDDEN, Addition, Extended, ExtendedOnline
from tests.conftest import GOLDEN
from tests.processes import ROOT

trl = pytest.importorskip("trl", reason="pip install 'recr1[train]'")
utils = pytest.importorskip("trl.trainer.utils")
classes = pytest.importorskip("recr1.trainers.trl.classes")
READ = pytest.importorskip("recr1.trainers.layers.head").READ

OURS = [classes.GRPOTrainer, classes.RLOOTrainer, classes.PPOTrainer, classes.SFTTrainer]
METHODS = GOLDEN / "trl_methods.json"
SOURCES = sorted((ROOT / "recr1" / "trainers").rglob("*.py"))


def overridden(cls):
    """The methods that our classes put before those of TRL: name -> TRL's class that has it."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("recr1.")]
    theirs = [base for base in cls.__mro__ if base.__module__.startswith(("trl.", "transformers."))]
    names = {name for base in ours for name, value in vars(base).items() if inspect.isfunction(value)}
    return {name: base for base in reversed(theirs) for name in names if name in vars(base)}


def read(method):
    """A method as it is compared: its signature, and a digest of its lines of code."""
    lines = [line.strip() for line in inspect.getsource(method).splitlines()]
    code = "\n".join(line for line in lines if line and not line.startswith("#"))
    return {"signature": str(inspect.signature(method)), "code": hashlib.sha256(code.encode()).hexdigest()[:16]}


def installed():
    """The methods of the installed TRL and transformers that ours override."""
    found = {}
    for cls in OURS:
        for name, base in overridden(cls).items():
            found[f"{base.__name__}.{name}"] = read(inspect.unwrap(vars(base)[name]))
    found |= {f"utils.{name}": read(getattr(utils, name)) for name in READ}
    return dict(sorted(found.items()))


def moved(before, now):
    """A line for each method that is not what it was."""
    lines = [f"{name} is gone" for name in before.keys() - now.keys()]
    lines += [f"{name} is new" for name in now.keys() - before.keys()]
    for name in sorted(before.keys() & now.keys()):
        why = (OVERRIDDEN | READ)[name.partition(".")[2]]
        if before[name]["signature"] != now[name]["signature"]:
            lines.append(f"{name}{now[name]['signature']} was {before[name]['signature']}; we override it: {why}")
        elif before[name] != now[name]:
            lines.append(f"{name} has other code; we override it: {why}")
    return lines


def test_the_table_has_the_methods_that_are_overridden_and_no_other():
    assert set(OVERRIDDEN) == {name for cls in OURS for name in overridden(cls)}


def test_each_method_is_overridden_once():
    assert not {name for name in vars(Extended) if name in vars(ExtendedOnline) and name in OVERRIDDEN}
    assert not [name for cls in OURS for name in vars(cls) if name in OVERRIDDEN]


@pytest.mark.parametrize("cls", OURS)
def test_at_most_three_classes_are_ours_and_one_of_them_is_named(cls):
    ours = [base for base in cls.__mro__ if base.__module__.startswith("recr1.")]
    assert len(ours) <= 3
    assert vars(classes)[cls.__name__] is cls


def test_the_methods_of_trl_are_those_that_we_read(request):
    if request.config.getoption("--golden"):
        METHODS.write_text(json.dumps(installed(), indent=2) + "\n")
    changed = moved(json.loads(METHODS.read_text()), installed())
    assert not changed, "read these methods again, then record them with `make golden`:\n" + "\n".join(changed)


def test_a_method_that_moved_is_named_with_what_we_do_with_it():
    before = {
        "GRPOTrainer._generate": {"signature": "(self, prompts: list)", "code": "a"},
        "Trainer.train": {"signature": "(self)", "code": "b"},
        "RLOOTrainer._compute_loss": {"signature": "(self, model, inputs)", "code": "c"},
    }
    now = {
        "GRPOTrainer._generate": {"signature": "(self, prompts: list, images)", "code": "a"},
        "Trainer.train": {"signature": "(self)", "code": "d"},
    }
    assert moved(before, now) == [
        "RLOOTrainer._compute_loss is gone",
        "GRPOTrainer._generate(self, prompts: list, images) was (self, prompts: list); we override it: "
        + OVERRIDDEN["_generate"],
        "Trainer.train has other code; we override it: " + OVERRIDDEN["train"],
    ]


def test_private_names_that_additions_read_are_there():
    known = "".join(inspect.getsource(base) for base in (trl.GRPOTrainer, trl.GRPOTrainer.__mro__[2], Extended))
    read = {name for path in SOURCES for name in re.findall(r"trainer\.(_[a-z]\w+)", path.read_text(encoding="utf-8"))}
    assert len(read) >= 5
    assert not {name for name in read if name not in known}


def test_every_hook_is_called():
    hooks = {name for name, value in vars(Addition).items() if inspect.isfunction(value)}
    source = inspect.getsource(Extended) + inspect.getsource(ExtendedOnline)
    assert not {name for name in hooks if f"addition.{name}(" not in source and f'"{name}"' not in source}


def test_no_class_is_made_at_run_time():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert not [inner for inner in ast.walk(node) if isinstance(inner, ast.ClassDef)], path
            assert not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "type"
                and len(node.args) == 3
            ), path
