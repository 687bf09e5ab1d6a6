"""Every fault of a tokenizer, a chat template or a format is named by the check that is there for it."""

from __future__ import annotations

import json

import pytest

from recr1.doctor.policy import POLICY_CHECKS, run_policy_checks
from tests.recr1.doctor import faults
from tests.recr1.doctor.policy.planted import CHATML, model, opened

BEGIN = {"bos_token": "<|query|>"}
SYSTEM = {"type": "plain", "system": "You write queries."}


def check(name, folder, **options):
    return POLICY_CHECKS[name](opened(folder, **options))


@pytest.mark.parametrize("name", ["context", "template", "tokens", "answer_format", "finite", "batch", "agreement"])
@pytest.mark.parametrize("template", [None, CHATML])
def test_a_sound_model_is_not_blamed(name, template, random_model, tmp_path):
    found = check(name, model(random_model, tmp_path / "model", template=template), form=SYSTEM, stages=())
    assert (found.verdict, found.name) == ("ok", name), found.message


def test_a_prompt_that_does_not_fit_is_named_and_ends_the_checks(random_model, tmp_path):
    short = model(random_model, tmp_path / "short", config={"max_position_embeddings": 60})
    (found,) = run_policy_checks(opened(short))
    assert found.verdict == "error"
    assert found.message.startswith("too long: 24 of 24 prompts do not fit: the longest, need ")
    assert found.message.endswith("; no check was made after this one")
    assert (found.numbers["context"], found.numbers["max_position_embeddings"]) == (60, 60)


def test_prompts_that_fit_are_checked_beside_one_that_does_not(random_model, tmp_path):
    short = model(random_model, tmp_path / "short", config={"max_position_embeddings": 36})
    setup = opened(short, form={"type": "plain", "prompt": "{need}"})
    found = POLICY_CHECKS["context"](setup)
    assert found.verdict == "error"
    assert 0 < len(setup.fitting) < len(setup.lengths)
    assert max(setup.lengths[key] for key in setup.fitting) <= 24
    assert POLICY_CHECKS["batch"](setup).verdict == "ok"


def test_limits_of_the_context_are_reported_in_numbers(random_model, tmp_path):
    rope = {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}
    found = check("context", model(random_model, tmp_path / "scaled", config=rope))
    assert "RoPE scaling linear, factor 4" in found.message
    assert (found.numbers["context"], found.numbers["rope"]["factor"]) == (1024, 4.0)


