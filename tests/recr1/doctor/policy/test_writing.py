"""Every fault of what a policy computes and writes is named by the check that is there for it."""

from __future__ import annotations

import pytest

from recr1.config.build import Part
from recr1.doctor.policy import POLICY_CHECKS, run_policy_checks
from recr1.doctor.policy.opened import Written, difference
from recr1.formats import SLOT
from tests.recr1.doctor.policy.planted import Says, model, opened


def grpo(**trl):
    return Part("grpo", {"steps": 1, "trl": trl})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_end_the_checks(value, random_model):
    setup = opened(random_model)
    next(setup.policy.model.parameters()).data[5, 3] = value
    *before, last = run_policy_checks(setup)
    assert [found.name for found in before] == ["context", "template", "tokens", "answer_format"]
    assert last.verdict == "error"
    assert last.message.startswith(
        "not finite: 1 of 23 tensors of the model hold nan or inf ('model.embed_tokens.weight')"
    )
    assert last.message.endswith("; no check was made after this one")


def test_scores_that_overflow_are_named(random_model):
    setup = opened(random_model)
    setup.policy.model.lm_head.weight.data.fill_(3e38)
    found = POLICY_CHECKS["finite"](setup)
    assert (found.verdict, found.message[:48]) == ("error", "not finite: the scores of the next token are nan")


@pytest.mark.parametrize(
    ("dtype", "rate", "verdict"),
    [("bfloat16", 1e-6, "warning"), ("bfloat16", 1.0, "ok"), ("float32", 1e-6, "ok"), ("float16", 1e-6, "warning")],
)
def test_steps_that_half_precision_loses_are_counted(dtype, rate, verdict, random_model):
    found = POLICY_CHECKS["finite"](opened(random_model, dtype=dtype, stages=[grpo(learning_rate=rate)]))
    assert found.verdict == verdict
    assert found.message.startswith(
        f"small steps lost: in {dtype}, a step of 1e-06, " if verdict == "warning" else "weights"
    )
    assert found.numbers["trained"] == [dtype]


@pytest.mark.slow
def test_a_learning_rate_that_a_recipe_leaves_out_is_trls(random_model):
    found = POLICY_CHECKS["finite"](opened(random_model, dtype="bfloat16", stages=[grpo()]))
    assert "a step of 1e-06, the learning rate of grpo, leaves 9" in found.message


def padded(side, *, masked):
    """Prompts in a batch as tokenizers pad them: on this side, and with a mask that leaves padding out, or not."""
    import torch

    from recr1.policies.prompts import prompt_ids

    def tensors(tokenizer, chats, device):
        ids = prompt_ids(tokenizer, chats)
        width = max(map(len, ids))
        pads = [[tokenizer.pad_token_id] * (width - len(row)) for row in ids]
        rows = [row + pad if side == "right" else pad + row for row, pad in zip(ids, pads, strict=True)]
        mask = torch.ones(len(ids), width, dtype=torch.long)
        for at, row in enumerate(ids):
            if masked:
                mask[at, slice(len(row), None) if side == "right" else slice(0, width - len(row))] = 0
        return torch.tensor(rows, device=device), mask.to(device)

    return tensors


@pytest.mark.parametrize(
    ("side", "masked", "verdict"), [("right", True, "error"), ("left", False, "error"), ("left", True, "ok")]
)
def test_a_batch_that_reads_padding_is_named(side, masked, verdict, random_model, monkeypatch):
    monkeypatch.setattr("recr1.policies.transformers.prompt_tensors", padded(side, masked=masked))
    found = POLICY_CHECKS["batch"](opened(random_model))
    assert found.verdict == verdict
    assert found.message.startswith(
        "batch changes: in a batch of 8 prompts of " if verdict == "error" else "8 prompts of "
    )
    assert len(set(found.numbers["lengths"])) > 4
    assert (found.numbers["difference"] > found.numbers["tolerance"]) == (verdict == "error")


def written(*rows):
    import torch

    return Written([row.index(max(row)) for row in rows], torch.tensor(rows).log())


def test_near_ties_are_told_from_other_log_probabilities():
    one, near, far = written([0.5, 0.4999, 0.0001]), written([0.4999, 0.5, 0.0001]), written([0.1, 0.8, 0.1])
    assert difference([one], [one]) == (0, 0)
    apart, flips = difference([one], [near])
    assert (apart < 1e-3, flips) == (True, 1)
    apart, flips = difference([one], [far])
    assert (apart > 0.4, flips) == (True, 1)


