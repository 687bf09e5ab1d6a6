"""`postgres` against a real server on loopback."""

from __future__ import annotations

import os
import pickle
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrievers import Catalog
from retrievers.abilities import capabilities_of, syntax_of
from retrievers.errors import EngineError
from retrievers.remote import client as line_module
from retrievers.remote.postgres import Postgres
from tests.docs.pages import blocks
from tests.retrievers.remote.postgres_server import Server, missing, shared_server

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

CATALOG = Catalog(
    ["lamp", "mug", "tent"],
    ["reading lamp", "red mug", "red red tent's \\ pole\ud800"],
    {"title": ["lamp", "mug", "tent"], "colour": [None, "red", "red"]},
)


@pytest.fixture
def server():
    return shared_server()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(line_module, "FIRST_WAIT", 0.01)


def retriever(server, catalog=CATALOG, **options):
    return Postgres(catalog, **{"dsn": server.dsn, "attempts": 2, "timeout": 30.0} | options)


def rows(hits):
    return hits.rows_QK.tolist()


def sql(server, statement):
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_an_item_scores_each_place_of_each_different_word(server):
    hits = retriever(server).search(["red tent", "lamp lamp", "sofa", ""], 3)
    assert rows(hits) == [[2, 1, -1], [0, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert hits.scores_QK[0, :2].tolist() == [3.0, 1.0]
    assert hits.scores_QK[1, 0] == 1.0


def test_fields_weigh_as_shares_of_the_largest(server):
    hits = retriever(server, fields={"title": 1, "colour": 4}).search(["red tent"], 3)
    assert rows(hits) == [[2, 1, -1]]
    assert hits.scores_QK[0, :2].tolist() == [1.25, 1.0]


def test_operators_are_words_unless_web_syntax_is_asked_for(server):
    query = "red -mug"
    assert rows(retriever(server).search([query], 2)) == [[1, 2]]
    assert rows(retriever(server, match="all").search([query], 2)) == [[1, -1]]
    assert rows(retriever(server, match="web").search([query, '"tent red"', "lamp or mug"], 2)) == [
        [2, -1],
        [-1, -1],
        [0, 1],
    ]


def test_what_is_understood_is_declared(server):
    assert capabilities_of(retriever(server)) == frozenset()
    assert list(syntax_of(retriever(server, match="web"))) == ["boolean", "phrases"]


def test_a_configuration_may_stem(server):
    assert rows(retriever(server, config="english").search(["lamps"], 1)) == [[0]]
    assert rows(retriever(server, config="simple").search(["lamps"], 1)) == [[-1]]


@pytest.mark.parametrize("match", ["any", "all", "web"])
def test_no_query_is_an_error(server, match):
    odd = [
        "'",
        "\\",
        "a'b\\'c & | ! ( ) : * <->",
        "%s %(k)s",
        "x" * 5000,
        '"',
        "- or -",
        "\x00\udfff",
        "'; DROP TABLE x",
    ]
    retriever(server, match=match).search(odd, 3)


def test_the_table_is_made_once_and_found_again(server):
    first, again = retriever(server), retriever(server)
    assert first._table == again._table
    assert sql(server, f"SELECT count(*) FROM {first._table}") == [(3,)]
    assert first._table != retriever(server, config="english")._table != retriever(server, fields={"title": 1})._table


def test_the_documented_statements_list_and_drop_the_tables_that_were_made(server):
    table = retriever(server)._table
    listing, drop = next(block.text for block in blocks("sql") if "docs/remote.md" in block.name).strip().splitlines()
    found = sql(server, listing)
    assert table in {name for name, _ in found}
    assert all(re.fullmatch(r"recr1_[0-9a-f]{16}", name) for name, _ in found)
    assert sql(server, drop.replace("recr1_0123456789abcdef", table)) == []
    assert rows(retriever(server).search(["red mug"], 1)) == [[1]]


def test_ranks_that_start_together_fill_one_table(server):
    catalog = Catalog([f"i{row}" for row in range(300)], [f"word{row} common" for row in range(300)])
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: retriever(server, catalog), range(4)))
    assert len({one._table for one in found}) == 1
    assert sql(server, f"SELECT count(*) FROM {found[0]._table}") == [(300,)]
    assert rows(found[3].search(["word299"], 1)) == [[299]]


def test_connections_are_kept_for_the_next_search(server):
    found = retriever(server, threads=2)
    for _ in range(5):
        found.search(["red", "lamp", "mug", "tent"], 2)
    assert 1 <= found._session.qsize() <= 2


