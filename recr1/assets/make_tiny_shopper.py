"""Makes `tiny-shopper`, the policy of the quickstart, from nothing: `python -m recr1.assets.make_tiny_shopper OUT`.

A Llama-shaped model of about a million parameters learns shopper language and a thesaurus by supervised learning: it
reads a need and writes, for each thing that is asked for, one of the words that people use for it, all alike. It
knows what people may mean; it cannot know which of the words a shop prints, because this script imports the language
of shoppers alone: no catalog, no qrels, no retriever. Seeded; the same machine, versions and threads give the same
bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from recr1.tasks.shop.language import Manner, write_need
from recr1.tasks.shop.lexicon import Lexicon, load_lexicon

PAD, ASK, END = "<|pad|>", "<|query|>", "<|end|>"
# The whole prompt is the need and one token that asks for a query: every token of a prompt costs time in each
# training step.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}<|end|>{% else %}{{ message.content }}{% endif %}"
    "{% if message.role == 'user' %}<|query|>{% endif %}"
    "{% endfor %}"
)


def shopper_pairs(lexicon: Lexicon, seed: int) -> Iterator[tuple[str, str]]:
    """Endless (need, query) pairs of people and a general thesaurus; no shop has a say in them.

    Every phrase of the lexicon is used, as any pretrained language model knows them all, but only the sentence frames
    of training needs: those of held-out needs are new to the policy.
    """
    rng = Random(f"tiny shopper {seed}")
    while True:
        manner = Manner(
            frames=lexicon.frames["seen"],
            chitchat=lexicon.chitchat["seen"],
            phrases="all",
            indirect=rng.choice((0.2, 0.6)),
            typos=0.2,
        )
        product = rng.choice(lexicon.types)
        families = rng.sample(lexicon.families[product], rng.choices((1, 2, 3), (0.2, 0.4, 0.4))[0])
        wishes = [f"{family}/{rng.choice(lexicon.values[family])}" for family in sorted(families)]
        need = write_need(lexicon, product, wishes, manner, rng)
        words = [rng.choice(lexicon.concepts[name].words) for name in (*wishes, f"type/{product}")]
        if rng.random() < 0.15:  # people sometimes say the same thing twice, in two words
            words.insert(rng.randrange(len(words)), rng.choice(lexicon.concepts[rng.choice(wishes)].words))
        yield need, " ".join(words)


def make_tokenizer(lexicon: Lexicon, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer: one token for a word of the lexicon, pieces for typos, bytes for everything else."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    pairs = shopper_pairs(lexicon, seed=1)
    texts = [text for _ in range(20_000) for text in next(pairs)]
    texts += [word for concept in lexicon.concepts.values() for word in concept.words] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, ASK, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: Any, *, width: int, layers: int, heads: int, inner: int) -> Any:
    """A random Llama of the given shape.

    The embeddings are not tied: half of the parameters are then look-ups, which cost nothing, and what a shop calls
    things can be learned at the output without forgetting what shoppers mean at the input.
    """
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def batches(tokenizer: Any, lexicon: Lexicon, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Endless batches of right-padded token ids (B, T); labels are -100 outside the query and its end."""
    import torch

    pairs = shopper_pairs(lexicon, seed)
    while True:
        rows, starts = [], []
        for _ in range(size):
            need, query = next(pairs)
            prompt = tokenizer(f"{need}{ASK}", add_special_tokens=False)["input_ids"]
            rows.append(prompt + tokenizer(f"{query}{END}", add_special_tokens=False)["input_ids"])
            starts.append(len(prompt))
        longest = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        places = torch.arange(longest)
        lengths, begins = torch.tensor([len(row) for row in rows]), torch.tensor(starts)
        inside = (places >= begins[:, None]) & (places < lengths[:, None])
        yield {
            "input_ids": ids,
            "attention_mask": (places < lengths[:, None]).long(),
            "labels": torch.where(inside, ids, -100),
        }


def train(model: Any, data: Iterator[dict[str, Any]], steps: int, peak: float) -> None:
    """Supervised learning with AdamW and a one-cycle learning rate; prints the loss now and then."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.1)
    model.train()
    start = time.perf_counter()
    for step in range(1, steps + 1):
        loss = model(**next(data)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps:
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {time.perf_counter() - start:.0f} s", flush=True)  # noqa: T201


def main() -> None:
    """Make the tokenizer and the model, train the model, and write both in Hugging Face format, weights in bfloat16."""
    import torch
    from transformers.utils import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(args.seed)
    lexicon = load_lexicon()
    tokenizer = make_tokenizer(lexicon, vocabulary=2048)
    model = make_model(tokenizer, width=128, layers=3, heads=4, inner=320)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens")  # noqa: T201
    train(model, batches(tokenizer, lexicon, args.batch, seed=2 + args.seed), args.steps, peak=3e-3)
    model.to(torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
