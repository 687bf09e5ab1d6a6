"""What a run wrote, scored again: the same where nothing is other, and by hand where something is."""

from __future__ import annotations

import json
import shutil

import pytest

from recr1.cli.main import run as recr1
from recr1.env import Environment
from recr1.errors import RunError
from recr1.rescore import Rescorer, Written, read_written
from recr1.runs import Run
from rewards.measures import parse_measure
from tests.recr1.baselines.world import First, Overlap, World


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(*pairs, saved=None):
    needs, texts = zip(*pairs, strict=True)
    return Written("training", [1, 1, 2, 2][: len(pairs)], needs, texts, saved or {})


class Backwards(Overlap):
    """Finds the same, worst first."""

    def search(self, queries, k):
        hits = super().search(queries, k)
        for rows in hits.rows_QK:
            count = int((rows >= 0).sum())
            rows[:count] = rows[:count][::-1].copy()
        return hits


def rescored(one, env, measures=("RR@4",), original=None):
    return Rescorer(env, [parse_measure(name) for name in measures], [one], original=original)(one)


@pytest.fixture
def env():
    world = World()
    return Environment(world, Overlap(world.catalog), [(First(), 1.0)], k=4)


def test_completions_are_read_by_the_format_and_searched(env):
    found = rescored(written(("n1", "[red mug]"), ("n1", "red mug"), ("n2", "[zzz]")), env)
    assert found.after.values["RR@4"].tolist() == [1, 0, 0]
    assert found.after.outcomes == ["ok", "invalid", "no_hits"]
    assert found.after.first_relevant == [1, None, None]
    assert found.after.rewards.tolist() == [1, 0, 0]


def test_before_and_after_are_of_the_same_completions(env):
    # "tea" finds tea-green, tea-black and pot, in this order, and backwards.
    other = env.with_retriever(Backwards(env.task.catalog))
    found = rescored(written(("n2", "[tea]"), ("n3", "[tea]")), other, original=env)
    assert found.before("RR@4").tolist() == pytest.approx([1, 1 / 3])
    assert found.after.values["RR@4"].tolist() == pytest.approx([1 / 3, 1])
    assert found.summary["measures"]["RR@4"]["change"]["difference"] == pytest.approx(0)


def test_the_curve_is_the_mean_of_each_step_with_its_own_floor(env):
    one = written(("n2", "[tea]"), ("n2", "[mug]"), ("n3", "[pot]"), ("n3", "[pot]"))
    first, second = rescored(one, env).curve()
    assert (first["step"], first["rollouts"], first["rescored/RR@4"]) == (1, 2, 0.5)
    assert first["rescored/RR@4/floor"] == 1 and second["rescored/RR@4/floor"] == 0
    assert second["rescored/RR@4"] == 1 and second["rescored/RR@4/ceiling"] == 1


def test_a_need_counts_once_however_many_completions_it_has(env):
    one = written(("n2", "[tea]"), ("n2", "[tea]"), ("n2", "[tea]"), ("n3", "[zzz]"))
    assert rescored(one, env).summary["measures"]["RR@4"]["after"]["mean"] == 0.5


def test_needs_that_the_task_does_not_have_are_left_out_and_counted(env):
    found = rescored(written(("n2", "[tea]"), ("gone", "[tea]")), env)
    assert (len(found.written), found.missing) == (1, 1)


def test_a_task_with_none_of_the_needs_is_refused(env):
    with pytest.raises(RunError, match="none of the run's needs, such as 'gone'"):
        rescored(written(("gone", "[tea]")), env)


def test_the_runs_own_parts_give_what_was_kept(finished):
    run = Run.open(finished)
    names = [one.name for one in read_written(run)]
    assert names == ["training", "test/trained", "test/untrained"]
    kept = {
        line["need"]: line["measures"]["nDCG@10"]["policy"]
        for line in lines(finished / "eval/test/trained/per_need.jsonl")
    }
    trained = read_written(run)[1]
    assert dict(zip(trained.needs, trained.saved["nDCG@10"].tolist(), strict=True)) == pytest.approx(kept)


def test_other_measures_leave_the_rest_as_it_was(copied, capsys):
    assert recr1(["rescore", str(copied), "--measures", "nDCG@10,RR@5", "--name", "rr", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["differ"] for one in told["results"].values()] == [0, 0, 0]
    assert told["results"]["training"]["measures"]["RR@5"]["before"] is None
    for line, old in zip(
        lines(copied / "rescored/rr/metrics.jsonl"),
        [line for line in lines(copied / "metrics.jsonl") if line["step"] % 4 == 0 and "train/reward" in line],
        strict=True,
    ):
        assert line["rescored/nDCG@10"] == pytest.approx(old["train/reward/nDCG@10"], abs=1e-6)
        assert line["rescored/reward"] == pytest.approx(line["rescored/reward/before"], abs=1e-6)


def test_another_retriever_is_compared_with_the_runs_own(copied, capsys):
    assert recr1(["rescore", str(copied), "retriever={type: rank_bm25}"]) == 0
    home = copied / "rescored/retriever=_type_rank_bm25"
    told = json.loads((home / "rescore.json").read_text())
    run = json.loads((copied / "run.json").read_text())
    assert told["run"] == {name: run[name] for name in ("catalog", "retriever")}
    assert told["fingerprints"]["retriever"] != run["retriever"] and told["fingerprints"]["catalog"] == run["catalog"]
    measured = told["results"]["test/trained"]["measures"]["nDCG@10"]
    saved = json.loads((copied / "eval/test/trained/eval.json").read_text())["measures"]["nDCG@10"]
    assert measured["before"]["mean"] == pytest.approx(saved["policy"]["mean"], abs=1e-6)
    assert measured["floor_before"] == pytest.approx(saved["floor"]["mean"], abs=1e-6)
    assert {path.name for path in home.iterdir()} == {
        *("rescore.json", "rescore.md", "metrics.jsonl", "completions.jsonl", "recipe.yaml", "curve.png"),
    }
    assert "written to" in capsys.readouterr().out


def test_a_retriever_that_is_not_what_it_was_is_told(copied):
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(facts | {"retriever": "another"}))
    assert recr1(["rescore", str(copied), "retriever.b=0.9", "--name", "b"]) == 0
    told = json.loads((copied / "rescored/b/rescore.json").read_text())
    assert told["notes"] == ["The retriever of the run has changed since: 'before' is what the run saved."]
    assert "floor_before" not in told["results"]["training"]["measures"]["nDCG@10"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "nothing to rescore with"),
        (["--measures", "nDCG@50"], "nDCG@50 needs k >= 50, got k=10: set k to 50 or more"),
        (["--measures", "RR@5", "--name", "../there"], "it names a folder"),
        (["retriever.depht=3"], "depht"),
    ],
)
def test_what_cannot_be_done_is_said(finished, capsys, given, message):
    assert recr1(["rescore", str(finished), *given]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_kept_nothing_says_what_to_set(copied, capsys):
    shutil.rmtree(copied / "eval")
    (copied / "rollouts.jsonl").unlink()
    assert recr1(["rescore", str(copied), "--measures", "RR@5"]) == 2
    assert "set trainer.rollouts_every, or run recr1 eval" in capsys.readouterr().err


def test_a_file_that_recr1_did_not_write_is_named(copied, capsys):
    (copied / "rollouts.jsonl").write_text('{"step": 1}\n')
    assert recr1(["rescore", str(copied), "--measures", "RR@5"]) == 2
    assert "rollouts.jsonl is not as recr1 writes it: KeyError: 'parts'" in capsys.readouterr().err
