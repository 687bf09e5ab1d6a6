"""Log-probabilities and gradients of rows that share prompts are those of a row for each completion."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest

from recr1.policies.reading import can_share, generate_from_shared
from recr1.trainers.layers.shared_prompts import attention, pack, pack_tightly

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")
trl = pytest.importorskip("trl.trainer.utils", reason="pip install 'recr1[train]'")

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    ),
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2),
}


def model_of(config):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def batch(prompts, before, completion, seed=0):
    """Completions in a shuffled order, of prompts that have different numbers of them; both of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    ids, masks = [], []
    for place, count in enumerate(prompts):
        tokens = torch.randint(1, 50, (before,), generator=generator)
        there = torch.arange(before) >= place % before
        for _ in range(count):
            length = int(torch.randint(0, completion + 1, (1,), generator=generator))
            ids.append(torch.cat([tokens * there, torch.randint(1, 50, (completion,), generator=generator)]))
            masks.append(torch.cat([there, torch.arange(completion) < length]))
    order = torch.randperm(len(ids), generator=generator)
    return torch.stack(ids)[order], torch.stack(masks)[order].long()


def alone(model, ids, mask, completion, **more):
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-completion] = -100
    out = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **more)
    return out.log_probs[:, -completion:], out.entropy[:, -completion:]


def together(model, ids, mask, completion, packing=pack):
    rows = packing(ids, mask, completion)
    out = model(
        input_ids=rows.input_ids,
        attention_mask=rows.attention_mask,
        position_ids=rows.position_ids,
        labels=rows.labels,
        fused_lm_head=True,
    )
    places = rows.places(completion)
    return out.log_probs[places], out.entropy[places]


@pytest.mark.parametrize("packing", [pack, pack_tightly])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("prompts", "before"), [([4, 4], 5), ([3, 1, 5], 4), ([1], 1), ([2, 2], 1), ([40, 3, 20], 9), ([2] * 20, 70)]
)
def test_numbers_and_gradients_are_those_of_a_row_for_each(name, prompts, before, packing):
    model, completion = model_of(CONFIGS[name]()), 6
    trl.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    assert can_share(model)
    ids, mask = batch(prompts, before, completion)
    there = mask[:, -completion:].bool()
    found = []
    # TRL counts padding in the positions, and so does `pack`; generation does not.
    positions = (mask.cumsum(1) - 1).clamp(min=0) if packing is pack_tightly else None
    for way in (partial(alone, position_ids=positions), partial(together, packing=packing)):
        model.zero_grad()
        logps, entropies = way(model, ids, mask, completion)
        (logps[there].sum() + 0.1 * entropies[there].sum()).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((logps[there].detach(), entropies[there].detach(), gradient))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_prompt_stands_in_one_row_however_many_completions_it_has():
    ids, mask = batch([4, 2, 4], 5, 3)
    rows = pack(ids, mask, 3)
    assert rows.input_ids.shape == (3, 4 + 4 * (1 + 3))
    assert torch.bincount(rows.rows).sort().values.tolist() == [2, 4, 4]


def test_without_padding_what_prompts_begin_with_stands_once_and_nothing_that_predicts_nothing():
    ids = torch.tensor([[7, 8, 1, 2, 3, 4], [0, 7, 8, 5, 6, 0], [7, 8, 1, 9, 0, 0], [7, 8, 1, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])
    rows = pack_tightly(ids, mask, 3)
    # 7 is of all. Behind 7, 8 come 5, 6; behind 7, 8, 1 come 2, 3, 4, or 9, or nothing, which takes no place.
    assert rows.input_ids.tolist() == [[7, 8, 5, 8, 1, 2, 3, 1, 0]]
    assert rows.position_ids[0, :-1].tolist() == [0, 1, 2, 1, 2, 3, 4, 2]
    assert rows.labels.tolist() == [[-100, -100, 5, 6, -100, 2, 3, 4, 9]]
    assert rows.starts.tolist() == [5, 2, 8, 9]


@pytest.mark.parametrize("family", ["Mistral", "Gemma2", "Gemma3Text"])
def test_models_that_look_back_so_far_only_have_rows_of_their_own(family):
    config = getattr(transformers, f"{family}Config")(**SIZES, sliding_window=8)
    assert not can_share(model_of(config))


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen3_moe"])
@pytest.mark.parametrize("before", [1, 5])
def test_what_is_generated_is_what_is_generated_from_a_row_for_each(name, before):
    model = model_of(CONFIGS[name]())
    ids, mask = batch([4, 2, 4], before, 0)
    config = transformers.GenerationConfig(
        max_new_tokens=6, do_sample=True, top_k=0, top_p=1.0, pad_token_id=0, eos_token_id=49, bos_token_id=0
    )
    arguments = {"input_ids": ids, "attention_mask": mask, "generation_config": config}
    found = []
    for generate in (model.generate, lambda **given: generate_from_shared(model, model.generate, **given)):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(generate(**arguments))
    assert found[0].tolist() == found[1].tolist()


def test_in_bfloat16_numbers_and_gradients_are_as_close_to_float32_as_pytorchs_kernel_gives_them():
    model, completion = model_of(CONFIGS["llama"]()), 6
    trl.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids, mask = batch([3, 1, 5], 4, completion)
    there = mask[:, -completion:].bool()
    plain = partial(attention, SimpleNamespace(gradient_checkpointing=False))
    found = []
    for enabled, around in ((False, plain), (True, nullcontext), (True, plain)):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), around():
            logps, _ = together(model, ids, mask, completion)
        logps[there].sum().backward()
        found.append((logps[there].detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    for exact, kernel, products in zip(*found, strict=True):
        assert 0 < (products - exact).norm() <= 2 * (kernel - exact).norm()
    assert not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
