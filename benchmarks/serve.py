"""What `recr1 serve` gives on two cores: `python benchmarks/serve.py [cached|stopped|engines|open]`.

cached: rewrites a second from table and memory, one need a request and several, over connections that are kept open.
stopped: 200 clients for a minute, half of their needs new; the model's process is stopped twice (SIGSTOP, 10 s each).
engines: needs a CPU-second of transformers and CTranslate2 in 8 bits, one at a time and 32 together.
open: seconds from the start of a process to its first rewrite.

The server is the command itself, in a process of its own with the model in another; the client is a third, asyncio
with plain sockets, whose own CPU seconds are printed. The bundle is made of tiny-shopper; `--model smollm2` takes
another one for `engines` and `open`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from recr1.config.build import build
from recr1.policies.base import Policy
from recr1.policies.ctranslate2 import CTranslate2, convert
from recr1.policies.transformers import Transformers, save
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.serve.export import export
from recr1.tasks.shop.task import ShopTask

DEADLINE = 0.15
ROWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["cached", "stopped", "engines", "open"])
    parser.add_argument("--model", default="tiny-shopper", help="for engines and open")
    parser.add_argument("--needs", type=int, default=64, help="for engines")
    parser.add_argument("--seconds", type=float, default=60.0, help="for stopped")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if {"cached", "stopped"} & set(options.parts):
            bundle = bundle_of("tiny-shopper", folder / "tiny")
            if "cached" in options.parts:
                with Server(bundle, table_of(bundle, folder)) as server:
                    cached(server)
            if "stopped" in options.parts:
                with Server(bundle, table_of(bundle, folder)) as server:
                    stopped(server, options.seconds)
        if "engines" in options.parts:
            engines(options.model, options.needs, folder)
        if "open" in options.parts:
            opened(bundle_of(options.model, folder / "opened"), folder)


def bundle_of(model: str, folder: Path) -> Path:
    """A bundle of a model that was not trained, with weights in 8 bits too."""
    overrides = ["task.items=300", "task.validation=60", "task.test=60", f"policy.model={model}"]
    recipe = load_recipe("quickstart", overrides)
    run = Run.create(folder / "run", recipe.to_dict(), {"seed": 0})
    policy = build("policy", recipe.policy)
    save(policy.model, policy.tokenizer, run.policy_path)
    run.finish("finished", policy={"step": 0, "keep": "last"})
    return export(run, recipe, folder / "bundle", int8=True, may_lose=1.0).path


def table_of(bundle: Path, folder: Path) -> Path:
    made = json.loads((bundle / "bundle.json").read_text())["id"]
    row = {"rewrite": "red tent", "gate": None, "evidence": {}, "bundle": made}
    file = folder / "table.jsonl"
    file.write_text("".join(json.dumps({"query": f"need {number}", **row}) + "\n" for number in range(ROWS)))
    return file


class Server:
    """The command, ready."""

    def __init__(self, bundle: Path, table: Path) -> None:
        command = [sys.executable, "-m", "recr1", "serve", str(bundle), "--table", str(table), "--port", "0"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([*command, "--max-mb", "4"], stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())[1])  # type: ignore[index]
        self.seen = psutil.Process(self.process.pid)

    def __enter__(self) -> Server:
        while not self.get("/info")["model"]["ready"]:
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def get(self, path: str) -> Any:
        """What a path answers."""
        from urllib.request import urlopen

        with urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            raw = answer.read()
        return raw.decode() if path == "/metrics" else json.loads(raw)

    def cpu(self) -> float:
        """Seconds of the CPU so far, without those of the model."""
        times = self.seen.cpu_times()
        return float(times.user + times.system)

    @property
    def model(self) -> int:
        """The process of the model."""
        return int(self.get("/info")["model"]["process"])


class Connection:
    """One connection that is kept open; asks are raw bytes, so that the client costs little."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None

    async def ask(self, body: bytes) -> tuple[float, bytes]:
        """The seconds of an answer, and its body."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /rewrite HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = int(re.search(rb"content-length: (\d+)", answer)[1])  # type: ignore[index]
        return time.perf_counter() - began, await self.reader.readexactly(length)


def cached(server: Server) -> None:
    print(f"\nfrom a table of {ROWS:,} rows, 8 connections, 10 s each")
    print("needs a request   rewrites/s   requests/s   p50 ms   p99 ms   CPU-s of server   of client")
    for size in (1, 10, 50):
        body = json.dumps({"needs": [f"need {number}" for number in range(size)]}).encode()
        before, own = server.cpu(), resource.getrusage(resource.RUSAGE_SELF)
        seconds = asyncio.run(_closed_loop(server.port, body, connections=8, duration=10.0))
        used = resource.getrusage(resource.RUSAGE_SELF)
        client = used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        rate = len(seconds) / 10
        cpu = server.cpu() - before
        print(
            f"{size:15}   {rate * size:10,.0f}   {rate:10,.0f}   {p50:6.1f}   {p99:6.1f}   {cpu:15.1f}   {client:9.1f}"
        )


async def _closed_loop(port: int, body: bytes, *, connections: int, duration: float) -> list[float]:
    end, seconds = time.perf_counter() + duration, []

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() < end:
            seconds.append((await connection.ask(body))[0])

    await asyncio.gather(*[client() for _ in range(connections)])
    return seconds


def stopped(server: Server, duration: float) -> None:
    print(f"\n200 clients for {duration:.0f} s, a need every half second each; the model is stopped twice for 10 s")
    before, clients = server.cpu(), Clients(server, duration)
    asyncio.run(clients.run())
    seconds = np.array([seconds for seconds, _ in clients.found])
    late = (seconds - DEADLINE) * 1000
    counts = re.findall(r"^recr1_rewrites_total\S* (\S+)", server.get("/metrics"), re.MULTILINE)
    answered = f"asked and answered {len(late):,}, counted by the server {sum(map(float, counts)):,.0f}"
    print(f"{answered}, CPU-s of it {server.cpu() - before:.1f}")
    print("p50 {:.1f} ms, p99 {:.1f} ms".format(*np.percentile(seconds, [50, 99]) * 1000))
    over = [f"{limit} ms {(late > limit).sum()}" for limit in (0, 20, 50)]
    print(f"after the deadline of {DEADLINE * 1000:.0f} ms plus {', '.join(over)}; the latest {late.max():+.1f} ms")
    print(f"the client's own loop was late by up to {max(clients.lags) * 1000:.1f} ms")
    sources = Counter("{source}, {reason}".format(**json.loads(answer)) for _, answer in clients.found)
    print("; ".join(f"{name}: {count:,}" for name, count in sorted(sources.items())))
    print("memory of the server, MB: " + ", ".join(f"{one:.1f}" for one in clients.memory))


class Clients:
    """200 clients, and what stops the model meanwhile."""

    def __init__(self, server: Server, duration: float) -> None:
        self.server, self.duration, self.pid = server, duration, server.model
        self.found: list[tuple[float, bytes]] = []
        self.lags, self.memory = [0.0], [server.seen.memory_info().rss / 2**20]
        for thread in psutil.Process(self.pid).threads():  # where `chrt` gave server and client priority
            os.sched_setscheduler(thread.id, os.SCHED_OTHER, os.sched_param(0))

    async def run(self) -> None:
        """All of it at once, until the end."""
        self.end = time.perf_counter() + self.duration
        await asyncio.gather(self._watch(), self._stop(), self._measure(), *map(self._client, range(200)))

    async def _client(self, number: int) -> None:
        connection, asked = Connection(self.server.port), 0
        await asyncio.sleep(0.5 * number / 200)
        while time.perf_counter() < self.end:
            known = (number + asked) % 2
            need = f"need {(number * 7 + asked) % ROWS}" if known else f"a red lamp for client {number} time {asked}"
            self.found.append(await connection.ask(json.dumps({"need": need}).encode()))
            asked += 1
            await asyncio.sleep(0.5)

    async def _watch(self) -> None:
        while time.perf_counter() < self.end:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            self.lags.append(time.perf_counter() - began - 0.01)

    async def _stop(self) -> None:
        for wait in (self.duration / 6, self.duration / 4):
            await asyncio.sleep(wait)
            os.kill(self.pid, signal.SIGSTOP)
            await asyncio.sleep(self.duration / 6)
            os.kill(self.pid, signal.SIGCONT)

    async def _measure(self) -> None:
        while time.perf_counter() < self.end:
            await asyncio.sleep(self.duration / 6)
            self.memory.append(self.server.seen.memory_info().rss / 2**20)


def engines(model: str, needs: int, folder: Path) -> None:
    task = ShopTask(items=300, train=needs, validation=20, test=20)
    prompt = "{}" if model == "tiny-shopper" else "Write a short product search query for: {}"
    chats = [[{"role": "user", "content": prompt.format(need.text)}] for need in task.needs("train")]
    convert(model, folder / "int8")
    made: dict[str, Policy] = {
        "transformers": Transformers(model=model, max_new_tokens=10, batch_size=32),
        "ctranslate2, 8 bits": CTranslate2(model=str(folder / "int8"), max_new_tokens=10, batch_size=32, threads=1),
    }
    print(f"\n{model}, {needs} needs, up to 10 new tokens, one thread")
    print(
        "engine                 one at a time, ms p50 / p95   CPU-s a need   32 together, CPU-s a need   needs a CPU-s"
    )
    costs = []
    for name, policy in made.items():
        policy.generate(chats[:2], 0)
        alone = [_timed(policy, [chat]) for chat in chats[: max(needs // 2, 16)]]
        together = _timed(policy, chats)[1] / len(chats)
        p50, p95 = np.percentile([wall for wall, _ in alone], [50, 95]) * 1000
        one = float(np.mean([cpu for _, cpu in alone]))
        costs.append((one, together))
        print(f"{name:22} {p50:20.0f} / {p95:6.0f}   {one:12.4f}   {together:25.4f}   {1 / together:13.1f}")
    (one, many), (fast, fast_many) = costs
    print(f"ratio of CPU seconds: {one / fast:.2f} one at a time, {many / fast_many:.2f} together")


def _timed(policy: Policy, chats: list[Any]) -> tuple[float, float]:
    """Seconds on the clock, and of the CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    policy.generate(chats, 0)
    return time.perf_counter() - began, time.process_time() - cpu


def opened(bundle: Path, folder: Path) -> None:
    print("\nfrom the start of a process to its first rewrite; the first time, Python compiles what it imports")
    # Bytecode is written, as it is by default: a PYTHONDONTWRITEBYTECODE around us would make every time the first.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    for engine in ("transformers", "ctranslate2"):
        for time_of in ("first", "second", "third"):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            ours, theirs = socket.socketpair()
            command = [sys.executable, "-m", "recr1.serve.process", str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env)
            theirs.close()
            with ours, ours.makefile("rw") as lines:
                facts = json.loads((bundle / "bundle.json").read_text())
                for asked in ({"bundle": str(bundle), "facts": facts, "engine": engine}, ["red tent"]):
                    lines.write(json.dumps(asked) + "\n")
                    lines.flush()
                    assert lines.readline()
            wall = time.perf_counter() - began
            process.wait()
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
            print(f"{engine:12} {time_of:6} {wall:5.2f} s, {cpu:5.2f} CPU-s")


if __name__ == "__main__":
    main()
