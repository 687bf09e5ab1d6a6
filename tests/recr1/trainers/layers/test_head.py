"""The head of a large vocabulary gives the numbers and gradients of TRL's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")
utils = pytest.importorskip("trl.trainer.utils", reason="pip install 'recr1[train]'")

from recr1.policies.cpu import LARGE, SCORED  # noqa: E402
from recr1.trainers.layers import head  # noqa: E402

OUTPUTS = ("log_probs", "entropy", "is_top1")


def model_of(family="Llama", vocabulary=LARGE, **more):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{family}Config")(vocab_size=vocabulary, num_key_value_heads=1, **sizes, **more)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config)


def numbers(model, *, dtype=None, labelled=0.4):
    """Outputs of tokens with a label, more than are scored at a time, and the gradients of a loss of both kinds."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, LARGE, (8, 3 * SCORED // 8), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) > labelled, -100)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        out = model(input_ids=ids, labels=labels, fused_lm_head=True)
    there = labels[:, 1:] != -100
    weights = torch.rand(there.shape, generator=generator)
    (out.loss + (weights * out.log_probs).sum() - 0.1 * (weights * out.entropy)[there].sum()).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    return out.log_probs[there].detach(), out.entropy[there].detach(), out.is_top1[there], gradient


@pytest.mark.parametrize("labelled", [0.4, 1.0, 0.0])
@pytest.mark.parametrize(("temperature", "scale"), [(1.0, {}), (0.7, {"logits_scaling": 2.0})])
def test_numbers_and_gradients_are_those_of_trls_head(monkeypatch, labelled, temperature, scale):
    model = model_of("Granite" if scale else "Llama", **scale)
    utils.add_fused_lm_head(model, temperature=temperature, outputs=OUTPUTS)
    theirs = numbers(model, labelled=labelled)
    head.score_trained_tokens(model)
    called = []
    own = head.Scores.forward
    monkeypatch.setattr(
        head.Scores, "forward", staticmethod(lambda ctx, *given: called.append(given) or own(ctx, *given))
    )
    ours = numbers(model, labelled=labelled)
    assert [len(given[0]) for given in called] == [len(ours[0])]  # tokens with a label, and no other
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def test_in_bfloat16_they_are_about_as_close_to_float32_as_trls():
    model = model_of()
    utils.add_fused_lm_head(model, outputs=OUTPUTS)
    exact, theirs = numbers(model), numbers(model, dtype=torch.bfloat16)
    head.score_trained_tokens(model)
    ours = numbers(model, dtype=torch.bfloat16)
    for true, one, other in zip(exact, theirs, ours, strict=True):
        assert (other.float() - true.float()).norm() <= 1.5 * (one.float() - true.float()).norm() + 1e-6


def test_a_small_vocabulary_and_capped_scores_are_left_to_trl():
    small = model_of(vocabulary=LARGE - 1)
    before = small.forward
    head.score_trained_tokens(small)
    assert small.forward == before
    capped = model_of("Gemma2", head_dim=8, final_logit_softcapping=5.0)
    utils.add_fused_lm_head(capped, outputs=OUTPUTS)
    theirs = numbers(capped)
    head.score_trained_tokens(capped)
    for one, other in zip(theirs, numbers(capped), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def test_trls_names_are_its_own_again_after_a_pass():
    model = model_of()
    utils.add_fused_lm_head(model)
    head.score_trained_tokens(model)
    with pytest.raises(ValueError, match="input_ids"):
        model(fused_lm_head=True)
    assert utils._ChunkedLogProbFunction.__name__ == "ChunkedLogProbFunction"
    assert not utils._use_triton(torch.device("cpu"))
