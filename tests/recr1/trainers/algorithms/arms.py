"""Games with a known optimum: a language of a few words, a random model that speaks it, a reward by what it says."""

from __future__ import annotations

import numpy as np

PAD, END, OTHER = "<pad>", "<end>", "<other>"


def make_speaker(folder, words, *, width=16, layers=1, seed=0):
    """Writes a random Llama whose tokens are these words, an end and no more; needs are all the same to it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from recr1.assets.make_tiny_shopper import make_model

    vocabulary = {word: place for place, word in enumerate((PAD, END, OTHER, *words))}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token=OTHER))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=whole,
        pad_token=PAD,
        eos_token=END,
        unk_token=OTHER,
        padding_side="left",
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
        clean_up_tokenization_spaces=False,
    )
    torch.manual_seed(seed)
    make_model(tokenizer, width=width, layers=layers, heads=2, inner=width).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Pays:
    """Pays what the table says for a completion, and nothing for any other."""

    name = "pays"

    def __init__(self, *, table: dict[str, float]) -> None:
        self.table = table

    def __call__(self, batch):
        return np.array([self.table.get(rollout.completion.strip(), 0.0) for rollout in batch.rollouts], np.float32)
