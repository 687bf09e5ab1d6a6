"""What is refused as a literal secret, what is not, and that a value of the environment is shown nowhere."""

from __future__ import annotations

import json
import pickle
from urllib.parse import quote

import pytest

from retrievers import BUILTIN, Catalog
from retrievers.abilities import retriever_fingerprint
from retrievers.errors import EngineError, PermanentError, TransientError, UserError, hide, redacted, told
from retrievers.parts import Parts
from retrievers.secrets import literal_secrets, read, resolved, variable_problems, without_variables
from tests.docs.pages import ROOT

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"

LITERAL = [
    {"headers": {"Authorization": "Bearer abc"}},
    {"headers": {"authorization": "abc"}},
    {"headers": {"X-Api-Key": "abc"}},
    {"headers": {"X-TYPESENSE-API-KEY": "abc"}},
    {"headers": {"Ocp-Apim-Subscription-Key": "abc"}},
    {"headers": {"x-functions-key": "abc"}},
    {"headers": {"Cookie": "sid=1"}},
    {"headers": {"X-Auth": "abc"}},
    {"headers": {"X-Shop": "Bearer 0a1b2c3d4e"}},
    {"headers": {"X-Shop": "Basic bWU6c2VjcmV0MQ=="}},
    {"params": {"api_key": "abc"}},
    {"params": {"apiKey": "abc"}},
    {"params": {"access_token": "abc"}},
    {"params": {"sig": "abc"}},
    {"params": {"key": "AIzaSyD4x9wXx0abcdefghij"}},
    {"body": {"auth": {"user": "me", "password": "abc"}}},
    {"body": {"tokens": [{"secret": "abc"}]}},
    {"body": {"password": 12345}},
    {"body": {"client": {"clientSecret": ["abc"]}}},
    {"body": {"note": JWT}},
    {"body": {"note": "-----BEGIN PRIVATE KEY-----\nabc"}},
    {"url": "https://me:secret@host/x"},
    {"url": "https://host/x?size=3&api_key=abc"},
    {"url": "https://host/x?access_token=abc#top"},
    {"dsn": "host=db password=abc"},
    {"dsn": "host=db password = 'a b'"},
    {"dsn": "postgresql://me:secret@host/db"},
    {"token": "abc"},
    {"trl": {"hub_token": "abc"}},
    {"name": "hf_" + "aB3" * 12},
    {"name": "AKIA" + "ABCD1234" * 2},
]
HEALTHY = [
    {"headers": {"Authorization": "Bearer ${SHOP_TOKEN}", "X-Api-Key": "${KEY}", "X-Author": "me", "X-Channel": "web"}},
    {"headers": {"X-Request-Id": "recr1", "Accept-Language": "en", "X-Opaque-Id": "recr1", "Accept": "*/*"}},
    {"params": {"q": "{query}", "size": "{k}", "author": "x", "sort_key": "price", "key": "title", "keywords": "a b"}},
    {"url": "https://host/x?key=title&q=1&token=${TOKEN}"},
    {"url": "https://host:9200/shop@home/~me"},
    {"body": {"max_tokens": 5, "tokens": "abc", "tokenizer": "standard", "token_count": 3, "token": None}},
    {"body": {"key": "{query}", "token": "{query}", "password": "", "secret": True, "filter": {"author": "Bearer"}}},
    {"body": {"multi_match": {"query": "{query}", "fields": ["author^2", "keyword", "cookie"]}}},
    {"fields": {"cookie": 2.0, "title": 1, "secret_garden": 1}},
    {"trl": {"pad_token": "<pad>", "eos_token": "<|im_end|>", "hub_token": None}},
    {"instruction": "Token by token, write a query; key = value pairs. Basic products, Bearer bonds."},
    {"model": "sk-learn/hf_models_for_products_large", "path": "data/hf_abcdefghijklmnopqrstuvwxyz_1234"},
    {"dsn": "host=db dbname=shop user=recr1 password=${PGPW} sslmode=require"},
    {"dsn": "postgresql://me@host/db"},
    {"dsn": "postgresql://me:${PGPW}@host/db"},
]


@pytest.mark.parametrize("options", LITERAL, ids=str)
def test_a_literal_secret_is_refused_and_not_repeated(options):
    found = list(literal_secrets(options, "retriever"))
    assert len(found) == 1
    path, what = found[0]
    assert path.startswith("retriever.")
    assert "abc" not in what
    assert "${NAME}" in what


@pytest.mark.parametrize("options", HEALTHY, ids=str)
def test_what_is_no_secret_is_not_refused(options):
    assert list(literal_secrets(options)) == []


def test_no_recipe_and_no_option_of_trl_is_taken_for_a_secret():
    from recr1.config import yaml12
    from recr1.trainers.trl.options import trl_options

    names = {name for config in ("GRPOConfig", "RLOOConfig", "SFTConfig") for name in trl_options(config)}
    assert {path for path, _ in literal_secrets(dict.fromkeys(names, "abc"))} == {"hub_token"}
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        assert list(literal_secrets(yaml12.read(recipe.read_text()).value)) == []


