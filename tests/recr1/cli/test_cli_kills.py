"""Runs that are killed anywhere, whose checkpoints are damaged, or whose disk is full: none is lost, none is wrong."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from tests.recr1.cli.kills import Commands

RECIPE = """\
seed: 0
task: {{type: toy, format: {{type: plain, prompt: "{{need}}"}}}}
retriever: {{type: bm25}}
k: 10
rewards: [{{type: measure, measure: nDCG@10}}, {{type: "tests.recr1.trainers.layers.test_resume:Vowels"}}]
policy: {{type: transformers, model: {model}, max_new_tokens: 8}}
trainer: {trainer}
evaluate: {{split: validation, measures: [nDCG@10], every: 1}}
"""
TRL = "{num_generations: 4, per_device_train_batch_size: 16, learning_rate: 1.0e-2}"
PAIRS = "need\tquery\n" + "".join(f"I want a {query} please\t{query}\n" for query in ("red sofa", "oak table", "lamp"))
SFT = "{type: sft, steps: 2, pairs: {type: file, path: PAIRS.tsv}, trl: {per_device_train_batch_size: 2}}"
TRAINERS = {
    "grpo": f"{{type: grpo, steps: 3, rollouts_every: 1, trl: {TRL}}}",
    "sft": SFT,
    "ppo": f"{{type: ppo, steps: 2, rollouts_every: 1, trl: {TRL}}}",
    "stages": f"[{SFT}, {{type: grpo, steps: 2, rollouts_every: 1, trl: {TRL}}}]",
    "adapter": f"{{type: grpo, steps: 2, rollouts_every: 1, trl: {TRL}}}",
}
pytestmark = pytest.mark.slow


class World:
    """A recipe, the commands, and an undisturbed run of that recipe."""

    def __init__(self, home, kind, model):
        self.recipe, self.whole = home / f"{kind}.yaml", home / kind
        (home / "pairs.tsv").write_text(PAIRS)
        trainer = TRAINERS[kind].replace("PAIRS", str(home / "pairs"))
        text = RECIPE.format(model=model, trainer=trainer)
        self.recipe.write_text(text.replace("tokens: 8", "tokens: 8, lora_rank: 4") if kind == "adapter" else text)
        self.recr1 = Commands(self.recipe)
        done = self.recr1("train", self.recipe, "--out", self.whole, within=self.whole)
        assert done["status"] == 0, done["output"]
        self.operations = done["operations"]

    def begin(self, out, **how):
        return self.recr1("train", self.recipe, "--out", out, within=out, **how)

    def finish(self, out):
        """Runs the command that finishes a run, once more as a loop would, and compares with the undisturbed run."""
        command = ["train", out] if (out / "run.json").exists() else ["train", self.recipe, "--out", out]
        done = self.recr1(*command)
        assert done["status"] == 0, done["output"]
        again = self.recr1("train", self.recipe, "--out", out)
        assert again["status"] == 0 and "is finished: nothing is trained" in again["output"]
        assert different(self.whole, out) == []
        return done["output"]


@pytest.fixture(scope="module")
def world(tmp_path_factory, random_model):
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = World(tmp_path_factory.mktemp("world"), kind, random_model)
        return made[kind]

    yield make
    for one in made.values():
        one.recr1.close()


def tree(out):
    return {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}


def content(path):
    """The bytes of a file; of a log, its lines without times; of `run.json`, what does not differ from run to run."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{name: value for name, value in line.items() if "time" not in name} for line in lines]
    if path.name == "run.json":
        facts = json.loads(path.read_text())
        return {name: facts.get(name) for name in ("status", "policy", "best", "stopped", "stages", "pairs", "removed")}
    return None if path.suffix == ".png" else path.read_bytes()


def different(one, other):
    """The files of two runs that differ, or are only in one."""
    ones, others = tree(one), tree(other)
    apart = sorted(ones.keys() ^ others.keys())
    return apart + [name for name in ones.keys() & others.keys() if content(ones[name]) != content(others[name])]


