"""Random models of a few families, with the architecture's own quirks and a few thousand parameters."""

from __future__ import annotations

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
ROUTED = {"num_experts_per_tok": 2, "router_aux_loss_coef": 0.01}

CONFIGS = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {"tie_word_embeddings": True}),
    "gemma2": ("Gemma2Config", {"sliding_window": 8, "query_pre_attn_scalar": 16}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 8, "query_pre_attn_scalar": 16}),
    "qwen3_moe": ("Qwen3MoeConfig", {"num_experts": 4, "moe_intermediate_size": 24, **ROUTED}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, **ROUTED}),
}
"""For each family the config of transformers, and what it has beside the sizes."""


def make(folder, family, tokenizer, *, seed=0):
    """Writes a random model of a family with this tokenizer; the same bytes each time."""
    import torch
    import transformers

    name, more = CONFIGS[family]
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = getattr(transformers, name)(**SIZES, **more, **ends, vocab_size=len(tokenizer))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