TEMPLATES = {
    "no generation prompt": ("error", CHATML.partition("{% if add")[0]),
    "system left out": ("error", CHATML.replace("in messages", "in messages if m.role != 'system'")),
    "need left out": ("error", CHATML.replace("m.content", "m.content[:40]")),
    "answer left out": ("warning", CHATML.replace("m.content", "(m.content if m.role != 'assistant' else '')")),
    "changes with the day": ("warning", "{{ strftime_now('%Y') }}" + CHATML),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_with_a_fault_is_named(name, random_model, tmp_path):
    verdict, template = TEMPLATES[name]
    found = check("template", model(random_model, tmp_path / "model", template=template), form=SYSTEM)
    assert found.verdict == verdict
    assert found.message.startswith(f"{name}: ")


def test_a_system_message_that_a_template_adds_is_told(random_model, tmp_path):
    added = (
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are Tent.<|end|>\\n' }}{% endif %}" + CHATML
    )
    folder = model(random_model, tmp_path / "model", template=added)
    found = check("template", folder)
    assert found.verdict == "warning"
    assert "system added: the template writes " in found.message and "You are Tent." in found.message
    assert check("template", folder, form=SYSTEM).verdict == "ok"


def test_the_first_prompt_is_shown_as_the_model_reads_it(random_model, tmp_path):
    found = check("template", model(random_model, tmp_path / "model", template=CHATML))
    assert found.shown.startswith("<|im_start|>user\n") and found.shown.endswith("<|im_start|>assistant\n")


def test_a_tokenizer_without_a_template_is_no_fault(random_model, tmp_path):
    folder = model(random_model, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    for name in ("template", "tokens"):
        assert check(name, folder).verdict == "ok"
    assert "no template: " in check("template", folder).message


TOKENIZERS = {
    "pad is end": ("ok", {"tokenizer": {"pad_token": "<|end|>"}}),
    "no pad token": ("ok", {"tokenizer": {"pad_token": None}}),
    "more ends": ("ok", {"generation": {"eos_token_id": [2, 1]}}),
    "end never written": ("warning", {"template": CHATML.replace("<|end|>", "<|query|>")}),
    "begin twice": ("error", {"template": "{{ bos_token }}{{ bos_token }}" + CHATML, "tokenizer": BEGIN}),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_are_named(name, random_model, tmp_path):
    verdict, changed = TOKENIZERS[name]
    found = check("tokens", model(random_model, tmp_path / "model", **changed))
    assert (found.verdict, f"{name}: " in found.message) == (verdict, True), found.message


def with_tokenizer(folder, change):
    """The folder with its tokenizer.json changed."""
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text())
    change(whole)
    file.write_text(json.dumps(whole))
    return folder


def begins(whole):
    """Every text begins with the token 1, as with Llama."""
    one = {"SpecialToken": {"id": "<|query|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tokens = {"<|query|>": {"id": "<|query|>", "ids": [1], "tokens": ["<|query|>"]}}
    kind = {"type": "TemplateProcessing", "single": [one, text], "pair": [one, text, text], "special_tokens": tokens}
    whole["post_processor"] = kind


def test_a_begin_token_that_the_template_forgets_is_named(random_model, tmp_path):
    folder = with_tokenizer(model(random_model, tmp_path / "model", template=CHATML, tokenizer=BEGIN), begins)
    found = check("tokens", folder)
    assert (found.verdict, "no begin: " in found.message) == ("warning", True)
    folder = with_tokenizer(
        model(random_model, tmp_path / "b", template="{{ bos_token }}" + CHATML, tokenizer=BEGIN), begins
    )
    assert check("tokens", folder).verdict == "ok"


def test_a_begin_token_that_template_and_tokenizer_both_write_is_named(random_model, tmp_path, monkeypatch):
    def ids(tokenizer, chats):
        texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        return tokenizer(texts)["input_ids"]

    monkeypatch.setattr("recr1.doctor.policy.reading.prompt_ids", ids)
    folder = model(random_model, tmp_path / "model", template="{{ bos_token }}" + CHATML, tokenizer=BEGIN)
    found = check("tokens", with_tokenizer(folder, begins))
    assert (found.verdict, "begin twice: " in found.message) == ("error", True)


def test_a_truncated_vocabulary_is_named_and_nothing_is_generated(random_model, tmp_path):
    setup = opened(random_model)
    setup.policy.model.resize_token_embeddings(500)
    *before, last = run_policy_checks(setup)
    assert [found.name for found in before] == ["context", "template"]
    assert last.verdict == "error"
    assert last.message.startswith("tokens without a row: 12 tokens of the tokenizer ")
    assert "beyond the 500 rows of the model" in last.message
    assert last.message.endswith("; no check was made after this one")


def test_characters_that_a_tokenizer_does_not_know_are_counted(random_model, tmp_path):
    def few_words(whole):
        words = ["<|pad|>", "<|query|>", "<|end|>", "<unk>", "a", "the", "for"]
        whole["model"] = {"type": "WordLevel", "vocab": {w: at for at, w in enumerate(words)}, "unk_token": "<unk>"}
        whole["pre_tokenizer"] = {"type": "Whitespace"}

    folder = with_tokenizer(model(random_model, tmp_path / "model", tokenizer={"unk_token": "<unk>"}), few_words)
    found = check("tokens", folder)
    assert found.verdict == "error"
    assert "unknown characters: 24 of 24 have characters that the tokenizer does not know" in found.message


def test_a_parser_that_changes_the_query_is_named(random_model):
    found = check("answer_format", random_model, form={"type": "tests.recr1.doctor.policy.planted:Forgets"})
    assert found.verdict == "error"
    assert found.message.startswith("parser changes: ")
    assert found.numbers["parser_changes"] == found.numbers["written"] - 1  # one word is left as it is


def test_tags_that_the_tokenizer_drops_are_named(random_model, tmp_path):
    def special(whole):
        extra = {key: False for key in ("single_word", "lstrip", "rstrip", "normalized")}
        whole["added_tokens"].append({"id": 511, "content": "<query>", "special": True, **extra})

    folder = with_tokenizer(model(random_model, tmp_path / "model"), special)
    found = check("answer_format", folder, form={"type": "tag"}, max_new_tokens=64)
    assert found.verdict == "error"
    assert found.message.startswith("tokenizer changes: ")
    assert check("answer_format", random_model, form={"type": "tag"}, max_new_tokens=64).verdict == "ok"


class Operators(faults.Sound):
    capabilities = frozenset({"boolean"})


@pytest.mark.parametrize(("retriever", "verdict"), [(faults.Sound, "ok"), (Operators, "warning")])
def test_lost_capitals_matter_where_an_engine_has_operators(retriever, verdict, random_model):
    found = check("answer_format", random_model, retriever=retriever)
    assert (found.verdict, "case lost: " in found.message) == (verdict, True)


def test_an_answer_for_which_there_is_no_room_is_named(random_model):
    found = check("answer_format", random_model, form={"type": "json_answer"})
    assert found.verdict == "error"
    assert "no room: the shortest answer has " in found.message
    assert "longer needs: 24 of 24" in check("answer_format", random_model, max_new_tokens=7).message


def test_a_format_that_writes_no_queries_is_not_checked(random_model):
    found = check("answer_format", random_model, form={"type": "tests.recr1.doctor.policy.planted:Mute"})
    assert (found.verdict, found.message[:12]) == ("ok", "not checked:")