def each_kill(world, tmp_path, numbers):
    """What went wrong after a kill before each of these operations."""
    wrong = {}
    for number in numbers:
        out = tmp_path / f"run-{number}"
        killed = world.begin(out, kill_before=number)
        assert killed["status"] == -9 and len(killed["operations"]) == number
        try:
            world.finish(out)
        except AssertionError as error:
            wrong[f"{number}: {killed['operations'][-1]}"] = str(error)
        shutil.rmtree(out)
    return wrong


def test_a_run_that_was_killed_before_any_operation_on_a_file_reaches_the_same_end(world, tmp_path):
    grpo = world("grpo")
    assert len(grpo.operations) > 100
    assert each_kill(grpo, tmp_path, range(1, len(grpo.operations) + 1)) == {}


@pytest.mark.parametrize("kind", ["sft", "ppo", "stages", "adapter"])
def test_so_does_one_of_any_trainer(world, tmp_path, kind):
    one = world(kind)
    assert each_kill(one, tmp_path, range(3, len(one.operations) + 1, 11)) == {}


def test_a_run_that_was_killed_at_any_moment_reaches_the_same_end(world, tmp_path):
    grpo, dice = world("grpo"), random.Random(0)
    for number in range(30):
        out = tmp_path / f"run-{number}"
        grpo.begin(out, after=dice.uniform(0.05, 1.0 if number < 10 else 3.0))
        grpo.finish(out)
        shutil.rmtree(out)


def test_a_run_that_was_killed_again_and_again_reaches_the_same_end(world, tmp_path):
    grpo, dice, out = world("grpo"), random.Random(1), tmp_path / "run"
    kills = 0
    while not (out / "run.json").exists() or json.loads((out / "run.json").read_text())["status"] != "finished":
        kills += grpo.begin(out, kill_before=dice.randint(1, 60))["status"] == -9
        assert kills < 100
    assert kills > 3
    grpo.finish(out)


# --- damage


