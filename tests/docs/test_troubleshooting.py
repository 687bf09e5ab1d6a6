"""The page of what goes wrong: its curves, keys and commands are there to be looked at."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from recr1.trainers.trl.options import trl_options
from tests.docs.pages import ROOT, prose, read

PAGE = ROOT / "docs" / "troubleshooting.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_each_trouble_says_what_is_seen_how_to_make_sure_and_what_to_change(section):
    assert re.search(r"^\*\*(Curves|Message)\.\*\*", section, re.MULTILINE)
    sure = re.search(r"^\*\*Make sure\.\*\*(.*?)^\*\*Change\.\*\*(.*)", section, re.MULTILINE | re.DOTALL)
    assert sure is not None
    assert "recr1 " in sure[1] or ".json" in sure[1] or "null" in section
    assert "`" in sure[2]


def test_every_metric_is_described_or_one_of_trl():
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("pip install 'recr1[train]'")
    sources = [Path(spec.origin).parent / "trainer" / "grpo_trainer.py"]
    logged = read("docs/runs.md") + "".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"`(train/[\w/]+|eval/[\w/]+|time/\w+)`", prose(PAGE)))
    assert len(named) > 15
    unknown = {name for name in named if name not in logged and name.removeprefix("train/") not in logged}
    assert unknown <= {"train/learning_rate", "train/grad_norm"}  # of transformers' own loop


def test_every_key_of_trl_is_a_field_of_its_config():
    known = trl_options("GRPOConfig")
    if not known:
        pytest.skip("pip install 'recr1[train]'")
    keys = set(re.findall(r"`trainer\.trl\.(\w+)", prose(PAGE)))
    assert len(keys) > 10
    assert keys <= set(known)


def test_every_trouble_stands_in_the_table_at_the_top():
    linked = re.findall(r"\| \[(.+?)\]\(#", PAGE.read_text(encoding="utf-8"))
    assert set(linked) == {text.partition("\n")[0] for text in SECTIONS}
