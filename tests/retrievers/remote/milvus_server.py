"""Milvus on loopback: the embedded engine as a process of its own, and one in this process that misbehaves."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager


class Server:
    """`milvus-lite server`, the real engine behind an address."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", self.folder]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
        raise AssertionError("milvus-lite did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextmanager
def moody_engine(folder, **moods):
    """The address of an engine in this process, with other answers to some calls: `Search=answer`.

    An answer is called with the engine, the request and the context, in place of the engine's own method.
    """
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from pymilvus.grpc_gen.milvus_pb2_grpc import add_MilvusServiceServicer_to_server

    db, server = MilvusLite(str(folder)), grpc.server(ThreadPoolExecutor(8))
    add_MilvusServiceServicer_to_server(type("Moody", (MilvusServicer,), moods)(db), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
        db.close()
