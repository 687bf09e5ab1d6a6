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
