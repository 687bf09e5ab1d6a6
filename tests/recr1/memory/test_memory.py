"""What training needs, from the config alone: counted as the real thing counts, and term by term by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from recr1.cli import main as cli
from recr1.config.build import EvaluationSpec, Part
from recr1.config.shipped import shipped_recipes
from recr1.errors import UserError
from recr1.memory.estimate import GB, estimate, saved
from recr1.memory.load import Load, Shape, load_of, shape_of
from recr1.memory.sharding import Sharding, sharding_of
from recr1.policies.sources import Source
from recr1.recipe import load_recipe

# 1,000 weights: 400 of an embedding that is the output layer too, and two layers of 8 wide.
SHAPE = Shape(
    1000,
    {"q_proj": 100, "up_proj": 200},
    600,
    layers=2,
    hidden=8,
    inner=16,
    queries=8,
    keys=4,
    vocabulary=50,
    tied=True,
    dtype="bfloat16",
)
SMALL = ["task.items=200", "task.train=20", "task.validation=5", "task.test=5"]
QWEN = {
    "0.5B": (896, 24, 14, 2, 4864, 151936, True),
    "1.5B": (1536, 28, 12, 2, 8960, 151936, True),
    "3B": (2048, 36, 16, 2, 11008, 151936, True),
    "7B": (3584, 28, 28, 4, 18944, 152064, False),
}
"""Width, layers, heads, those of keys, inner width, vocabulary and whether the output is tied, of Qwen2.5-Instruct."""


def load(**changes):
    """Four of eight completions at a time, 6 + 10 tokens, all weights in full precision, on a GPU."""
    plain = Load(
        gpu=True,
        rows=8,
        micro=4,
        group=1,
        validated=2,
        prompt=6,
        new=10,
        accumulates=True,
        recompute=False,
        reference=False,
        critic=False,
        trained=1000,
        trained_bytes=4,
        adapter=False,
        in_4bit=False,
        weight_bytes=4,
        copied=False,
        compute_bytes=4,
        moments=2,
        moment_bytes=4,
        sampled=3,
        vllm_share=0.0,
        vllm_sleeps=False,
    )
    return replace(plain, **changes)


def size_of(found, name):
    """The largest size of a term over all phases; 0 without it."""
    return max(terms[name].size if name in terms else 0.0 for terms in (found.always, *found.phases.values()))


def sizes(*names, shape=SHAPE, sharding=None, available=0.0, **changes):
    found = estimate(shape, load(**changes), sharding, available=available)
    return [size_of(found, name) for name in names]


def qwen(folder, size):
    transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")
    width, layers, heads, keys, inner, words, tied = QWEN[size]
    config = transformers.Qwen2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        intermediate_size=inner,
        vocab_size=words,
        tie_word_embeddings=tied,
        dtype="bfloat16",
    )
    config.save_pretrained(folder / size)
    return shape_of(Source(str(folder / size)))


# What a model is.


def test_parameters_are_those_of_the_model(random_model):
    import transformers

    shape = shape_of(Source(str(random_model)))
    model = transformers.AutoModelForCausalLM.from_pretrained(random_model)
    assert shape.parameters == model.num_parameters()
    assert (shape.layers, shape.hidden, shape.inner, shape.vocabulary) == (2, 32, 48, model.config.vocab_size)
    assert shape.keys == 32
    assert shape.trunk == model.model.num_parameters()


def test_a_config_alone_says_the_published_number_of_parameters(tmp_path):
    # As the model cards say: 0.49, 1.54, 3.09 and 7.61 billion.
    assert [round(qwen(tmp_path, size).parameters / 1e9, 2) for size in QWEN] == [0.49, 1.54, 3.09, 7.62]


def test_a_token_of_a_mixture_goes_through_the_experts_that_it_asks(tmp_path):
    transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    more = {"num_experts": 4, "num_experts_per_tok": 3, "moe_intermediate_size": 5, "vocab_size": 10}
    transformers.Qwen3MoeConfig(**sizes, **more).save_pretrained(tmp_path)
    assert shape_of(Source(str(tmp_path))).inner == 15


def test_a_model_without_a_config_is_refused():
    with pytest.raises(UserError, match=r"policy\.model: cannot read the config of"):
        shape_of(Source("/nowhere/at/all"))


@pytest.mark.slow
def test_an_adapter_has_the_parameters_that_peft_gives_it(random_model):
    peft = pytest.importorskip("peft", reason="pip install 'recr1[train]'")
    import transformers

    shape = shape_of(Source(str(random_model)))
    for targets, named in (("all-linear", None), (["q_proj", "up_proj"], ["q_proj", "up_proj"])):
        model = transformers.AutoModelForCausalLM.from_pretrained(random_model)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        policy = Part("transformers", {"lora_rank": 4, "lora_targets": named})
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert load_of(policy, Part("grpo"), shape, 7, gpu=False).trained == trained


# What autograd keeps.


def kept_by_autograd(model, *, half):
    """Bytes that a pass over 2 x 32 tokens keeps, without weights."""
    import torch

    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor, tensor.shape)  # held, so that no place is used twice
        return tensor

    ids, mask = torch.randint(0, 50, (2, 32)), torch.ones(2, 32, dtype=torch.long)
    mask[0, :3] = 0  # a shorter prompt, as in any batch
    trunk = model.get_base_model().base_model if hasattr(model, "peft_config") else model.base_model
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        trunk(input_ids=ids, attention_mask=mask, use_cache=False)
    # Copies of weights, which a term of their own counts, have no place of a token in their shapes.
    return sum(size for size, _, shape in kept.values() if {32, 64} & set(shape[:-1]))


@pytest.mark.parametrize(
    ("dtype", "half", "rank"),
    [
        ("float32", False, 0),
        ("float32", True, 0),
        ("bfloat16", True, 0),
        pytest.param("float32", False, 2, marks=pytest.mark.slow),
        pytest.param("bfloat16", True, 2, marks=pytest.mark.slow),
    ],
)
def test_activations_are_what_autograd_keeps_of_a_token(tmp_path, dtype, half, rank):
    transformers = pytest.importorskip("transformers", reason="pip install 'recr1[train]'")
    import torch

    width = {"hidden_size": 120, "intermediate_size": 352, "num_attention_heads": 4, "num_key_value_heads": 2}
    counted = []
    for layers in (1, 3):
        config = transformers.Qwen2Config(**width, num_hidden_layers=layers, vocab_size=50)
        config.save_pretrained(tmp_path)
        model = transformers.AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype)).train()
        if rank:
            peft = pytest.importorskip("peft", reason="pip install 'recr1[train]'")
            adapter = peft.LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
            model = peft.get_peft_model(model, adapter)
        counted.append(kept_by_autograd(model, half=half))
    a_token_and_layer = (counted[1] - counted[0]) / 2 / 64
    each = 4 if dtype == "float32" else 2
    formula = saved(
        shape_of(Source(str(tmp_path))), load(weight_bytes=each, compute_bytes=2 if half else 4, adapter=bool(rank))
    )
    assert 0.95 < formula / a_token_and_layer < 1.03  # what is left out is small: masks, an adapter's inner numbers


# What is added up.


def test_full_training_holds_four_copies_of_the_weights():
    assert sizes("weights", "gradients", "optimizer", "reference") == [4000, 4000, 8000, 0]
    assert sizes("reference", reference=True) == [4000]
    assert sizes("optimizer", moment_bytes=1) == [2000]
    assert sizes("optimizer", moments=0) == [0]


def test_a_critic_of_its_own_is_a_trunk_with_gradients_and_optimizer():
    assert sizes("critic", critic=True) == [16_000]
    untied = SHAPE._replace(tied=False)  # then 400 of the weights are an output layer, which a critic has not
    assert sizes("critic", critic=True, shape=untied) == [16 * 600]


def test_an_adapter_is_all_that_has_gradients_and_optimizer():
    lora = {"adapter": True, "trained": 600, "weight_bytes": 2, "compute_bytes": 2}
    names = ("weights", "adapter", "gradients", "optimizer", "output layer")
    assert sizes(*names, **lora) == [2000, 2400, 2400, 4800, 0]


def test_weights_of_4_bits_leave_the_embedding_whole():
    # 600 in 4 bits, with a byte of scale for 64, and 4 bytes for 256 scales; 400 of 2 bytes.
    held = 600 * (0.5 + 1 / 64 + 4 / (64 * 256)) + 400 * 2
    assert sizes("weights", in_4bit=True, adapter=True, weight_bytes=2, compute_bytes=2) == [pytest.approx(held)]


def test_weights_that_are_cast_are_there_twice():
    assert sizes("weights, cast", compute_bytes=2) == [2 * 600]
    assert sizes("weights, cast") == [0]
    assert sizes("weights, cast", compute_bytes=2, adapter=True) == [0]


def test_the_cache_keeps_keys_and_values_of_each_token_and_layer():
    # 8 rows of 16 tokens, two layers and one that grows, 4 numbers each of keys and values, 4 bytes.
    assert sizes("KV cache") == [8 * 16 * 3 * 2 * 4 * 4]
    assert sizes("logits of a token") == [3 * 8 * 50 * 4]
    assert sizes("KV cache", rows=0) == [2 * 16 * 3 * 2 * 4 * 4]  # a validation's


def test_vllm_takes_its_share_always_or_while_it_generates():
    inside = estimate(SHAPE, load(vllm_share=0.3), available=1e6)
    assert all(terms["vLLM"].size == 3e5 for terms in inside.phases.values())
    sleeps = estimate(SHAPE, load(vllm_share=0.3, vllm_sleeps=True), available=1e6)
    assert [name for name, terms in sleeps.phases.items() if "vLLM" in terms] == ["generation"]


def test_an_update_holds_the_logits_of_a_tile_and_no_more():
    # 40 tokens of completions by 32,768 words of 4 bytes, the states of 40 tokens, and the weights of the tile.
    states = 40 * 8 * (4 + 2 * 4) + 32768 * 8 * 4
    assert sizes("logits") == [40 * 32768 * 4 + states]
    long = {"micro": 4, "new": 100_000}
    states = 400_000 * 8 * (4 + 2 * 4) + 32768 * 8 * 4
    assert sizes("logits", **long) == [4096 * 32768 * 4 + states]


def test_recomputing_keeps_the_inputs_of_layers_and_one_layer():
    token = 8 * 4 * (2 + 2 + 2) + 4 * 4 * 8 + 4 * 4 * 16
    through = 2 * 4 * 8 + (3 * 16 + 8) * 4
    assert sizes("activations", "one layer") == [64 * token * 2, 64 * through]
    assert sizes("activations", "one layer", recompute=True) == [64 * 8 * 4 * 2, 64 * (token + through)]


def test_prompts_that_are_shared_are_read_once_for_their_group():
    apart, shared = estimate(SHAPE, load(gpu=False, rows=4)), estimate(SHAPE, load(gpu=False, rows=4, group=4))
    # 4 rows of 16 tokens, or one prompt less its last token, and four times that token and ten.
    assert size_of(apart, "activations") / size_of(shared, "activations") == pytest.approx(64 / (5 + 4 * 11))


def test_micro_batches_take_a_group_apart():
    # 8 rows of two prompts: 4 at a time are 2 of each prompt, or up to 4, and all rows are as long as the longest.
    spread = estimate(SHAPE, load(gpu=False, rows=8, group=4))
    assert "98 tokens" in spread.phases["update, layers"]["activations"].note
    assert 2 * (5 + 4 * 11) == 98


def test_the_peak_is_what_is_held_and_the_hungriest_phase():
    found = estimate(SHAPE, load())
    held = sum(term.size for term in found.always.values())
    assert held == 1e9 + 4000 + 8000
    assert found.phase == "update, output layer"
    assert found.peak == held + sum(sizes("gradients", "activations", "logits", "output layer"))
    many = estimate(SHAPE, load(rows=100_000))
    assert many.phase == "generation"
    assert many.peak == held + sum(size_of(many, name) for name in ("KV cache", "prompts", "logits of a token"))


def test_gradients_wait_only_for_another_micro_batch():
    at_output = estimate(SHAPE, load(accumulates=False)).phases["update, output layer"]
    assert "gradients" not in at_output


def test_on_a_cpu_a_heap_keeps_of_what_a_pass_writes_and_a_policy_is_copied_to_be_written():
    token = 8 * 4 * (2 + 2 + 2) + 4 * 4 * 8 + 4 * 4 * 16
    assert sizes("heap", "policy, written", gpu=False) == [0.5 * 64 * token * 2, 4000]
    assert sizes("heap", "policy, written") == [0, 0]
    token -= 2 * 4 * 8  # an adapter's norms learn nothing
    lora = {"adapter": True, "trained": 600}
    assert sizes("heap", "policy, written", gpu=False, **lora) == [64 * token * 2, 2400]


# How processes divide it.


@pytest.mark.parametrize(
    ("shard", "weights", "gradients", "optimizer"),
    [
        ("none", 4000, 4000, 8000),
        ("zero2", 2000, 1000, 3000),  # 2 bytes, and in four pieces gradients of 4, a master copy and two moments
        ("zero3", 500, 1000, 3000),
        ("fsdp2", 1000, 1000, 2000),
    ],
)
def test_processes_divide_what_their_kind_divides(shard, weights, gradients, optimizer):
    names = ("weights", "gradients", "optimizer")
    assert sizes(*names, sharding=Sharding(4, shard), weight_bytes=4) == [weights, gradients, optimizer]


def test_what_is_in_pieces_was_whole_when_it_was_loaded_and_is_gathered_to_generate():
    assert sizes("weights, whole", "weights, gathered", sharding=Sharding(4, "zero3")) == [3000, 2000]
    assert sizes("weights, whole", "weights, gathered", sharding=Sharding(4)) == [0, 0]


def test_processes_send_gradients():
    assert sizes("buckets", sharding=Sharding(4)) == [4000]
    assert sizes("buckets") == [0]
    assert sizes("buckets", sharding=Sharding(4, "zero3")) == [2 * 1000 + 2 * 1000]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((None, None, None), Sharding(1, "none")),
        (("launch/ddp", None, None), Sharding(8, "none")),
        (("launch/zero3", None, None), Sharding(8, "zero3")),
        (("launch/zero2", 4, None), Sharding(4, "zero2")),
        (("launch/fsdp2", None, None), Sharding(8, "fsdp2")),
        (("launch/zero3_nodes", None, None), Sharding(16, "zero3")),
        ((None, 4, "zero3"), Sharding(4, "zero3")),
        (("launch/zero3", None, "none"), Sharding(8, "none")),
    ],
)
def test_a_launch_is_what_its_configuration_says_and_what_overrides_it(said, expected):
    assert sharding_of(*said) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_processes: 2\n", "no distributed_type"),
        ("distributed_type: MULTI_GPU\nnum_processes: none\n", r"must be an integer >= 1, got 'none'"),
        ("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 1}\n", r"zero_stage: must be 2 or 3 .* got 1"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}\n", r"fsdp_version: must be 2 .* got 1"),
    ],
)
def test_a_configuration_that_is_not_reckoned_with_is_refused(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        sharding_of(str(tmp_path / "mine.yaml"), None, None)


def test_an_absent_configuration_is_refused_with_those_that_ship():
    with pytest.raises(UserError, match=r"--launch: no file and no shipped configuration 'zero4'.*launch/zero3"):
        sharding_of("zero4", None, None)
    with pytest.raises(UserError, match=r"--shard zero3 needs several processes"):
        sharding_of(None, None, "zero3")


# What a recipe says.


@pytest.mark.parametrize(
    ("policy", "trainer", "gpu", "expected"),
    [
        ({}, {}, True, {"weight_bytes": 4, "compute_bytes": 2, "recompute": True, "moments": 2, "rows": 8, "new": 128}),
        ({}, {}, False, {"weight_bytes": 4, "compute_bytes": 4, "recompute": False, "accumulates": False}),
        ({"lora_rank": 8}, {"beta": 0.1}, True, {"weight_bytes": 2, "trained": 2400, "reference": False}),
        ({"lora_rank": 8, "lora_targets": ["q_proj"]}, {}, True, {"trained": 800, "trained_bytes": 4}),
        ({"lora_rank": 8, "load_in_4bit": True}, {}, True, {"in_4bit": True, "weight_bytes": 2, "trained_bytes": 4}),
        ({"dtype": "bfloat16"}, {"beta": 0.1}, True, {"weight_bytes": 2, "moment_bytes": 2, "reference": True}),
        ({}, {"optim": "paged_adamw_8bit"}, True, {"moment_bytes": 1}),
        ({}, {"optim": "sgd"}, True, {"moments": 0}),
        ({}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 16}, True, {"micro": 4, "rows": 64}),
        ({}, {"use_vllm": True}, True, {"vllm_share": 0.3, "rows": 8}),
        ({}, {"use_vllm": True, "vllm_mode": "server"}, True, {"vllm_share": 0.0, "rows": 0}),
        ({}, {"top_p": 0.9, "temperature": 0.7}, True, {"sampled": 9}),
    ],
)
def test_what_a_recipe_does_not_say_is_what_the_trainer_takes(policy, trainer, gpu, expected):
    found = load_of(Part("transformers", policy), Part("grpo", {"trl": trainer}), SHAPE, 7, gpu=gpu)
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_validation_reads_no_more_than_its_needs():
    evaluation = EvaluationSpec(needs=5)
    found = load_of(Part("transformers"), Part("grpo"), SHAPE, 7, gpu=True, evaluation=evaluation)
    assert (found.validated, load_of(Part("transformers"), Part("grpo"), SHAPE, 7, gpu=True).validated) == (5, 64)


def test_rloo_has_a_reference_by_default_ppo_a_critic_by_option_and_sft_generates_nothing():
    policy = Part("transformers")
    assert load_of(policy, Part("rloo"), SHAPE, 7, gpu=False).reference
    critics = [Part("ppo", {"critic": kind}) for kind in ("model", "head")]
    assert [load_of(policy, trainer, SHAPE, 7, gpu=False).critic for trainer in critics] == [True, False]
    assert load_of(policy, Part("sft"), SHAPE, 7, gpu=False).rows == 0


# What the command says.


def test_the_command_says_each_term_and_whether_it_fits(capsys):
    assert cli.run(["check", "quickstart", *SMALL, "--memory"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^  weights +\d+\.\d\d MB  1,090,432 of 4 bytes$", said, re.MULTILINE)
    assert said.endswith("\nit fits\n")


def test_the_command_says_what_would_help_and_by_how_much(capsys):
    assert cli.run(["check", "quickstart", *SMALL, "--gpu-gb", "0.5"]) == 0
    verdict, *helps = capsys.readouterr().out.partition("it will not fit")[1:][1].splitlines()
    assert verdict == ""
    assert any(
        re.match(r"  trainer\.trl\.per_device_train_batch_size=64 alone, which halves the step: \d\.\d\d GB$", line)
        for line in helps
    )
    gains = [float(re.search(r": (\d+\.\d+) GB", line)[1]) for line in helps]
    assert gains == sorted(gains)


def test_a_share_of_vllm_below_the_weights_is_said(capsys):
    said = ["trainer.trl.use_vllm=true", "trainer.trl.vllm_gpu_memory_utilization=0.0001"]
    assert cli.run(["check", "quickstart", *SMALL, *said, "--gpu-gb", "4"]) == 0
    assert "vLLM will not fit: its share is 0.40 MB, and the weights alone need 2.18 MB" in capsys.readouterr().out


def test_processes_are_reckoned_with(capsys):
    assert cli.run(["check", "quickstart", *SMALL, "--gpu-gb", "24", "--launch", "launch/zero3"]) == 0
    said = capsys.readouterr().out
    assert "1,090,432 of 2 bytes in 8 shards" in said and "in each of 8 processes" in said


def test_a_recipe_that_trains_nothing_has_no_estimate(capsys):
    assert cli.run(["check", "toy/echo", "--memory"]) == 2
    assert "--memory estimates training" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("gpu_")])
def test_the_peak_in_the_header_of_a_recipe_is_what_is_estimated(name, tmp_path):
    recipe = load_recipe(name)
    header = shipped_recipes()[name].read_text().partition("\nseed:")[0].replace("\n# ", " ")
    size = recipe.policy.options["model"].removeprefix("Qwen/Qwen2.5-").removesuffix("-Instruct")
    peak, others, prompt, place, command = re.search(
        r"Estimated peak: ([\d.]+) GB(?: \((.*?)\))?.*?prompts of (\d+) tokens, "
        r"by `recr1 check RECIPE --gpu-gb (\d+)(.*?)`",
        header,
    ).groups()
    said = dict.fromkeys([size], peak) | dict(re.findall(r"([\d.]+B): ([\d.]+)", others or ""))
    launch, processes = re.search(r"--launch (\S+) --processes (\d+)", command).groups() if command else (None, None)
    sharding = sharding_of(launch, int(processes) if processes else None, None)
    for which, figure in said.items():
        shape = qwen(tmp_path, which)
        asked = load_of(recipe.policy, recipe.trainer, shape, int(prompt), gpu=True, evaluation=recipe.evaluate)
        found = estimate(shape, asked, sharding, available=float(place) * GB).peak / GB
        assert round(found, 1) == float(figure)
        assert found < 0.85 * float(place)