@pytest.fixture
def shop(server):
    sql(server, 'DROP TABLE IF EXISTS "Shop 50%"')
    sql(server, 'CREATE TABLE "Shop 50%" (sku text, name text, brand text, words tsvector)')
    sql(
        server,
        """INSERT INTO "Shop 50%" SELECT sku, name, brand, setweight(to_tsvector('simple', name), 'A')
        FROM (VALUES ('mug', 'red mug', NULL), ('tent', 'red tent', 'Mug')) AS items (sku, name, brand)""",
    )
    return "Shop 50%"


def test_a_table_that_exists_is_read_through_its_columns(server, shop):
    found = retriever(server, table=shop, id_column="sku", fields={"name": 2, "brand": 1})
    hits = found.search(["mug", "red"], 2)
    assert (rows(hits), hits.scores_QK[0].tolist()) == ([[1, 2], [1, 2]], [1.0, 0.5])


def test_a_table_that_exists_is_read_through_its_vector(server, shop):
    hits = retriever(server, table=f"public.{shop}", id_column="sku", vector="words").search(["tent"], 2)
    assert (rows(hits), hits.scores_QK[0, 0]) == ([[2, -1]], 1.0)


def test_rows_that_the_catalog_does_not_have_are_refused_with_their_number(server, shop):
    found = retriever(server, Catalog(["mug"], ["mug"]), table=shop, id_column="sku", vector="words")
    with pytest.raises(EngineError, match="1 of the 2 ids in its answers are not in the catalog, 'tent' for one"):
        found.search(["red"], 5)


def test_a_column_that_is_not_there_is_refused_at_once(server, shop):
    found = retriever(server, table=shop, id_column="nosuch", vector="words")
    with pytest.raises(EngineError, match='after 1 attempt: UndefinedColumn: column "nosuch" does not exist'):
        found.search(["red"], 5)


def test_a_statement_that_takes_too_long_is_an_error(server):
    sql(server, "DROP VIEW IF EXISTS slow")
    sql(server, "CREATE VIEW slow AS SELECT 'mug' AS sku, to_tsvector('simple', 'red') AS words FROM pg_sleep(3)")
    found = retriever(server, table="slow", id_column="sku", vector="words", timeout=0.2)
    with pytest.raises(EngineError, match="after 2 attempts: QueryCanceled: canceling statement due to"):
        found.search(["red"], 1)


def test_a_server_that_freezes_is_an_error_and_not_a_wait_for_ever(server):
    found = retriever(server, timeout=0.2, attempts=1, threads=1)
    found.search(["red"], 1)
    asked = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%ts_rank_cd%' AND pid <> pg_backend_pid()"
    frozen = [pid for (pid,) in sql(server, asked)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineError, match="after 1 attempt: OperationalError"):
            found.search(["red"], 1)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert rows(found.search(["lamp"], 1)) == [[0]]


def test_a_server_that_was_killed_is_found_again_when_it_is_back():
    server = Server()
    try:
        found = retriever(server, cooldown=0.1)
        before = found.search(["red tent", "lamp"], 3)
        server.kill()
        with pytest.raises(EngineError, match=rf"^postgres at 127.0.0.1:{server.port}/postgres, after 2 attempts: "):
            found.search(["red tent", "lamp"], 3)
        server.start()
        assert rows(found.search(["red tent", "lamp"], 3)) == rows(before)
    finally:
        server.remove()


def test_connections_that_the_server_closed_are_made_anew(server):
    found = retriever(server, threads=3)
    before = found.search(["red", "lamp", "mug"], 2)
    sql(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert rows(retriever(server, attempts=6).search(["red", "lamp", "mug"], 2)) == rows(before)
    assert rows(pickle.loads(pickle.dumps(found)).search(["red", "lamp", "mug"], 2)) == rows(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dsn": "host=x password=y"}, "dsn: looks like a secret"),
        ({"dsn": "postgresql://me:pw@host/db"}, "dsn: holds a password"),
        ({"match": "some"}, "match: must be one of 'any', 'all', 'web', got 'some'"),
        ({"table": "t", "fields": {"a": 1}}, "id_column: name the column"),
        ({"table": "t", "id_column": "i"}, "vector: name the tsvector column"),
        ({"table": "t", "id_column": "i", "vector": "v", "fields": {"a": 1}}, "vector: name the tsvector column"),
        ({"id_column": "i"}, "id_column: is for an existing table"),
        ({"vector": "v"}, "vector: is for an existing table"),
        ({"fields": dict.fromkeys("abcde", 1)}, "fields: PostgreSQL takes 1 to 4 fields, got 5"),
        ({"fields": {}}, "fields: must be a mapping from strings to numbers > 0 with at least 1 item"),
        ({"fields": {"title": 0}}, "fields.title: must be a number > 0, got 0"),
        ({"fields": {"brand": 1}}, "the catalog has no field 'brand'"),
        ({"timeout": -1}, "timeout: must be a number > 0"),
    ],
)
def test_wrong_options_are_named_before_a_server_is_asked(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Postgres(CATALOG, **options)
