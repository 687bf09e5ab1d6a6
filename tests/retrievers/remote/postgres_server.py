"""A real PostgreSQL on loopback, in a temporary folder, for as long as the tests run."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def programs():
    """The folder of PostgreSQL's programs, or None; Debian keeps them off the path."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    on_path = shutil.which("initdb")
    places += [Path(on_path).resolve().parent] if on_path else []
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


class Server:
    """The process; it refuses to run as root, so it runs as the user `postgres` then."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="recr1-postgres-"))
        self.programs = programs()
        self.user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        command = [
            self.programs / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "recr1",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
        ]
        subprocess.run([*command, "--locale=C"], check=True, capture_output=True, cwd=self.folder, **self.user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.dsn = f"host=127.0.0.1 port={self.port} dbname=postgres user=recr1"
        self.start()

    def start(self):
        import psycopg

        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=self.folder, **self.user)
        for _ in range(200):
            try:
                return psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError("PostgreSQL did not start")

    def kill(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def missing():
    """Why no server can be started here, with what to install; None where one can."""
    if find_spec("psycopg") is None:
        return "the retriever postgres needs: pip install 'recr1[postgres]'"
    if programs() is None:
        return "no PostgreSQL server here: install the Debian package postgresql"
    if os.geteuid() == 0 and "postgres" not in {account.pw_name for account in pwd.getpwall()}:
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return None


@cache
def shared_server():
    """One server for tests that have no fixtures."""
    server = Server()
    atexit.register(server.remove)
    return server
