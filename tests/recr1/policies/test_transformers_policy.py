"""The policy `transformers` on the shipped model and on a random one."""

import json
import shutil

import pytest

from recr1.assets import shipped_model
from recr1.config.build import build, check_part
from recr1.errors import UserError
from recr1.policies import adapters
from recr1.policies.loading import load_tokenizer
from recr1.policies.prompts import FALLBACK_CHAT_TEMPLATE, FOLD_SYSTEM
from recr1.policies.sources import Source
from recr1.policies.transformers import Transformers, ends_of, save

CHATS = [[{"role": "user", "content": text}] for text in ("a red sofa", "something to nap on, in wool", "a fan")]


@pytest.fixture(scope="module")
def shipped():
    return Transformers(model="tiny-shopper", max_new_tokens=8, batch_size=2)


def test_the_shipped_policy_is_small_and_has_between_one_and_three_million_parameters(shipped):
    folder = shipped_model("tiny-shopper")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000
    assert 1_000_000 <= shipped.model.num_parameters() <= 3_000_000


def test_the_shipped_policy_says_words_for_what_is_asked(shipped):
    from recr1.tasks.shop.lexicon import load_lexicon

    concepts = load_lexicon().concepts
    red, sofa = (set(concepts[name].words) for name in ("color/red", "type/sofa"))
    query = shipped.generate(CHATS[:1], 0)[0][0].split()
    assert red & set(query)
    assert sofa & set(query)


def test_samples_differ_from_call_to_call_and_repeat_with_the_seed():
    first, again = (Transformers(model="tiny-shopper", max_new_tokens=8, seed=5) for _ in range(2))
    drawn = first.generate(CHATS, 6)
    assert [len(texts) for texts in drawn] == [6, 6, 6]
    assert drawn == again.generate(CHATS, 6)
    assert drawn != first.generate(CHATS, 6)


def test_a_tokenizer_without_chat_template_or_pad_token_gets_the_documented_ones(random_model, tmp_path):
    for path in random_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    policy = Transformers(model=str(tmp_path), max_new_tokens=2)
    assert policy.tokenizer.chat_template == FALLBACK_CHAT_TEMPLATE
    assert policy.tokenizer.pad_token == policy.tokenizer.eos_token
    rendered = policy.tokenizer.apply_chat_template(CHATS[0], tokenize=False, add_generation_prompt=True)
    assert rendered == "a red sofa\n"
    assert len(policy.generate(CHATS, 0)) == 3


def test_an_adapter_trains_few_weights_and_is_saved_merged(random_model, tmp_path):
    from transformers import AutoModelForCausalLM

    policy = Transformers(model=str(random_model), lora_rank=2, max_new_tokens=2)
    trainable = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    save(policy.model, policy.tokenizer, tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() > 0


def changed(model, folder, **config):
    """A copy of a model's folder, with some keys of its tokenizer's configuration set, or gone where they are None."""
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / "tokenizer_config.json"
    whole = {**json.loads(file.read_text()), **config}
    file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
    return folder


def test_a_base_model_that_begins_each_text_with_a_token_gets_it_before_a_chat_too(random_model, tmp_path):
    from tokenizers import processors

    tokenizer = Transformers(model=str(random_model)).tokenizer
    begin = tokenizer.convert_tokens_to_ids("<|query|>")
    tokenizer.bos_token, tokenizer.chat_template = "<|query|>", None
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|query|> $A", special_tokens=[("<|query|>", begin)]
    )
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(Source(str(tmp_path)), trust_remote_code=False)
    read = loaded.apply_chat_template(CHATS[0], tokenize=True, add_generation_prompt=True, return_dict=True)
    assert read["input_ids"].count(begin) == 1
    assert loaded.decode(read["input_ids"]).replace(" ", "") == "<|query|>aredsofa\n"


REFUSES = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
)


def test_where_a_template_refuses_system_messages_their_words_open_the_first_message(random_model, tmp_path):
    (changed(random_model, tmp_path) / "chat_template.jinja").write_text(REFUSES)
    policy = Transformers(model=str(tmp_path), max_new_tokens=2)
    chat = [{"role": "system", "content": "You know a shop."}, {"role": "user", "content": "a fan"}]
    shown = policy.tokenizer.apply_chat_template(chat, tokenize=False)
    assert shown == "<user>You know a shop.\n\na fan"
    assert policy.tokenizer.apply_chat_template(chat[1:], tokenize=False) == "<user>a fan"
    assert len(policy.generate([chat], 2)[0]) == 2


def test_a_template_that_takes_system_messages_stays_as_it_is(shipped):
    assert not shipped.tokenizer.chat_template.startswith(FOLD_SYSTEM)


def test_a_tokenizer_without_an_end_is_refused(random_model, tmp_path):
    changed(random_model, tmp_path, eos_token=None, pad_token=None)
    with pytest.raises(UserError, match=r"has no end token, so no completion could end; set eos_token"):
        Transformers(model=str(tmp_path))


