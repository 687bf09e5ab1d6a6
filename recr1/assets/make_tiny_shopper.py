"""Makes the random policy that the recipe `tiny_shopper` trains, and ships the result: the policy of the quickstart.

    python -m recr1.assets.make_tiny_shopper start FOLDER     a random policy
    recr1 train tiny_shopper --out RUN                        where FOLDER is ./shopper_start
    python -m recr1.assets.make_tiny_shopper ship RUN OUT     the trained policy, its weights in bfloat16

A Llama of about a million parameters learns shopper language and a thesaurus from pairs: it reads a need and writes,
for each thing that is asked for, one of the words that people use for it, each equally often. It cannot know which of
these words the shop prints, because this script imports the language of shoppers alone: no catalog, no qrels, no
retriever. It is seeded; the same machine, versions and threads give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recr1.tasks.shop.language import shopper_pairs
from recr1.tasks.shop.lexicon import Lexicon, load_lexicon

VOCABULARY = 2048  # tokens of the policy that ships
PAD, ASK, END = "<|pad|>", "<|query|>", "<|end|>"
# The prompt is the need and one token that asks for a query: each token of a prompt costs time in every step.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}<|end|>{% else %}{{ message.content }}{% endif %}"
    "{% if message.role == 'user' %}<|query|>{% endif %}"
    "{% endfor %}"
)


def make_tokenizer(lexicon: Lexicon, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer: a token for each word of the lexicon, pieces for typos, bytes for everything else."""
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

    The embeddings are not tied: half of the parameters are look-ups, which cost little, and the output can learn the
    shop's words while the input keeps the meaning of the shopper's.
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


def start(folder: Path, *, seed: int) -> None:
    """Write the random policy in Hugging Face format."""
    import torch

    tokenizer = make_tokenizer(load_lexicon(), VOCABULARY)
    torch.manual_seed(seed)
    model = make_model(tokenizer, width=128, layers=3, heads=4, inner=320)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def ship(run: Path, out: Path) -> None:
    """Write the trained policy of a run with its weights in bfloat16, half the bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(run / "policy", dtype=torch.bfloat16)
    model.config.use_cache = True  # training switches it off
    model.save_pretrained(out)
    make_tokenizer(load_lexicon(), VOCABULARY).save_pretrained(out)  # without the changes that training made


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    starts = commands.add_parser("start", help="write a random policy")
    starts.add_argument("folder", type=Path)
    starts.add_argument("--seed", type=int, default=0)
    ships = commands.add_parser("ship", help="write the trained policy of a run, its weights in bfloat16")
    ships.add_argument("run", type=Path)
    ships.add_argument("out", type=Path)
    args = parser.parse_args(arguments)
    if args.command == "start":
        start(args.folder, seed=args.seed)
    else:
        ship(args.run, args.out)


if __name__ == "__main__":
    main()
