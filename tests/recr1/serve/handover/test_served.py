"""The exports that ask `recr1 serve`, in front of the real one."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import signal
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from recr1.cli import main as cli
from tests.processes import begin
from tests.retrievers.service.service_contracts import needs_service

pytestmark = needs_service


@contextmanager
def served(bundle, table):
    """The address of `recr1 serve`, once it answers from the table."""
    command = [sys.executable, "-m", "recr1", "serve", bundle.path, "--table", table, "--port", "0"]
    process = begin([*command, "--token-env", "RECR1_TOKEN"], RECR1_TOKEN="s3cret")
    try:
        line = next(line for line in process.stdout if " at http://" in line)
        yield re.search(r"at (http://\S+?);", line)[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def predicted(folder, need):
    """What ML Commons makes of the connector and the pipeline: the search with the answer in the place of the need.

    Texts are escaped as JSON and put where `${parameters.NAME}` stands; the answer is `dataAsMap`.
    """
    connector = json.loads((folder / "connector.json").read_text().replace("TOKEN", "s3cret"))
    [action] = connector["actions"]
    known = {**connector["parameters"], "need": json.dumps(need)[1:-1]}

    def filled(text):
        text = re.sub(r"\$\{parameters\.(\w+)\}", lambda match: known[match[1]], text)
        return text.replace("${credential.token}", connector["credential"]["token"])

    headers = {name: filled(text) for name, text in action["headers"].items()}
    body = filled(action["request_body"]).encode()
    answer = httpx.request(action["method"], filled(action["url"]), content=body, headers=headers, trust_env=False)
    assert answer.status_code == 200
    [processor] = json.loads((folder / "pipeline.json").read_text())["request_processors"]
    [[(path, field)]] = [list(one.items()) for one in processor["ml_inference"]["output_map"]]
    search = json.loads((folder / "search.json").read_text())
    *parts, last = path.split(".")
    place = search
    for part in parts:
        place = place[part]
    place[last] = answer.json()[field]
    return search


def test_a_search_through_opensearch_and_through_the_middleware_is_of_the_rewrite(bundle, table, written, exported):
    entry = next(entry for entry in table.entries if entry.used and "'" not in entry.query)
    with served(bundle, written) as address:
        folder = exported("opensearch", "--url", address)
        found = predicted(folder, entry.query)["query"]["multi_match"]["query"]
        assert found == entry.rewrite
        middleware = runpy.run_path(str(exported("proxy", "--url", address) / "middleware.py"))["Rewrite"]
        wrapped = middleware(lambda *_: None, url=f"{address}/rewrite", timeout=5.0, token="s3cret")
        assert asyncio.run(wrapped.rewritten(entry.query)) == entry.rewrite
        wrapped = middleware(lambda *_: None, url=f"{address}/rewrite", timeout=5.0, token="wrong")
        assert asyncio.run(wrapped.rewritten(entry.query)) == entry.query
    began = time.perf_counter()
    wrapped = middleware(lambda *_: None, url=f"{address}/rewrite", token="s3cret")
    assert asyncio.run(wrapped.rewritten(entry.query)) == entry.query
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("engine", ["opensearch", "proxy"])
def test_the_command_that_a_readme_shows_is_one(engine, exported):
    readme = (exported(engine, "--url", "http://10.0.0.7:9000") / "README.md").read_text()
    [line] = re.findall(r"^recr1 (serve .*)$", readme, re.MULTILINE)
    assert cli.parsed(line.split()).port == 9000
