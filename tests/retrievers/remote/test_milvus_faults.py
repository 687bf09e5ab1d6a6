"""What `milvus` does when a process is killed or not alone, and when the engine is away, slow, or refuses."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrievers.errors import EngineError
from retrievers.remote import client as line_module
from retrievers.remote.collections import NewCollection
from retrievers.remote.milvus import Milvus
from tests.retrievers.remote.milvus_contracts import HASHING, catalog_of, needs_milvus, rows
from tests.retrievers.remote.milvus_server import Server, moody_engine

pytestmark = needs_milvus


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(line_module, "FIRST_WAIT", 0.01)


def milvus(catalog, uri, **options):
    return Milvus(catalog, **{"encoder": HASHING, "uri": str(uri), "store": None, "attempts": 2} | options)


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "server.db")
    yield server
    server.kill()


def test_a_collection_that_was_left_half_filled_is_not_searched_and_made_whole(server, monkeypatch):
    from pymilvus import MilvusClient

    catalog, written = catalog_of("half", 3000), NewCollection._write

    def breaks(making, batch, vectors):
        if batch[0] >= 1000:
            raise ZeroDivisionError
        written(making, batch, vectors)

    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(NewCollection, "_write", breaks)
        milvus(catalog, server.uri)
    client = MilvusClient(server.uri)
    (left,) = client.list_collections()
    found = milvus(catalog, server.uri)
    assert left == f"{found._place.collection}_partial"
    assert client.list_collections() == [found._place.collection]
    assert rows(found.search(["half word2999", "half word0"], 1)) == [[2999], [0]]


def test_a_process_that_is_killed_while_it_fills_leaves_a_database_that_the_next_one_fills(tmp_path):
    code = """
import os, signal, sys
from retrievers.remote.collections import NewCollection
from tests.retrievers.remote.test_milvus_faults import catalog_of, milvus
written = NewCollection._write
def killed(making, batch, vectors):
    written(making, batch, vectors)
    if batch[0] >= 1000 and sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
