"""Models in memory: shared within `model_cache`, not outside, never between different options, dropped when unused."""

from __future__ import annotations

import gc
import weakref

import pytest

from recr1.baselines.best_of import BestOf
from recr1.baselines.prompting import FewShot
from recr1.compare.policies import PolicyLoader
from recr1.config.build import Part
from recr1.policies.model_cache import ModelKey, cached, model_cache, models_of
from recr1.policies.sources import place_of
from recr1.policies.transformers import Transformers

TINY = "tiny-shopper"
SPEC = {"type": "transformers", "model": TINY, "max_new_tokens": 4}
CHATS = [[{"role": "user", "content": "a red lamp for my desk"}]]


def test_policies_of_the_same_weights_share_them_and_write_as_they_would_alone():
    alone = Transformers(model=TINY, max_new_tokens=4)
    with model_cache():
        one, two = Transformers(model=TINY, max_new_tokens=4), Transformers(model=TINY, max_new_tokens=8, seed=3)
        nested = BestOf(policy=SPEC)._policy, FewShot(policy=SPEC)._policy
    assert all(policy.model is one.model and policy.tokenizer is one.tokenizer for policy in (two, *nested))
    assert alone.model is not one.model
    assert [two.max_new_tokens, one.max_new_tokens] == [8, 4]
    assert one.generate(CHATS, 0) == alone.generate(CHATS, 0)
    assert one.generate(CHATS, 3) == alone.generate(CHATS, 3)


def test_nothing_is_shared_outside():
    with model_cache():
        one = Transformers(model=TINY)
    assert Transformers(model=TINY).model is not one.model


def test_tokens_are_counted_for_each_policy():
    with model_cache():
        one, two = Transformers(model=TINY, max_new_tokens=4), Transformers(model=TINY, max_new_tokens=4)
    one.generate(CHATS, 0)
    assert one.spent.written > 0 and two.spent.written == 0


def test_weights_of_another_precision_or_with_an_adapter_are_others():
    with model_cache():
        plain, half = Transformers(model=TINY), Transformers(model=TINY, dtype="bfloat16")
        adapted, again = (Transformers(model=TINY, lora_rank=2, lora_targets=["q_proj"]) for _ in range(2))
        other = Transformers(model=TINY, lora_rank=2, lora_targets=["k_proj"])
    assert len({id(policy.model) for policy in (plain, half, adapted, other)}) == 4
    assert adapted.model is again.model
    assert not any("lora" in name for name, _ in plain.model.named_parameters())


def test_a_folder_is_the_same_however_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert place_of("model") == place_of("./model") == place_of(str(tmp_path / "model")) != place_of("org/model")
    assert place_of(TINY) == place_of(place_of(TINY))


def test_what_nobody_asks_for_any_more_is_let_go():
    class Model:
        pass

    key = ModelKey(place_of("org/model"), "float32")
    with model_cache() as cache:
        held = weakref.ref(cached(key, Model))
        cache.keep_only(["org/model", "other"])
        assert cached(key, Model) is held()
        cache.keep_only(["other"])
    gc.collect()
    assert held() is None


def test_the_models_of_a_policy_are_those_within_it_too():
    assert models_of({"policy": {"type": "few_shot", "policy": SPEC, "model": "a"}, "model": "b"}) == {"a", "b", TINY}
    assert models_of({"model": None, "n": 3}) == set()


def test_a_comparison_keeps_a_model_until_its_last_policy_is_loaded():
    parts = [Part("transformers", {"model": TINY}), Part("best_of", {"policy": SPEC}), Part("echo")]
    with model_cache() as cache:
        load = PolicyLoader(parts, cache)
        one, two = load(parts[0], "one"), load(parts[1], "two")
        assert two._policy.model is one.model and len(cache) == 1
        load(parts[2], "three")
        assert cache == {}


def test_weights_are_given_back_after_an_error():
    with pytest.raises(KeyError), model_cache():
        raise KeyError("x")
    assert Transformers(model=TINY).model is not Transformers(model=TINY).model
