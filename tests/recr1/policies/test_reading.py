"""What is generated after prompts were read once is what is generated from each prompt alone."""

from __future__ import annotations

import pytest

from recr1.policies import cpu
from recr1.policies.prompts import prompt_ids
from recr1.policies.reading import PIECE, _prefix_first, generate_from_shared
from recr1.policies.transformers import Transformers

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PROMPTS = {
    "alike at first": [[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6, 7, 8, 4, 2, 1]],
    "one is the beginning of another": [[5, 6, 7], [5, 6, 7, 8]],
    "all the same": [[5, 6, 7], [5, 6, 7]],
    "nothing alike": [[5, 6], [6, 5, 4]],
    "single tokens": [[5], [5]],
    "one token, and the same as a longer one's first": [[5], [5, 6, 7]],
}


def padded(prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    return ids.repeat_interleave(2, 0), mask.repeat_interleave(2, 0)


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("sampled", [True, False])
def test_completions_are_those_of_generate(monkeypatch, name, large, sampled):
    monkeypatch.setattr(cpu, "LARGE", 1 if large else 10**9)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=1, **SIZES)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)  # so that what was read matters
    ids, mask = padded(PROMPTS[name])
    options = {"max_new_tokens": 6, "do_sample": sampled, "pad_token_id": 0, "eos_token_id": 50}  # none ends
    read = []
    hook = model.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    found = []
    for generate in (model.generate, lambda **given: generate_from_shared(model, model.generate, **given)):
        torch.manual_seed(0)
        read.clear()
        with torch.no_grad():
            found.append(generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :])
    hook.remove()
    assert found[0].tolist() == found[1].tolist()
    if name == "alike at first" and large:
        assert read[:2] == [3, 3 * (6 - 3)]  # the beginning once, then what is left of each but its last token


def test_the_beginning_comes_before_the_padding():
    ids, mask, start = _prefix_first(
        torch.tensor([[0, 0, 5, 6, 7], [5, 6, 1, 2, 3]]), torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    )
    assert start == 2
    assert ids[:, :2].tolist() == [[5, 6], [5, 6]]
    assert mask.tolist() == [[1, 1, 0, 0, 1], [1] * 5]
    assert ids[0, -1] == 7


@pytest.mark.parametrize("n", [0, 3])
def test_a_policy_with_a_large_vocabulary_writes_the_same_in_the_same_order(monkeypatch, n):
    texts = ("something to nap on, in wool", "a red sofa", "a fan", "what one hangs a coat on", "a red sofa")
    chats = [[{"role": "user", "content": text}] for text in texts]
    found = []
    for large in (cpu.LARGE, 1):
        monkeypatch.setattr(cpu, "LARGE", large)
        policy = Transformers(model="tiny-shopper", max_new_tokens=8, batch_size=2, seed=1)
        found.append((policy.generate(chats, n), policy.spent))
    assert found[0] == found[1]
    assert len({texts[0] for texts in found[0][0]}) > 2


@pytest.mark.parametrize("limit", [1, 4, 11])
@pytest.mark.parametrize("ends", [range(30, 50), range(1, 49), [0]])
def test_completions_that_ended_are_not_read_any_more(monkeypatch, limit, ends):
    monkeypatch.setattr(cpu, "LARGE", 1)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=1, **SIZES)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(30)
    prompts = [[one, *PROMPTS["alike at first"][0]] for one in range(1, 40)]
    ids, mask = padded([*prompts, *PROMPTS["alike at first"]])
    settings = transformers.GenerationConfig(max_new_tokens=limit, pad_token_id=0, eos_token_id=list(ends))
    read = []
    hook = model.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].shape[0]), with_kwargs=True
    )
    found = []
    for generate in (model.generate, lambda **given: generate_from_shared(model, model.generate, **given)):
        read.clear()
        with torch.no_grad():
            found.append(generate(input_ids=ids, attention_mask=mask, generation_config=settings))
    hook.remove()
    width = ids.shape[1]
    assert found[0][:, width:].tolist() == found[1][:, width:].tolist()
    before = (found[0].shape[1] - width - 1) // PIECE * PIECE
    ended = torch.isin(found[0][:, width : width + before], torch.tensor(list(ends))).any(1)
    assert read[-1] == (~ended).sum()


def plain_likelihood(policy, chat):
    """The mean log-probability of a greedy completion, by one forward pass over prompt and completion; its length."""
    _, output = policy.continued([chat], 0)
    whole, start = output[0].tolist(), len(prompt_ids(policy.tokenizer, [chat])[0])
    ends = [place for place in range(start, len(whole)) if whole[place] in policy._ends]
    whole = whole[: ends[0] + 1] if ends else whole
    with torch.inference_mode():
        logps = policy.model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    own = [logps[place - 1, whole[place]].item() for place in range(start, len(whole))]
    return sum(own) / len(own), len(own)


@pytest.mark.parametrize("limit", [1, 5, 12])
@pytest.mark.parametrize("large", [True, False])
def test_likelihoods_are_those_of_a_plain_pass_over_prompt_and_completion(monkeypatch, large, limit):
    texts = ("something to nap on, in wool", "a red sofa", "a fan", "red", "what one hangs a coat on in a small hall")
    chats = [[{"role": "user", "content": text}] for text in texts]
    if large:
        monkeypatch.setattr(cpu, "LARGE", 1)
    policy = Transformers(model="tiny-shopper", max_new_tokens=limit, batch_size=4)
    found = policy.greedy(chats)
    assert [[likely.text] for likely in found] == policy.generate(chats, 0)
    means, sizes = zip(*(plain_likelihood(policy, chat) for chat in chats), strict=True)
    assert [likely.likelihood for likely in found] == pytest.approx(means, abs=1e-4)
    assert limit < 12 or min(sizes) < PIECE < max(sizes)  # some leave the batch before others
