"""A random model of a few thousand parameters with a real tokenizer, made once."""

import pytest


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """The folder of a random Llama; seeded."""
    import torch

    from recr1.assets.make_tiny_shopper import make_model, make_tokenizer
    from recr1.tasks.shop.lexicon import load_lexicon

    folder = tmp_path_factory.mktemp("random-model")
    torch.manual_seed(0)
    tokenizer = make_tokenizer(load_lexicon(), vocabulary=512)
    make_model(tokenizer, width=32, layers=2, heads=2, inner=48).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