@pytest.fixture
def _environment(monkeypatch):
    monkeypatch.setenv("CANARY", 'c4n"ary/ <value> é')
    monkeypatch.setenv("PIN", "12")
    monkeypatch.setenv("LINE", "canary\n")


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"url": "http://${NO_SUCH_HOST}/"}, "url: needs the environment variable NO_SUCH_HOST, which is not set"),
        ({"body": {"a": [{"b": "${NO_SUCH}"}]}}, "body.a.0.b: needs the environment variable NO_SUCH"),
        ({"body": {"a": "${LINE}"}}, "body.a: the environment variable LINE starts or ends with a space or a line end"),
        ({"body": {"a": "${CANARY:-x}"}}, "body.a: write an environment variable as ${NAME}"),
        ({"body": {"${CANARY}": 1}}, "body.${CANARY}: ${NAME} is not read in a key"),
        ({"items": "${CANARY}"}, "items: ${NAME} is not read here, only in url, body"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(options, what):
    (problem,) = variable_problems(options, ("url", "body"))
    assert problem.startswith(what)
    assert "canary" not in problem


@pytest.mark.usefixtures("_environment")
def test_a_variable_is_read_at_any_depth_and_hidden_in_every_way_of_writing_it():
    value = 'c4n"ary/ <value> é'
    assert resolved({"a": [{"b": "x ${CANARY} y"}], "n": 1}) == {"a": [{"b": f"x {value} y"}], "n": 1}
    for written in (value, json.dumps(value), repr(value), quote(value, safe=""), "c4n&quot;ary/ &lt;value&gt; é"):
        assert "ary" not in redacted(f"<{written}>").replace("CANARY", "")
    with pytest.raises(UserError, match="needs the environment variable NO_SUCH"):
        read("NO_SUCH")


@pytest.mark.usefixtures("_environment")
def test_a_short_value_is_hidden_only_as_a_word_of_its_own():
    read("PIN")
    assert redacted("status 412, pin 12, 120") == "status 412, pin ${PIN}, 120"


def test_an_error_of_an_engine_is_redacted_before_it_is_cut():
    hide("s3cr3t-value", "${X}")
    assert told("a" * 495 + "s3cr3t-value" * 2) == "a" * 495 + "${X}$..."
    assert str(TransientError("key s3cr3t-value")) == str(PermanentError("key s3cr3t-value")) == "key ${X}"
    error = EngineError("http", "http://h", 2, "key s3cr3t-value " + "b" * 10_000)
    assert "s3cr3t" not in str(error)
    assert len(str(error)) < 1100
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_fingerprint_changes_with_a_variable_but_not_with_a_secret(monkeypatch):
    catalog = Catalog(["a"], ["b"])
    spec = {"type": "http", "url": "http://${SHOP_HOST}/x?token=${SHOP_KEY}", "headers": {"X-Api-Key": "${SHOP_KEY}"}}

    def mark(host, key):
        monkeypatch.setenv("SHOP_HOST", host)
        monkeypatch.setenv("SHOP_KEY", key)
        return retriever_fingerprint(spec, catalog)

    assert mark("one", "old") == mark("one", "new")
    assert without_variables("postgresql://${SHOP_HOST}:${SHOP_KEY}@h/db") == "postgresql://one:${SHOP_KEY}@h/db"
    assert mark("one", "old") != mark("two", "old")


def test_a_check_names_the_line_of_a_secret_and_repeats_it_nowhere(tmp_path, capsys):
    from recr1.cli.main import run

    recipe = (ROOT / "recipes/toy/echo.yaml").read_text()
    lines = ["retriever:", "  type: {type}", "  url: http://h", "  headers:", "    Authorization: Bearer c4n4ry"]
    http = "\n".join([*lines, "  body: {{q: '{{query}}'}}"])
    for type_ in ("http", "my_parts:Own"):  # a part that a check does not import is looked through too
        (tmp_path / "r.yaml").write_text(recipe.replace("retriever: {type: bm25}", http.format(type=type_)))
        assert run(["check", str(tmp_path / "r.yaml")]) == 2
        assert "r.yaml:10: retriever.headers.Authorization: looks like a secret" in capsys.readouterr().err
    assert run(["check", "toy/echo", "retriever.headers.token=c4n4ry"]) == 2
    told = capsys.readouterr().err
    assert "override 'retriever.headers.token=...': retriever.headers.token: looks like a secret" in told
    assert "c4n4ry" not in told


def test_every_remote_retriever_says_where_a_variable_is_read():
    from retrievers import PARTS

    remote = {"http", "opensearch", "elasticsearch", "postgres", "milvus", "service"}
    assert isinstance(PARTS, Parts)
    assert {name for name in BUILTIN if getattr(PARTS.find("retriever", name), "filled", ())} == remote
    assert {name for name in BUILTIN if "ca_file" in PARTS.options("retriever", name)} == remote
