"""Log-probabilities and gradients of packed pairs are those of a padded row for each pair."""

from __future__ import annotations

import pytest

from recr1.trainers.layers.packed_pairs import packed
from recr1.trainers.layers.rows import ROW
from tests.recr1.trainers.layers.test_shared_prompts import CONFIGS, model_of

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")
trl = pytest.importorskip("trl.trainer.utils", reason="pip install 'recr1[train]'")
sft = pytest.importorskip("trl.trainer.sft_trainer", reason="pip install 'recr1[train]'")


def pairs_of(*lengths, begin=3, seed=0):
    """Pairs of prompts and answers with these lengths; the prompts begin with the same tokens."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(1, 50, (sum(each),), generator=generator).tolist() for each in lengths]
    for ids in drawn[1:]:
        ids[:begin] = drawn[0][:begin]
    return [
        {"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]}
        for ids, (prompt, _) in zip(drawn, lengths, strict=True)
    ]


def taught(model, batch):
    """The log-probabilities of the labels in their order, and the gradient of their sum."""
    model.zero_grad()
    batch.pop("tokens", None)
    out = model(**batch, fused_lm_head=True)
    logps = out.log_probs[out.label_mask]
    (logps.sum() + 0.1 * out.entropy.sum()).backward()
    return logps.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("lengths", "begin"),
    [
        ([(5, 2), (9, 4), (4, 7)], 3),
        ([(5, 2)], 3),
        ([(3, 2), (3, 4)], 3),  # the same prompt
        ([(5, 2), (6, 3)], 0),
        ([(1, 2), (6, 3)], 1),  # a prompt of one token
        ([(0, 3), (4, 2), (0, 5)], 0),  # no prompt
        ([(50, 9)] * 5 + [(ROW + 9, 3), (20, 4)], 11),  # more than a row holds
    ],
)
def test_numbers_and_gradients_are_those_of_a_padded_row_for_each(name, lengths, begin):
    model, pairs = model_of(CONFIGS[name]()), pairs_of(*lengths, begin=begin)
    trl.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    padded = sft.DataCollatorForLanguageModeling(pad_token_id=0)(pairs)
    batch = packed(pairs)
    assert batch["tokens"] == padded["attention_mask"].sum()
    assert batch["input_ids"].numel() <= padded["input_ids"].numel()
    for one, other in zip(taught(model, padded), taught(model, batch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_all_begin_with_stands_once_in_a_row_and_nothing_is_padded_between_pairs():
    batch = packed(pairs_of((5, 2), (9, 4), (4, 7)))
    assert batch["input_ids"].shape == (1, 3 + (3 + 9 + 7) + 1)  # nothing is predicted from the last token of a pair
    assert batch["position_ids"].tolist() == [[*range(6), *range(3, 12), *range(3, 10), 0]]
