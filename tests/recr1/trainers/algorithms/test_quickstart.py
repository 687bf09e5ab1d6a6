"""The promise of the quickstart, on the real command line. Its time is measured by benchmarks/quickstart.py."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_quickstart_learns_the_words_of_a_shop_it_never_sees(tmp_path):
    run = tmp_path / "run"
    for command in (["train", "quickstart", "seed=1", "task.seed=1", "--out", run], ["eval", run, "--split", "test"]):
        subprocess.run([sys.executable, "-m", "recr1", *map(str, command)], check=True, capture_output=True)
    trained = json.loads((run / "eval" / "test" / "trained" / "eval.json").read_text())
    measured = trained["measures"]["nDCG@10"]
    floor, policy, ceiling = (measured[name]["mean"] for name in ("floor", "policy", "ceiling"))
    assert 0.15 <= floor <= 0.40
    assert policy >= max(0.60, 2 * floor)
    assert policy < ceiling
    assert measured["versus_floor"]["p"] < 0.001
    assert trained["query_words"] <= 10
