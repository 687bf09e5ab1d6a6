"""The configurations for accelerate, and whether what was asked for is what runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recr1.config.shipped import shipped_launch_configs
from recr1.trainers.launch import asked_processes
from tests.recr1.test_recipes import LAUNCH, header


def test_every_configuration_on_disk_is_shipped():
    assert list(shipped_launch_configs().values()) == LAUNCH


@pytest.fixture(params=LAUNCH, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_accelerate_reads_it(path):
    config_args = pytest.importorskip("accelerate.commands.config.config_args", reason="pip install 'recr1[train]'")
    config = config_args.load_config_from_file(str(path))
    nodes = 2 if path.stem.endswith("_nodes") else 1
    assert (config.num_machines, config.num_processes) == (nodes, 8 * nodes)
    kind = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}[path.stem.split("_")[0]]
    assert config.distributed_type == kind


def test_its_header_has_the_launch_command_with_its_name(path):
    said = "\n".join(header(path))
    assert f"accelerate launch --config_file {path.name} " in said and "-m recr1 train RECIPE" in said


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        (["python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "2", "-m", "recr1"], 2),
        (["python", "-m", "accelerate.commands.launch", "--num-processes=4", "-m", "recr1"], 4),
        (["accelerate", "launch", "--config_file", "FOLDER/ddp.yaml", "-m", "recr1", "train"], 8),
        (["accelerate", "launch", "--config_file", "FOLDER/none.yaml", "-m", "recr1", "train"], None),
        (["bash", "launch"], None),
        (["-bash"], None),
        ([], None),
    ],
)
def test_what_was_asked_for_stands_in_the_command_or_its_configuration(command, processes):
    named = [part.replace("FOLDER", str(LAUNCH[0].parent)) for part in command]
    assert asked_processes(named) == processes


def test_the_configuration_of_accelerate_counts_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert asked_processes(["accelerate", "launch", "-m", "recr1"]) is None
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text("num_processes: 3\n")
    assert asked_processes(["accelerate", "launch", "-m", "recr1"]) == 3


def test_one_process_where_two_were_asked_for_is_refused_with_the_line_that_works(tmp_path):
    pytest.importorskip("accelerate", reason="pip install 'recr1[train]'")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = subprocess.run(
        [*command, "-m", "recr1", "train", "quickstart"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "accelerate was asked for 2 processes and started 1" in done.stderr
    assert "--multi_gpu --num_processes 2 --num_machines 1" in done.stderr
    assert not (tmp_path / "runs").exists()