def test_a_completion_ends_at_the_tokenizers_end_where_the_model_declares_none(shipped, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(shipped_model("tiny-shopper"))
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    save(model, shipped.tokenizer, tmp_path)
    silent = Transformers(model=str(tmp_path), max_new_tokens=8)
    assert silent.generate(CHATS, 0) == shipped.generate(CHATS, 0)


def test_what_ends_a_completion_is_what_trl_takes(shipped):
    end = shipped.tokenizer.eos_token_id
    for declared, ends in [(None, [end]), (end, [end]), (7, [end, 7]), ([7, end], [7, end])]:
        shipped.model.generation_config.eos_token_id = declared
        assert ends_of(shipped.model, shipped.tokenizer) == ends
    shipped.model.generation_config.eos_token_id = end


@pytest.mark.parametrize(
    "setting", [{"repetition_penalty": 1.5}, {"no_repeat_ngram_size": 1}, {"num_beams": 4}, {"min_p": 0.9}]
)
def test_generation_settings_of_a_checkpoint_change_neither_evaluation_nor_training(
    setting, random_model, tmp_path, caplog
):
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    plain, changed = (Transformers(model=str(where), max_new_tokens=12) for where in (random_model, folder))
    [(name, value)] = setting.items()
    assert f"not used of its generation_config: {name} {value}" in caplog.text
    for n in (0, 2):
        assert changed.generate(CHATS, n) == plain.generate(CHATS, n)
    save(changed.model, changed.tokenizer, tmp_path / "saved")
    assert name not in json.loads((tmp_path / "saved" / file.name).read_text())


def test_an_adapter_is_where_it_was_asked_for_as_it_was_asked_for(random_model):
    policy = Transformers(
        model=str(random_model), lora_rank=3, lora_alpha=9, lora_dropout=0.25, lora_targets=["v_proj"], use_dora=True
    )
    parts = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert len(parts) == 2 * 3  # in each of two layers: two thin matrices, and lengths
    assert all("v_proj" in name for name in parts)
    layer = policy.model.get_base_model().model.layers[0].self_attn.v_proj
    assert layer.lora_A["default"].weight.shape == (3, 32)
    assert layer.scaling["default"] == 9 / 3
    assert layer.lora_dropout["default"].p == 0.25


def test_layers_that_are_not_there_are_named_with_those_that_are(random_model):
    with pytest.raises(UserError, match=r"no linear layers 'qkv'; it has down_proj, gate_proj, k_proj"):
        Transformers(model=str(random_model), lora_rank=2, lora_targets=["q_proj", "qkv"])


def test_weights_of_four_bits_are_read_and_stay_in_their_order_after_an_evaluation(random_model):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="pip install 'recr1[qlora]'")
    policy = Transformers(model=str(random_model), load_in_4bit=True, max_new_tokens=2)
    layer = policy.model.model.layers[0].mlp.up_proj
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)

    def plain():
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)

    before = plain()
    policy.model.eval()
    policy.generate(CHATS, 0)
    assert (plain() == before).all()


def test_four_bits_are_for_adapters_in_training(random_model):
    options = {"type": "transformers", "model": "tiny-shopper", "load_in_4bit": True}
    assert check_part("policy", options, "policy") == []
    assert Transformers.check_training({"load_in_4bit": True})[0].startswith("load_in_4bit: 4-bit weights cannot")
    assert Transformers.check_training({"load_in_4bit": True, "lora_rank": 8}) == []


def test_a_library_that_is_not_there_is_named_with_the_option_that_needs_it(monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    lines = [str(missing) for missing in Transformers.missing_libraries({"lora_rank": 2, "load_in_4bit": True})]
    assert lines == [
        "policy.lora_rank needs the library 'peft'. Install it with: pip install 'recr1[train]'",
        "policy.load_in_4bit needs the library 'bitsandbytes'. Install it with: pip install 'recr1[qlora]'",
    ]
    assert Transformers.missing_libraries({"lora_rank": 0}) == []
    with pytest.raises(UserError, match="needs the library 'bitsandbytes'"):
        Transformers(model="tiny-shopper", load_in_4bit=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "./nowhere"}, "there is no folder './nowhere'; give a folder, a hub name or a shipped model"),
        ({"model": "tiny-shopper", "lora_rank": -1}, "lora_rank: must be an integer >= 0, got -1"),
        (
            {"model": "tiny-shopper", "lora_rank": 2, "lora_alpha": 0},
            "lora_alpha: must be an integer >= 1, or null, got 0",
        ),
        ({"model": "tiny-shopper", "lora_rank": 2, "lora_dropout": 1.0}, "lora_dropout: must be .* got 1.0"),
        ({"model": "tiny-shopper", "lora_rank": 2, "lora_targets": []}, "lora_targets: must be .*, got "),
        ({"model": "tiny-shopper", "lora_rank": 2, "lora_targets": ["lm_head"]}, "lm_head cannot have an adapter"),
        (
            {"model": "tiny-shopper", "lora_dropout": 0.1},
            "lora_dropout: has no effect without an adapter; set",
        ),
        ({"model": "tiny-shopper", "use_dora": True}, "use_dora: has no effect without an adapter; set lora_rank"),
        (
            {"model": "tiny-shopper", "load_in_4bit": True, "dtype": "float16"},
            "dtype: the range of float16 is too small",
        ),
        ({"model": "tiny-shopper", "temperature": 0.0}, "temperature: must be a number > 0, got 0"),
        ({"model": "tiny-shopper", "batch_size": 0}, "must be an integer >= 1, got 0"),
        ({"model": "tiny-shopper", "max_new_tokens": 0}, "must be an integer >= 1, got 0"),
    ],
)
def test_wrong_options_are_told_before_anything_loads(options, message):
    problems = check_part("policy", {"type": "transformers", **options}, "policy")
    assert len(problems) == 1
    with pytest.raises(UserError, match=message):
        build("policy", {"type": "transformers", **options})
    with pytest.raises(UserError, match=message):
        Transformers(**options)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"has no model, as there is no config.json in it: give the folder that save_pre"
    ):
        Transformers(model=str(tmp_path))