def test_nothing_is_compared_after_the_first_other_token():
    one = written([0.6, 0.4], [0.9, 0.1])
    assert difference([one], [written([0.4, 0.6], [0.1, 0.9])])[0] == pytest.approx(0.405, abs=1e-3)


def test_a_completion_that_ends_where_another_one_continues_is_no_tie():
    assert difference([written([0.6, 0.4])], [written([0.6, 0.4], [0.6, 0.4])]) == (float("inf"), 1)


def test_a_number_that_is_not_one_is_a_difference():
    assert difference([written([0.6, 0.4])], [Written([0], written([0.6, 0.4]).logps_TV * float("nan"))])[0] == float(
        "inf"
    )


def need_of(chat, prompt):
    before, _, after = prompt.partition(SLOT)
    return chat[-1]["content"].removeprefix(before).removesuffix(after)


def judged(folder, line, *, form=None, stages=(), **options):
    setup = opened(folder, form=form, stages=stages)
    prompt = setup.setup.env.format.prompt
    vars(setup)["policy"] = Says(setup.policy, lambda chat, at: line(need_of(chat, prompt), at), **options)
    return POLICY_CHECKS["completions"](setup)


VARIED = ("a red lamp", "blue tent", "chair", "mug")


def test_a_policy_that_writes_varied_queries_and_ends_is_not_blamed(random_model):
    found = judged(random_model, lambda need, at: VARIED[at])
    assert found.verdict == "ok"
    assert found.numbers["sampled at 1"] == {"queries": 1, "end": 1, "copy": 0, "groups all the same": 0}
    assert found.message.startswith("of 16 needs, greedy: 100% queries, 100% end, 0% copy; sampled at 1: ")
    assert found.shown.splitlines()[1] == "greedy: ' a red lamp'"


@pytest.mark.parametrize(
    ("name", "verdict", "line", "options"),
    [
        ("copied needs", "warning", lambda need, at: (need.upper(), f"{need}!", need, f"{need}?")[at % 4], {}),
        ("equal groups", "warning", lambda need, at: f"{need} tent", {}),
        ("few ends", "warning", lambda need, at: VARIED[at], {"ends": False}),
        ("few queries", "warning", lambda need, at: VARIED[at] + "</query>", {"form": {"type": "tag"}, "some": True}),
        ("few queries", "error", lambda need, at: VARIED[at], {"form": {"type": "tag"}}),
    ],
)
def test_a_policy_with_a_fault_is_named(name, verdict, line, options, random_model):
    if options.pop("some", False):
        whole = line
        line = lambda need, at: ("<query>" if at == 0 else "") + whole(need, at)  # noqa: E731
    found = judged(random_model, line, **options)
    assert found.verdict == verdict
    assert f"{name}: " in found.message


def test_a_stage_of_sft_may_begin_without_any_query(random_model):
    sft = Part("sft", {"steps": 1, "pairs": {"type": "shopper", "count": 4}})
    found = judged(random_model, lambda need, at: VARIED[at], form={"type": "tag"}, stages=[sft, grpo()])
    assert found.verdict == "warning"
    assert "the stage sft has to teach the format" in found.message
    assert "no <query> tag" in found.shown


def test_a_random_model_does_not_end(random_model):
    found = POLICY_CHECKS["completions"](opened(random_model))
    assert (found.verdict, "few ends: " in found.message) == ("warning", True)


def test_samples_are_drawn_at_the_temperatures_of_evaluation_and_training(random_model):
    found = POLICY_CHECKS["completions"](opened(random_model, temperature=0.5, stages=[grpo(temperature=1e-05)]))
    assert list(found.numbers)[:3] == ["greedy", "sampled at 0.5", "sampled at 1e-05"]
    assert found.numbers["sampled at 0.5"]["groups all the same"] == 0
    assert found.numbers["sampled at 1e-05"]["groups all the same"] > 0


def test_the_tiny_shopper_writes_queries_that_end():
    found = POLICY_CHECKS["completions"](opened("tiny-shopper", form={"type": "plain", "prompt": "{need}"}))
    assert found.verdict == "ok"
    assert found.numbers["sampled at 1"]["end"] > 0.9


def test_a_policy_that_is_no_model_gets_one_line(random_model):
    setup = opened(model(random_model, random_model.parent / "unused"))
    other = type(setup)(setup.setup, type(setup.recipe)(**{**vars(setup.recipe), "policy": Part("echo")}))
    (found,) = run_policy_checks(other)
    assert (found.name, found.verdict) == ("policy", "warning")
    assert found.message == "not checked: policy.type 'echo' is not a model of transformers, which --policy is about"
