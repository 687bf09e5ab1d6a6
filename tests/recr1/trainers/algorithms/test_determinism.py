"""The seed of a recipe says all that chance decides: two runs are equal to the last bit, in processes of their own."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part
from recr1.runs import Run
from recr1.trainers.ppo import PPO
from recr1.trainers.sft import SFT
from tests.processes import begin
from tests.recr1.trainers.layers.test_resume import environment

pytestmark = pytest.mark.slow

SHORT = ["evaluate.needs=20", "evaluate.every=2", "evaluate.keep=last"]
QUICKSTARTS = {
    "quickstart": ["trainer.steps=6", "trainer.rollouts_every=1"],
    "quickstart_ppo": ["trainer.steps=3", "trainer.rollouts_every=1"],
    "quickstart_rloo": ["trainer.steps=3", "trainer.rollouts_every=1"],
    "quickstart_sft_grpo": [
        "trainer.0.steps=3",
        "trainer.0.pairs.needs=32",
        "trainer.1.steps=2",
        "trainer.1.rollouts_every=1",
    ],
}
"""Each shipped recipe with fewer steps."""


def processes(commands, *, env):
    """The outputs of commands that run at the same time, each with environment variables of its own."""
    begun = [begin(command, **more) for command, more in zip(commands, env, strict=True)]
    ended = [process.communicate(timeout=600) for process in begun]
    for process, (_, errors) in zip(begun, ended, strict=True):
        assert process.returncode == 0, errors
    return [said for said, _ in ended]


def untimed(path):
    """The lines of a run's file, without what a clock said."""
    return [
        {name: value for name, value in json.loads(line).items() if "time" not in name}
        for line in path.read_text().splitlines()
    ]


def facts(run):
    held = json.loads((run / "run.json").read_text())
    return {name: held[name] for name in ("seed", "catalog", "retriever", "versions")}


@pytest.mark.parametrize("name", QUICKSTARTS)
def test_two_runs_of_a_quickstart_are_equal_to_the_last_bit(tmp_path, name):
    """With hashes of strings, a cache of indexes and a folder of each one's own, and two threads as a user has."""
    outs = [tmp_path / "one", tmp_path / "two"]
    train = [sys.executable, "-m", "recr1", "train", name, *QUICKSTARTS[name], *SHORT, "--out"]
    processes(
        [[*train, out] for out in outs],
        env=[
            {"PYTHONHASHSEED": str(place), "OMP_NUM_THREADS": "2", "RECR1_CACHE": str(tmp_path / f"cache-{place}")}
            for place in (1, 2)
        ],
    )
    one, two = outs
    assert facts(one) == facts(two)
    for file in ("metrics.jsonl", "rollouts.jsonl"):
        assert untimed(one / file) == untimed(two / file)
    assert len({line["reward"] for line in untimed(one / "rollouts.jsonl")}) > 2  # something could be learned
    assert_same_weights(one, two)


def assert_same_weights(one, two):
    first, second = (load_file(out / "policy" / "model.safetensors") for out in (one, two))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name].tobytes() != second[name].tobytes()] == []


