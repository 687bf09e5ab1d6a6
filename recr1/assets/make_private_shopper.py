"""Makes the policy that the recipe `private_words` starts from: the tiny one that ships, with more tokens.

    python -m recr1.assets.make_private_shopper FOLDER     a model in Hugging Face format
    recr1 train private_words                              where FOLDER is ./private_shopper

Every word of both dialects gets its own token, with random weights: the policy can write the word, but does not know
what it means. The script reads the dialects and the policy that ships, no catalog. It is seeded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recr1.assets import shipped_model
from recr1.tasks.shop.lexicon import DIALECTS, dialect_words


def with_words(tokenizer: Any, words: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer with a token for each word after a space; it splits other texts as before.

    Merges that join a word's pieces from the left come after all existing merges, so none of those changes.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    known = {tuple(merge) for merge in merges}
    for word in words:
        joined, *pieces = tokenizer.tokenize(f" {word}")
        for piece in pieces:
            if (joined, piece) not in known:
                known.add((joined, piece))
                merges.append([joined, piece])
                vocabulary.setdefault(joined + piece, len(vocabulary))
            joined += piece
    names = ("pad_token", "eos_token", "padding_side", "chat_template", "clean_up_tokenization_spaces")
    kept = {name: getattr(tokenizer, name) for name in names}
    return type(tokenizer)(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **kept)


def make(folder: Path, *, seed: int) -> None:
    """Write the model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shipped = shipped_model("tiny-shopper")
    words = [word for dialect in DIALECTS for word in dialect_words(dialect).values()]
    more = with_words(AutoTokenizer.from_pretrained(shipped), words)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(shipped, dtype=torch.float32)
    model.resize_token_embeddings(len(more), mean_resizing=False)
    model.save_pretrained(folder)
    more.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    make(args.folder, seed=args.seed)


if __name__ == "__main__":
    main()
