"""The copy in bfloat16 that generates, and when it is made."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")

from recr1.config.build import check_part  # noqa: E402
from recr1.policies import transformers  # noqa: E402
from recr1.policies.cpu import Copy  # noqa: E402
from recr1.policies.transformers import Transformers  # noqa: E402

CHATS = [[{"role": "user", "content": text}] for text in ("a red sofa", "something to nap on, in wool", "a fan")]


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(transformers, "is_fast", lambda: True)


def test_the_copy_follows_the_weights_and_leaves_them_in_float32(fast):
    policy = Transformers(model="tiny-shopper", compute="bfloat16", max_new_tokens=4)
    first = policy.in_bfloat16.current()
    assert {weight.dtype for weight in first.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    assert {buffer.dtype for buffer in first.buffers()} == {torch.float32}  # the positions' frequencies
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    again = policy.in_bfloat16.current()
    assert again is first
    for weight, own in zip(policy.model.parameters(), again.parameters(), strict=True):
        assert torch.equal(weight.bfloat16(), own)


def test_the_copy_calls_none_of_what_a_trainer_put_on_the_model(fast):
    policy = Transformers(model="tiny-shopper", compute="bfloat16", max_new_tokens=4)
    before = policy.generate(CHATS, 0)
    fresh = Transformers(model="tiny-shopper", compute="bfloat16", max_new_tokens=4)
    fresh.model.forward = None  # as a trainer does, with a method that is bound to the model
    assert fresh.generate(CHATS, 0) == before


def test_it_writes_what_the_model_in_bfloat16_writes_and_repeats_with_the_seed(fast):
    half, again = (Transformers(model="tiny-shopper", compute="bfloat16", seed=3, max_new_tokens=8) for _ in range(2))
    plain = Transformers(model="tiny-shopper", dtype="bfloat16", seed=3, max_new_tokens=8)
    assert half.generate(CHATS, 4) == again.generate(CHATS, 4)
    assert half.spent == again.spent
    assert half.generate(CHATS, 0) == plain.generate(CHATS, 0)


def test_on_a_cpu_that_does_not_multiply_bfloat16_there_is_no_copy_and_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(transformers, "is_fast", lambda: False)
    assert Transformers(model="tiny-shopper", compute="bfloat16").in_bfloat16 is None
    (said,) = caplog.messages
    assert said == "policy.compute: bfloat16 is not used: this CPU has neither AVX512-BF16 nor AMX"


def test_there_is_none_where_it_is_not_asked_for(fast, caplog):
    assert Transformers(model="tiny-shopper").in_bfloat16 is None
    assert not caplog.messages


def test_a_copy_of_a_model_in_training_has_its_mode():
    model = Transformers(model="tiny-shopper").model
    copied = Copy(model)
    assert copied.current().training == model.training
    model.train()
    assert copied.current().training


def test_four_bits_have_a_dtype_of_their_own():
    options = {"model": "tiny-shopper", "load_in_4bit": True, "lora_rank": 4, "compute": "bfloat16"}
    problems = check_part("policy", {"type": "transformers", **options}, "policy")
    assert any("compute" in str(problem) for problem in problems)