def with_dropout(model, folder, share):
    """A copy of a Llama that drops so many of the weights of its attention."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["attention_dropout"] == 0
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": share}))
    return folder


def online(folder, model, seed, *, shuffle=False, sample=False):
    """Two steps of PPO, in which a seed decides nothing but what is asked for: its rollouts, and its weights."""
    trl = {"num_generations": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "shuffle_dataset": shuffle}
    trl |= {"generation_kwargs": {"do_sample": sample}, "save_strategy": "no"}
    run = Run.create(folder, {"seed": seed}, {})
    part = Part("transformers", {"model": str(model), "max_new_tokens": 6})
    spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
    PPO(steps=2, trl=trl, rollouts_every=1).train(part, environment(), run, seed=seed, evaluation=spec)
    run.finish("finished")
    return run.read_rollouts(), weights_of(run)


def weights_of(run):
    held = load_file(run.policy_path / "model.safetensors")
    return np.concatenate([held[name].ravel() for name in sorted(held)])


def test_the_seed_decides_the_order_of_needs(tmp_path, random_model):
    runs = [online(tmp_path / str(seed), random_model, seed, shuffle=True)[0] for seed in (1, 2)]
    one, two = ([line["need"] for line in rollouts] for rollouts in runs)
    assert one != two and len(one) == 16


def test_the_seed_decides_what_is_sampled(tmp_path, random_model):
    runs = [online(tmp_path / str(seed), random_model, seed, sample=True)[0] for seed in (1, 2)]
    one, two = ([(line["step"], line["need"]) for line in rollouts] for rollouts in runs)
    assert one == two  # in the order of the data
    one, two = ([line["completion"] for line in rollouts if line["step"] == 1] for rollouts in runs)
    assert len(set(one) & set(two)) < 4


def test_the_seed_decides_what_is_dropped_and_nothing_else_does(tmp_path, random_model):
    """Greedy completions of needs in order: without dropout there is nothing left for a seed to decide."""
    firm = [online(tmp_path / f"firm-{seed}", random_model, seed)[1] for seed in (1, 2)]
    assert np.allclose(
        *firm, rtol=0, atol=1e-7
    )  # TRL shuffles a batch by the seed: on some CPUs its sums round otherwise
    dropping = with_dropout(random_model, tmp_path / "model", 0.5)
    one, again, other = (online(tmp_path / f"dropping-{place}", dropping, seed) for place, seed in enumerate((1, 1, 2)))
    assert one[0] == again[0] and np.array_equal(one[1], again[1])
    assert not np.allclose(one[1], firm[0], rtol=0, atol=1e-6)  # it is on
    assert not np.array_equal(one[1], other[1])


def test_the_seed_decides_order_and_dropout_of_a_warm_start(tmp_path, random_model):
    pairs = tmp_path / "pairs.jsonl"
    words = ["sofa", "lamp", "red rug", "desk", "oak table", "mirror"]
    pairs.write_text("".join(json.dumps({"need": f"something like a {word}", "query": word}) + "\n" for word in words))

    def warm(name, model, seed):
        run = Run.create(tmp_path / name, {"seed": seed}, {})
        part = Part("transformers", {"model": str(model), "max_new_tokens": 6})
        spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=3, keep="last")
        trainer = SFT(steps=3, pairs={"type": "file", "path": str(pairs)}, trl={"per_device_train_batch_size": 2})
        trainer.train(part, environment(), run, seed=seed, evaluation=spec)
        run.finish("finished")
        return weights_of(run)

    one, again, other = (warm(f"{place}", random_model, seed) for place, seed in enumerate((1, 1, 2)))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    dropping = with_dropout(random_model, tmp_path / "model", 0.5)
    dropped = [warm(f"dropped-{place}", dropping, 1) for place in range(2)]
    assert np.array_equal(*dropped)
    assert not np.array_equal(one, dropped[0])


BUILD = """
import hashlib, sys, tempfile
from pathlib import Path
from recr1.config.build import Part, build
from retrievers.dense.dense import Dense

task = build("task", Part("shop", {"items": 3000}))
needs = [need.text for need in task.needs("test")]
for index in ("flat", "ivf", "hnsw", "pq"):
    with tempfile.TemporaryDirectory() as store:
        retriever = Dense(task.catalog, encoder={"type": "hashing", "dim": 64}, index=index, store=store)
        hits = retriever.search(needs, 20)
        files = [path for kind in ("*.faiss", "*.npy") for path in sorted(Path(store).rglob(kind))]
        for part in (*(path.read_bytes() for path in files), hits.rows_QK.tobytes(), hits.scores_QK.tobytes()):
            print(index, hashlib.sha256(part).hexdigest())
"""


def test_an_index_is_built_alike_in_every_process_and_with_any_number_of_threads():
    """Groups by k-means (ivf, pq) and the graph of hnsw are drawn from seeds of their own, whatever the recipe's."""
    pytest.importorskip("faiss", reason="pip install 'recr1[dense]'")
    one, two = processes(
        [[sys.executable, "-c", BUILD]] * 2,
        env=[{"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}, {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "4"}],
    )
    assert one == two
    assert len(one.splitlines()) > 4 * 4
