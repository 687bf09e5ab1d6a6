"""A head table whose rewrites are the best queries that the answer key has: in it, synonyms can be learned."""

from __future__ import annotations

import json

import pytest

from recr1.cli.main import run as recr1
from recr1.env import open_environment
from recr1.evaluate.evaluator import read_measures
from recr1.evaluate.references import find_references
from recr1.serve.table import Entry, Table, normal


@pytest.fixture(scope="session")
def env(bundle):
    recipe = bundle.recipe
    return open_environment(recipe.task, recipe.retriever, (), recipe.k)


@pytest.fixture(scope="session")
def table(bundle, env):
    needs = [*env.task.needs("train")[:300], *env.task.needs("validation")]
    best = find_references(env, needs, read_measures(["nDCG@10"], 10)).best_queries
    pairs = {normal(need.text): (need.text, query) for need, query in zip(needs, best, strict=True)}
    return Table(bundle.id, [Entry(*pair, None, {"count": 1}) for pair in pairs.values()])


@pytest.fixture
def written(table, tmp_path):
    return write(table, tmp_path / "table.jsonl")


def write(table, path):
    path.write_text("".join(json.dumps(entry.to_dict(table.bundle)) + "\n" for entry in table.entries))
    return path


@pytest.fixture
def exported(bundle, written, tmp_path):
    """Runs the command for an engine, and returns the folder that it wrote."""

    def of(engine, *more):
        folder = tmp_path / engine
        assert recr1(["handover", str(bundle.path), engine, "--table", str(written), "--out", str(folder), *more]) == 0
        return folder

    return of
