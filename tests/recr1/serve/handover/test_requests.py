"""The commands of each README, run as they stand against a server that keeps what it is sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")

TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"
ANSWERS = {
    "/_cluster/settings?flat_settings=true&include_defaults=true": {
        "persistent": {},
        "transient": {},
        "defaults": {TRUSTED: ["^https://api\\.openai\\.com/.*$"]},
    },
    "/_plugins/_ml/connectors/_create": {"connector_id": "the-connector"},
    "/_plugins/_ml/models/_register": {"task_id": "the-task", "status": "CREATED"},
    "/_plugins/_ml/tasks/the-task": {"model_id": "the-model", "state": "COMPLETED"},
    "/_plugins/_search_relevance/query_sets": {"query_set_id": "the-queries", "query_set_result": "CREATED"},
    "/_plugins/_search_relevance/judgments": {"judgment_id": "the-judgements"},
}
"""As the documentation of OpenSearch shows them."""

PROCESSOR = {
    *("model_id", "query_template", "function_name", "model_config", "model_input", "input_map", "output_map"),
    *("full_response_path", "ignore_missing", "ignore_failure", "max_prediction_tasks", "description", "tag"),
}
CONNECTOR = {"name", "description", "version", "protocol", "parameters", "credential", "client_config", "actions"}
CLIENT = {"max_connection", "connection_timeout", "read_timeout", "max_retry_times", "retry_backoff_policy"}
ACTION = {"action_type", "method", "url", "request_body", "headers", "pre_process_function", "post_process_function"}
"""Keys that its documentation has."""


@contextmanager
def engine(fails=()):
    """Requests as (method, path, body); a path in `fails` is answered with 400."""
    sent = []

    class Keeps(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            sent.append((self.command, self.path, json.loads(body) if body else None))
            answer = ANSWERS.get(self.path, {"acknowledged": True})
            if self.path.endswith("search_configurations"):
                answer = {"search_configuration_id": sent[-1][2]["name"].split()[-1]}
            text = json.dumps(answer).encode()
            self.send_response(400 if self.path in fails else 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeps)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def run(folder, address):
    script = re.search(r"```bash\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    env = {**os.environ, "OPENSEARCH": address, "ELASTICSEARCH": address, "PAUSE": "0", "RECR1_TOKEN": "s3/cr&t="}
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def sent_by(folder, fails=()):
    with engine(fails) as (address, sent):
        done = run(folder, address)
    return done, sent


def test_opensearch_gets_settings_connector_model_pipeline_and_search_in_this_order(exported):
    done, sent = sent_by(exported("opensearch", "--url", "http://10.0.0.7:8000/", "--index", "shop"))
    assert done.returncode == 0, done.stderr
    assert [(method, path) for method, path, _ in sent] == [
        ("GET", "/_cluster/settings?flat_settings=true&include_defaults=true"),
        ("PUT", "/_cluster/settings"),
        ("POST", "/_plugins/_ml/connectors/_create"),
        ("POST", "/_plugins/_ml/models/_register"),
        ("GET", "/_plugins/_ml/tasks/the-task"),
        ("POST", "/_plugins/_ml/models/the-model/_deploy"),
        ("POST", "/_plugins/_ml/models/the-model/_predict"),
        ("PUT", "/_search/pipeline/recr1"),
        ("POST", "/shop/_search?search_pipeline=recr1"),
    ]
    _, settings, connector, model, _, _, predict, pipeline, search = (body for *_, body in sent)
    before, ours = settings["persistent"][TRUSTED]
    assert before == ANSWERS[sent[0][1]]["defaults"][TRUSTED][0]
    assert re.fullmatch(ours, "http://10.0.0.7:8000/rewrite") and not re.fullmatch(ours, "http://10x0.0.7:8000/rewrite")
    [action] = connector["actions"]
    assert connector["parameters"]["endpoint"] == "http://10.0.0.7:8000"
    assert connector["credential"] == {"token": "s3/cr&t="}
    assert action["headers"]["Authorization"] == "Bearer ${credential.token}"
    assert (action["action_type"], action["method"]) == ("predict", "POST")
    body = action["request_body"].replace("${parameters.need}", predict["parameters"]["need"])
    assert json.loads(body) == {"need": "a query of your users"}
    assert (model["function_name"], model["connector_id"]) == ("remote", "the-connector")
    assert set(connector) <= CONNECTOR and set(connector["client_config"]) <= CLIENT and set(action) <= ACTION
    [processor] = pipeline["request_processors"]
    rewrite = processor["ml_inference"]
    assert set(rewrite) <= PROCESSOR
    assert rewrite["model_id"] == "the-model" and rewrite["ignore_failure"] is True
    [[(taken, read)]], [[(written, answer)]] = (
        [list(one.items()) for one in rewrite[n]] for n in ("input_map", "output_map")
    )
    assert (taken, answer, read) == ("need", "query", written)
    found = search
    for part in read.split("."):
        found = found[part]
    assert isinstance(found, str)


def test_the_script_ends_where_the_engine_refuses(exported):
    done, sent = sent_by(exported("opensearch"), ["/_plugins/_ml/models/_register"])
    assert done.returncode != 0
    assert sent[-1][1] != "/_search/pipeline/recr1"


def test_the_workbench_gets_queries_searches_and_experiments_with_their_ids(exported):
    done, sent = sent_by(exported("workbench"))
    assert done.returncode == 0, done.stderr
    assert {method for method, *_ in sent} == {"PUT"}
    experiments = [body for _, path, body in sent if path == "/_plugins/_search_relevance/experiments"]
    both = {"querySetId": "the-queries", "size": 10}
    assert experiments[0] == {**both, "type": "PAIRWISE_COMPARISON", "searchConfigurationList": ["raw", "rewritten"]}
    assert experiments[1:] == [
        {
            **both,
            "type": "POINTWISE_EVALUATION",
            "searchConfigurationList": [search],
            "judgmentList": ["the-judgements"],
        }
        for search in ("raw", "rewritten")
    ]


def test_elasticsearch_gets_the_sets_before_the_index_names_them(exported):
    done, sent = sent_by(exported("synonyms", "--fields", "title^2,brand"))
    assert done.returncode == 0, done.stderr
    assert [f"{method} {path}" for method, path, _ in sent] == [
        "PUT /_synonyms/recr1-1",
        "POST /products/_close",
        "PUT /products/_settings",
        "POST /products/_open",
        "PUT /products/_mapping",
    ]
    assert sent[2][2]["analysis"]["filter"]["recr1_1"] == {
        "type": "synonym_graph",
        "synonyms_set": "recr1-1",
        "updateable": True,
    }
    field = {"type": "text", "analyzer": "standard", "search_analyzer": "recr1_search"}
    assert sent[4][2] == {"properties": {"title": field, "brand": field}}


def test_querqy_gets_the_rewriter_and_a_search_that_names_it(exported):
    done, sent = sent_by(exported("querqy"))
    assert done.returncode == 0, done.stderr
    assert [path for _, path, _ in sent] == ["/_plugins/_querqy/rewriter/recr1", "/products/_search"]
    assert sent[1][2]["query"]["querqy"]["rewriters"] == ["recr1"]