@pytest.fixture(scope="module")
def stopped(world, tmp_path_factory):
    """A run that SIGTERM stopped after its second step, with the checkpoints of both and the policy so far."""
    grpo, out = world("grpo"), tmp_path_factory.mktemp("stopped") / "run"
    logged = [number for number, what in enumerate(grpo.operations, start=1) if what.endswith("rollouts.jsonl")]
    done = grpo.begin(out, signal_before=logged[1])  # within the second step
    assert done["status"] == 130 and f"the policy so far is in {out / 'policy'}" in done["output"]
    assert "the state after step 2 is saved" in done["output"]
    assert sorted(path.name for path in out.glob("checkpoints/checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    return out


def fresh(path, data):
    """Another file in the place of one: that may be linked from elsewhere."""
    path.unlink()
    path.write_bytes(data)


def cut(path):
    fresh(path, path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    fresh(path, b"")


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    fresh(path, bytes(data))


def nothing_in(path):
    remove(path)
    path.mkdir()


def until_the_first_step(path):
    """Cuts a log in the line after the first checkpoint."""
    lines = path.read_text().splitlines(keepends=True)
    first = [line for line in lines if json.loads(line)["step"] < 2]
    path.write_text("".join(first) + lines[len(first)][:20])


NEWEST = "checkpoints/checkpoint-2"
GOES_ON = [
    (cut, f"{NEWEST}/model.safetensors"),
    (flip, f"{NEWEST}/model.safetensors"),
    (remove, f"{NEWEST}/model.safetensors"),
    (empty, f"{NEWEST}/optimizer.pt"),
    (flip, f"{NEWEST}/optimizer.pt"),
    (remove, f"{NEWEST}/scheduler.pt"),
    (flip, f"{NEWEST}/rng_state.pth"),
    (cut, f"{NEWEST}/trainer_state.json"),
    (flip, f"{NEWEST}/trainer_state.json"),
    (remove, f"{NEWEST}/recr1_0.pt"),
    (flip, f"{NEWEST}/best/weights.safetensors"),
    (remove, f"{NEWEST}/manifest.json"),
    (cut, f"{NEWEST}/manifest.json"),
    (flip, f"{NEWEST}/manifest.json"),
    (nothing_in, NEWEST),
    (until_the_first_step, "metrics.jsonl"),
    (until_the_first_step, "rollouts.jsonl"),
]
REFUSED = [
    (cut, ["metrics.jsonl"], "metrics.jsonl has"),
    (flip, ["metrics.jsonl"], "metrics.jsonl has other bytes"),
    (remove, ["metrics.jsonl"], "metrics.jsonl is missing"),
    (cut, ["run.json"], "run.json is not JSON"),
    (remove, ["run.json"], "it has no run.json"),
    (cut, ["recipe.yaml"], "recipe.yaml"),
    (cut, [f"{NEWEST}/model.safetensors", "checkpoints/checkpoint-1/model.safetensors"], "checkpoint-1: model.safe"),
]


@pytest.mark.parametrize(("damage", "file"), GOES_ON)
def test_the_newest_checkpoint_without_damage_is_resumed(world, stopped, tmp_path, damage, file):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    damage(out / file)
    said = world("grpo").finish(out)
    assert "resuming after step 1" in said
    assert f"{out / NEWEST} is damaged ({file.removeprefix(NEWEST + '/').partition('/')[0]}" in said or file == NEWEST


@pytest.mark.parametrize(("damage", "files", "message"), REFUSED)
def test_a_run_without_a_sound_checkpoint_is_refused_and_stays_as_it_is(
    world, stopped, tmp_path, damage, files, message
):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    for file in files:
        damage(out / file)
    before = {name: path.read_bytes() for name, path in tree(out).items() if name.startswith(("policy/", "best/"))}
    done = world("grpo").recr1("train", out)
    assert done["status"] == 2 and message in done["output"] and "Traceback" not in done["output"]
    assert before == {name: path.read_bytes() for name, path in tree(out).items() if name in before}


def test_a_policy_so_far_is_told_as_that(world, stopped):
    done = world("grpo").recr1("eval", stopped, "--split", "test", "--out", stopped.parent / "eval")
    assert done["status"] == 0
    assert f"{stopped} is not finished (status: interrupted): this is its policy after step 2" in done["output"]
    assert "is not finished" in (stopped.parent / "eval" / "eval.md").read_text()


# --- signals and full disks


def test_sigterm_at_any_operation_names_only_what_is_there(world, tmp_path):
    grpo = world("grpo")
    for number in range(1, len(grpo.operations) + 1, 9):
        out = tmp_path / f"run-{number}"
        done = grpo.begin(out, signal_before=number)
        assert done["status"] in (0, 130) and "Traceback" not in done["output"], done["output"]
        assert ("the policy so far is in" in done["output"]) <= (out / "policy" / "config.json").exists()
        assert ("the state after step" in done["output"]) <= any(out.glob("checkpoints/checkpoint-*"))
        if (out / "run.json").exists():
            assert json.loads((out / "run.json").read_text())["status"] in ("interrupted", "finished", "running")
        grpo.finish(out)
        shutil.rmtree(out)


@pytest.mark.parametrize("limit", [1_500, 2_500, 5_000, 9_000, 20_000, 50_000, 150_000, 205_000, 300_000, 400_000])
def test_a_disk_that_is_full_fails_in_one_line_and_loses_nothing(world, tmp_path, limit):
    grpo, out = world("grpo"), tmp_path / "run"
    done = grpo.begin(out, limit=limit)
    assert done["status"] == 2 and "Traceback" not in done["output"], done["output"]
    assert " cannot be written: " in done["output"].splitlines()[-1]
    if (out / "run.json").exists() and limit > 5_000:
        assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert [path for path in out.rglob("*") if path.is_file() and ".part" in str(path.relative_to(out))] == []
    grpo.finish(out)
