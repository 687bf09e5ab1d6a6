"""The quickstart on an accelerator, with TRL's own defaults there: half precision and recomputation."""

import json

import pytest

from recr1.cli.main import run

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _accelerator():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; none is visible to torch")


@pytest.mark.parametrize(
    "policy", [[], ["policy.lora_rank=4"], ["policy.dtype=bfloat16"]], ids=["full", "lora", "bf16"]
)
def test_a_few_steps_train_and_the_policy_evaluates(tmp_path, policy):
    out = tmp_path / "run"
    assert run(["train", "quickstart", "trainer.steps=3", "evaluate.needs=16", "--out", str(out), *policy]) == 0
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert run(["eval", str(out)]) == 0
