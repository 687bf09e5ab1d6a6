"""What strangers without a token cost the service: `python benchmarks/flood.py`.

`recr1 serve-retriever toy/echo` with a token and at most 1,024 open files, in a process of its own. First 1,000
connections come at once, send half of their headers and stay; then 500 connections send 1 MB of headers each, eight at
a time. Meanwhile `/healthz` is asked, each time on a new connection: the median and the longest time of an answer, how
many of them came within 5 s, and how much more memory the service has than at rest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

PROCESSES = multiprocessing.get_context("spawn")
HEAD = b"GET /info HTTP/1.1\r\nHost: x\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000, help="half-open connections")
    parser.add_argument("--megabytes", type=int, default=500, help="headers, all together")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with service() as (process, port):
        for _ in range(20):
            health(port)
        at_rest = memory(process)
        report("at rest", [health(port) for _ in range(50)], 0.0)
        half_open = []
        with asked(port) as times:
            for _ in range(options.connections):
                half_open.append(socket.create_connection(("127.0.0.1", port)))
                with suppress(OSError):
                    half_open[-1].sendall(HEAD + b"X-Long: " + b"a" * 8000)
        report(f"{options.connections:,} half-open connections come at once", times, memory(process) - at_rest)
        with asked(port) as times:
            time.sleep(2)
        report(f"{options.connections:,} half-open connections stay", times, memory(process) - at_rest)
        with asked(port) as times, ThreadPoolExecutor(8) as threads:
            sent = sum(threads.map(lambda _: headers(port, 2**20), range(options.megabytes)))
        what = f"{options.megabytes} MB of headers besides ({sent / 2**20:.0f} MB were taken from the clients)"
        report(what, times, memory(process) - at_rest)
        for one in half_open:
            one.close()


@contextmanager
def service() -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "recr1", "serve-retriever", "toy/echo", "--port", "0", "--token-env", "TOKEN"]
    files = (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    environ = {**os.environ, "TOKEN": "right", "OMP_NUM_THREADS": "1"}
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, preexec_fn=limit)  # noqa: PLW1509
    assert process.stdout
    try:
        port = [re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[0] for _ in range(2)][-1]
        yield process, int(port)
    finally:
        process.kill()
        process.wait()


def health(port: int) -> float:
    """Milliseconds to an answer on a new connection; infinite without one."""
    start = time.perf_counter()
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if connection.recv(99).startswith(b"HTTP/1.1 200"):
            return 1000 * (time.perf_counter() - start)
    return float("inf")


@contextmanager
def asked(port: int) -> Iterator[list[float]]:
    """The times of `/healthz`, asked every 10 ms meanwhile, by a process of its own."""
    times: list[float] = []
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=ask, args=(port, theirs))
    process.start()
    ours.recv()  # it has begun
    yield times
    ours.send(None)
    times += ours.recv()
    process.join()


def ask(port: int, pipe: Connection) -> None:
    times: list[float] = []
    pipe.send(None)
    while not pipe.poll(0.01):
        times.append(health(port))
    pipe.send(times)


def headers(port: int, size: int) -> int:
    """How many bytes of headers one connection could send."""
    sent = 0
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(HEAD)
        while sent < size:
            sent += connection.send(b"X-Long: " + b"a" * 65_000 + b"\r\n")
        connection.recv(99)
    return sent


def memory(process: subprocess.Popen[str]) -> float:
    """Megabytes that are resident."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def report(what: str, times: list[float], more: float) -> None:
    answers = [one for one in times if one < float("inf")]
    median, longest = (statistics.median(answers), max(answers)) if answers else (float("inf"), float("inf"))
    print(
        f"{what}\n  /healthz: median {median:.1f} ms, longest {longest:.1f} ms, {len(answers)} of {len(times)} answered"
    )
    print(f"  memory: {more:+.1f} MB, load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
