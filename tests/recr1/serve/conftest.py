"""A run whose policy is the model that comes with recr1, and its bundle; a test that changes one takes a copy."""

from __future__ import annotations

import json
import shutil

import pytest

from recr1.config.build import build
from recr1.policies.transformers import save
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.serve.export import export


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    recipe = load_recipe("quickstart", ["task.items=300", "task.validation=60", "task.test=60"])
    run = Run.create(tmp_path_factory.mktemp("serve") / "run", recipe.to_dict(), {"seed": 0})
    policy = build("policy", recipe.policy)
    save(policy.model, policy.tokenizer, run.policy_path)
    run.finish("finished", policy={"step": 3, "keep": "last"})
    return run


@pytest.fixture(scope="session")
def bundle(run, tmp_path_factory):
    return export(run, load_recipe(run.path / "recipe.yaml"), tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle.path, tmp_path / "bundle")


def edit_facts(folder, **changed):
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