NewCollection._write = killed
found = milvus(catalog_of("kill", 3000), sys.argv[1] + "/kill.db", store=sys.argv[1])
print(found.search(["kill word2999", "kill word1500"], 1).rows_QK.tolist())
"""
    runs = [run(code, tmp_path, what) for what in ("killed", "again")]
    assert runs[0].returncode == -signal.SIGKILL
    assert (runs[1].returncode, runs[1].stdout, runs[1].stderr) == (0, "[[2999], [1500]]\n", "")


def test_ranks_that_start_together_fill_one_collection(server, tmp_path, monkeypatch):
    fills, filled = [], NewCollection._fill
    monkeypatch.setattr(NewCollection, "_fill", lambda *args: (fills.append(1), filled(*args)))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: milvus(catalog_of("ranks"), server.uri, store=str(tmp_path)), range(4)))
    assert len(fills) == 1
    assert rows(found[3].search(["ranks word299"], 1)) == [[299]]


def test_a_machine_that_is_overtaken_takes_what_the_other_made(server, tmp_path, monkeypatch):
    catalog, written, others = catalog_of("overtaken"), NewCollection._write, []

    def overtaken(making, batch, vectors):
        if not others:
            others.append("a machine with a store of its own")
            milvus(catalog, server.uri, store=str(tmp_path))
        written(making, batch, vectors)

    monkeypatch.setattr(NewCollection, "_write", overtaken)
    assert rows(milvus(catalog, server.uri).search(["overtaken word7"], 1)) == [[7]]


def test_an_engine_that_lost_items_is_refused(tmp_path):
    from pymilvus.grpc_gen import milvus_pb2

    def loses(engine, request, context):
        return milvus_pb2.MutationResult(upsert_cnt=request.num_rows)

    with (
        moody_engine(tmp_path / "moody.db", Upsert=loses) as uri,
        pytest.raises(EngineError, match="shows 0 of the 300 items written to it: drop it, and it is made again"),
    ):
        milvus(catalog_of("lost"), uri)


def test_an_embedded_database_takes_one_process_and_says_what_to_do(tmp_path):
    file = tmp_path / "pickle"
    file.write_bytes(pickle.dumps(milvus(catalog_of("one"), tmp_path / "shop.db")))
    other = run("import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).search(['one'], 1))", file)
    assert (other.returncode, other.stdout) == (1, "")
    assert "shop.db, after 1 attempt: another process has it open, and only one can." in other.stderr
    assert "milvus-lite server --data-dir" in other.stderr


def test_a_pickled_copy_searches_a_server_from_another_process(server, tmp_path):
    file = tmp_path / "pickle"
    file.write_bytes(pickle.dumps(milvus(catalog_of("pickled"), server.uri)))
    other = run("import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).search(['word9'], 1).rows_QK)", file)
    assert (other.stdout, other.stderr) == ("[[9]]\n", "")


def test_a_path_that_is_no_database_is_refused_with_the_reason(tmp_path):
    (tmp_path / "notes.db").write_text("hello")
    with pytest.raises(EngineError, match=r"notes\.db, after 1 attempt: it cannot be opened: FileExistsError"):
        milvus(catalog_of("notes"), tmp_path / "notes.db")


def test_an_address_where_nobody_listens_is_an_error_after_its_attempts():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match=rf"^milvus at http://127.0.0.1:{port}, after 2 attempts: UNAVAILABLE: "):
        milvus(catalog_of("away"), f"http://127.0.0.1:{port}")


def test_an_address_that_stays_silent_is_an_error_and_not_a_wait_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineError, match="after 2 attempts: "):
            milvus(catalog_of("silent"), uri, timeout=0.2)


def test_an_engine_that_freezes_is_an_error_and_goes_on_when_it_is_back(server):
    found = milvus(catalog_of("frozen"), server.uri, attempts=1, timeout=0.5)
    server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(EngineError, match="after 1 attempt: DEADLINE_EXCEEDED"):
            found.search(["frozen word1"], 1)
    finally:
        server.process.send_signal(signal.SIGCONT)
    patient = milvus(catalog_of("frozen"), server.uri, attempts=6)
    assert rows(patient.search(["frozen word1"], 1)) == [[1]]


def test_an_engine_that_was_killed_is_found_again_when_it_is_back(tmp_path):
    server = Server(tmp_path / "killed.db")
    try:
        found = milvus(catalog_of("killed"), server.uri)
        server.kill()
        with pytest.raises(EngineError, match=f"^milvus at {server.uri}, after 2 attempts: "):
            found.search(["killed word1", "killed word2"], 1)
        server.start()
        patient = milvus(catalog_of("killed"), server.uri, attempts=10)
        assert rows(patient.search(["killed word1", "killed word2"], 1)) == [[1], [2]]
    finally:
        server.kill()


def test_a_wrong_token_is_refused_at_once_and_stands_in_no_message_or_pickle(tmp_path, monkeypatch):
    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer

    def knows(engine, request, context):
        if ("authorization", "cmlnaHQ=") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return MilvusServicer.Connect(engine, request, context)

    with moody_engine(tmp_path / "moody.db", Connect=knows) as uri:
        monkeypatch.setenv("SHOP_TOKEN", "wrong")
        with pytest.raises(EngineError, match="after 1 attempt: UNAUTHENTICATED: who are you") as caught:
            milvus(catalog_of("token"), uri, token="${SHOP_TOKEN}")
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv("SHOP_TOKEN", "right")
        found = milvus(catalog_of("token"), uri, token="${SHOP_TOKEN}")
        assert rows(found.search(["token word1"], 1)) == [[1]]
        assert b"right" not in pickle.dumps(found)


def test_a_search_that_fails_once_is_asked_again_and_one_that_fails_always_is_left_without_an_answer(tmp_path):
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from pymilvus.grpc_gen import common_pb2, milvus_pb2

    asked = []

    def overloaded(engine, request, context):
        asked.append(request.collection_name)
        if len(asked) in (1, 3, 4):
            return milvus_pb2.SearchResults(status=common_pb2.Status(code=5, reason="node is lost"))
        return MilvusServicer.Search(engine, request, context)

    with moody_engine(tmp_path / "moody.db", Search=overloaded) as uri:
        found = milvus(catalog_of("fails"), uri)
        assert rows(found.search(["fails word1"], 1)) == [[1]]
        with pytest.raises(EngineError, match="after 2 attempts: code 5: node is lost"):
            found.search(["fails word1"], 1)
