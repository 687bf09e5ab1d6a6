"""The policy `transformers` on the shipped model and on a random one."""

import json

import pytest

from recr1.assets import shipped_model
from recr1.build import build, check_part
from recr1.errors import UserError
from recr1.policies.tokenizers import FALLBACK_CHAT_TEMPLATE
from recr1.policies.transformers import Transformers, save

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


def test_greedy_completions_do_not_depend_on_the_batch(shipped):
    together = shipped.generate(CHATS, 0)
    assert [len(texts) for texts in together] == [1, 1, 1]
    assert together == [shipped.generate([chat], 0)[0] for chat in CHATS]


def test_samples_differ_from_call_to_call_and_repeat_with_the_seed():
    first, again = (Transformers(model="tiny-shopper", max_new_tokens=8, seed=5) for _ in range(2))
    drawn = first.generate(CHATS, 6)
    assert [len(texts) for texts in drawn] == [6, 6, 6]
    assert drawn == again.generate(CHATS, 6)
    assert drawn != first.generate(CHATS, 6)


def test_sampling_leaves_the_random_numbers_of_training_alone(shipped):
    import torch

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    shipped.generate(CHATS, 2)
    assert torch.equal(torch.rand(3), expected)


def test_generating_leaves_the_model_in_the_mode_it_was_in(shipped):
    shipped.model.train()
    shipped.generate(CHATS[:1], 0)
    assert shipped.model.training
    shipped.model.eval()


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "./nowhere"}, "there is no folder './nowhere'; give a folder, a hub name or a shipped model"),
        ({"model": "tiny-shopper", "lora_rank": -1}, "must be 0 .* or more, got -1"),
        ({"model": "tiny-shopper", "temperature": 0.0}, "must be above 0"),
        ({"model": "tiny-shopper", "batch_size": 0}, "must be at least 1, got 0"),
        ({"model": "tiny-shopper", "max_new_tokens": 0}, "must be at least 1, got 0"),
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
    with pytest.raises(UserError, match=r"policy.model: cannot load"):
        Transformers(model=str(tmp_path))
