"""Supervised fine-tuning end to end: pairs of a file, and the best of what a policy writes itself."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from recr1.config.build import EvaluationSpec, Part, check_part
from recr1.env import chat_with, open_environment
from recr1.errors import DataError, OptionError, UserError
from recr1.formats import Plain, Tag
from recr1.runs import Run
from recr1.trainers.layers.checkpoints import Checkpoints
from recr1.trainers.pairs.pairs import FilePairs, example
from recr1.trainers.pairs.sampled import SampledPairs
from recr1.trainers.sft import SFT
from retrievers.errors import EngineError
from tests.recr1.trainers.layers.test_resume import Failing, Vowels

TRL = {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
VALIDATION = EvaluationSpec(split="validation", measures=("nDCG@10",), every=2, keep="last")
QUERIES = ["red sofa", "oak table", "warm lamp", "red lamp", "oak sofa", "warm table"]


def environment(**more):
    task = Part("toy", {"format": {"type": "plain", "prompt": "{need}"}, **more})
    rewards = [
        (Part.from_dict({"type": "measure", "measure": "nDCG@10"}), 1.0),
        (Part(f"{Vowels.__module__}:Vowels"), 1.0),
    ]
    return open_environment(task, Part("bm25"), rewards, 10)


def policy(model, **more):
    return Part("transformers", {"model": str(model), "max_new_tokens": 8, **more})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("need\tquery\n" + "".join(f"I want a {query} please\t{query}\n" for query in QUERIES))
    return path


def go(run, env, model, pairs, *, steps=5, trl=None, seed=3):
    trainer = SFT(steps=steps, pairs=pairs, trl={**TRL, **(trl or {})})
    trainer.train(policy(model), env, run, seed=seed, evaluation=VALIDATION)
    run.finish("finished")
    return run


def begin(folder):
    return Run.create(folder, {"seed": 3}, {})


def curve(run, name):
    return [line[name] for line in run.read_metrics() if name in line]


# what is taught


@pytest.mark.slow
def test_a_policy_learns_by_heart_what_it_is_shown(tmp_path, random_model, table):
    from recr1.config.build import build

    env = environment()
    run = go(begin(tmp_path / "run"), env, random_model, {"type": "file", "path": str(table)}, steps=60)
    assert curve(run, "train/loss")[0] > 5 and curve(run, "train/loss")[-1] < 0.1
    assert curve(run, "train/mean_token_accuracy")[-1] == 1
    learned = build("policy", policy(run.policy_path))
    chats = [[{"role": "user", "content": f"I want a {query} please"}] for query in QUERIES]
    assert [texts[0].strip() for texts in learned.generate(chats, 0)] == QUERIES


def test_the_loss_is_that_of_the_answer_and_its_end_alone(tmp_path, random_model, table):
    import torch

    from recr1.config.build import build

    run = go(begin(tmp_path / "run"), environment(), random_model, {"type": "file", "path": str(table)}, steps=1)
    start = build("policy", policy(random_model))
    losses, tokens = 0.0, 0
    for query in QUERIES:
        asked = start.tokenizer.apply_chat_template(
            [{"role": "user", "content": f"I want a {query} please"}], add_generation_prompt=True, tokenize=False
        )
        prompt = start.tokenizer(asked, add_special_tokens=False)["input_ids"]
        answer = [*start.tokenizer(query, add_special_tokens=False)["input_ids"], start.tokenizer.eos_token_id]
        with torch.no_grad():
            logits = start.model(torch.tensor([[*prompt, *answer]])).logits[0]
        logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        losses -= logps[range(len(answer)), answer].sum().item()
        tokens += len(answer)
    assert curve(run, "train/loss") == [pytest.approx(losses / tokens, rel=1e-4)]


def test_a_prompt_is_read_as_generation_reads_it(random_model):
    from recr1.config.build import build

    tokenizer = build("policy", policy(random_model)).tokenizer
    prompt = [{"role": "user", "content": "a red sofa"}]
    row = example(tokenizer, prompt, "red sofa")
    read = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)
    size = len(read["input_ids"])
    assert row["input_ids"][:size] == read["input_ids"] and row["labels"][:size] == [-100] * size
    assert row["labels"][size:] == row["input_ids"][size:] and row["labels"][-1] == tokenizer.eos_token_id


def test_it_is_validated_as_other_training_is(tmp_path, random_model, table):
    run = go(begin(tmp_path / "run"), environment(), random_model, {"type": "file", "path": str(table)}, steps=3)
    assert [line["step"] for line in run.read_metrics() if "eval/validation/nDCG@10" in line] == [0, 2, 3]
    assert [line["step"] for line in run.read_metrics() if "train/loss" in line] == [1, 2, 3]


# pairs of a file


def read(path, text, **options):
    path.write_text(text)
    return FilePairs(path=str(path), **options).pairs(environment())


def test_pairs_are_read_with_their_places(tmp_path, table):
    first, *_, last = FilePairs(path=str(table)).pairs(environment())
    assert (first.need.text, first.completion, first.place) == ("I want a red sofa please", "red sofa", f"{table}:2")
    assert last.place == f"{table}:7"


def test_other_columns_and_kinds_of_file_are_read_too(tmp_path):
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"said": "something red", "typed": "red"}\n'))
    env = environment()
    env.format = Tag()
    (pair,) = FilePairs(path=str(packed), need="said", query="typed").pairs(env)
    assert pair.completion == "<query>red</query>"


def test_pairs_in_another_encoding_are_read_by_its_name(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes("need,query\nth\u00e9i\u00e8re,th\u00e9\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"pairs.csv:2: not UTF-8: .* or set the option encoding, such as cp1252"):
        FilePairs(path=str(path))
    (pair,) = FilePairs(path=str(path), encoding="cp1252").pairs(environment())
    assert (pair.need.text, pair.completion) == ("th\u00e9i\u00e8re", "th\u00e9")
    with pytest.raises(UserError, match=r"encoding: Python knows no encoding 'cp99999'"):
        FilePairs(path=str(path), encoding="cp99999")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"need": "a", "query": "b"}\n{"need": "a"}\n', r"pairs.jsonl:2: no field 'query'; the fields are: need"),
        ('{"need": "a", "query": 0.7}\n', r"pairs.jsonl:1: field 'query' is 0.7: it must be text"),
        ('{"need": " ", "query": "b"}\n', r"pairs.jsonl:1: field 'need' is empty: it must be text"),
        (
            '{"need": "a", "query": "nan"}\n',
            r"pairs.jsonl:1: field 'query' is 'nan', .* missing: .* missing: \[\]",
        ),
        ('{"need": "a", "query": "b"}\n\n{oops\n', r"pairs.jsonl:3: not JSON"),
        ("", r"no pairs: the file has no rows"),
        (json.dumps({"need": "a", "query": "x" * 1001}), r"pairs.jsonl:1: no answer .* query too long"),
    ],
)
def test_a_row_that_cannot_be_taught_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "pairs.jsonl", text)


@pytest.mark.parametrize("written", [str, str.upper, "{}!".format], ids=["as it is", "case", "signs"])
def test_what_a_policy_is_judged_by_is_not_taught(tmp_path, written):
    need = written(environment().task.needs("test")[0].text)
    with pytest.raises(DataError, match=r"pairs.jsonl:2: the need is in the split 'test': leave it out"):
        read(tmp_path / "pairs.jsonl", "".join(json.dumps({"need": n, "query": "b"}) + "\n" for n in ("a", need)))


def test_a_format_that_cannot_write_is_named(table):
    class Reads:
        def render(self, need):
            return Plain().render(need)

        def parse(self, completion):
            return Plain().parse(completion)

    env = environment()
    env.format = Reads()
    with pytest.raises(UserError, match=r"task.format: Reads cannot be taught queries: it has no method 'write'"):
        FilePairs(path=str(table)).pairs(env)


def test_an_answer_that_the_policy_may_not_write_whole_is_refused(tmp_path, random_model):
    path = tmp_path / "pairs.tsv"
    path.write_text("need\tquery\nshort\tred\nlong\tred red red red red red red red\n")
    with pytest.raises(UserError, match=r"pairs.tsv:3: the answer has 17 tokens, .* is 8: set that to 17 or more"):
        go(begin(tmp_path / "run"), environment(), random_model, {"type": "file", "path": str(path)})


# pairs of the policy's own


def sampled(tmp_path, **options):
    """A run on what the policy that ships says of the toy's needs: a random one hardly ever ends."""
    return go(begin(tmp_path / "run"), environment(), "tiny-shopper", {"type": "sampled", **options}, steps=2)


def kept(run):
    return [json.loads(line) for line in (run.path / "pairs.jsonl").open()]


def test_the_best_of_each_need_is_kept_with_what_it_earned(tmp_path):
    run, env = sampled(tmp_path, per_need=6, keep=2, at_least=0.3), environment()
    lines = kept(run)
    needs = [env.need(line["need"]) for line in lines]
    chats = [chat_with(prompt, line["completion"]) for prompt, line in zip(env.prompts(needs), lines, strict=True)]
    np.testing.assert_allclose([line["reward"] for line in lines], env.step(needs, chats).rewards, rtol=1e-6)
    assert min(line["reward"] for line in lines) >= 0.3
    by_need: dict[str, list] = {}
    for line in lines:
        by_need.setdefault(line["need"], []).append(line)
    assert max(map(len, by_need.values())) == 2
    assert set(by_need) <= {need.id for need in env.task.needs("train")}
    for of_need in by_need.values():
        assert len({line["completion"] for line in of_need}) == len(of_need)
        assert [line["reward"] for line in of_need] == sorted((line["reward"] for line in of_need), reverse=True)
    facts = run.facts()["pairs"]
    assert facts["kept"] == len(lines) and facts["needs_with_a_pair"] == len(by_need)
    assert facts["sampled"] == 6 * len(env.task.needs("train")) == 6 * facts["needs"]
    assert facts["reward_of_kept"] == pytest.approx(np.mean([line["reward"] for line in lines]))
    assert facts["reward_of_kept"] > facts["reward_of_sampled"]


class Scripted:
    """Writes these completions, and has the tokenizer of another policy."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts, self.max_new_tokens = tokenizer, texts, 8

    def generate(self, chats, n):
        assert n == len(self.texts)
        return [list(self.texts) for _ in chats]


def test_what_is_no_query_or_too_long_or_earns_too_little_is_not_kept(tmp_path, random_model):
    from recr1.config.build import build
    from recr1.trainers.launch import FailureBudget, Ranks

    env = open_environment(Part("toy"), Part("bm25"), [(Part(f"{Vowels.__module__}:Vowels"), 1.0)], 10)
    texts = ["<query>eea</query>", "aeiou", "<query>" + "a" * 90 + "</query>", "<query>xyz</query>"]
    writer = Scripted(build("policy", policy(random_model)).tokenizer, texts)
    writer.max_new_tokens = 40
    run = begin(tmp_path / "run")
    env.format = Tag()
    pairs = SampledPairs(per_need=4, keep=4, at_least=0.3, needs=2).pairs(env, writer, run, Ranks(), FailureBudget(0.0))
    assert [pair.completion for pair in pairs] == ["<query>eea</query>"] * 2
    assert [pair.need for pair in pairs] == list(env.task.needs("train"))[:2]


def test_nothing_worth_keeping_is_said(tmp_path):
    with pytest.raises(UserError, match=r"none of \d+ completions of the starting policy earns 99: lower at_least"):
        sampled(tmp_path, at_least=99.0)


@pytest.mark.slow
def test_what_is_sampled_follows_the_seed_of_the_run(tmp_path):
    one, other = (
        go(begin(tmp_path / f"{seed}"), environment(), "tiny-shopper", {"type": "sampled"}, steps=1, seed=seed)
        for seed in (1, 2)
    )
    assert kept(one) != kept(other)


def test_an_engine_that_fails_while_pairs_are_sampled_stops_the_run_and_keeps_none(tmp_path, random_model):
    env = environment()
    env.retriever = Failing(env.retriever, lost=[1])
    run = begin(tmp_path / "run")
    with pytest.raises(EngineError, match=r"no connection; 1 of the last \d+ rollouts have no reward"):
        go(run, env, random_model, {"type": "sampled"})
    assert not (run.path / "pairs.jsonl").exists()


# going on


def numbers(run):
    return [
        {name: value for name, value in line.items() if not name.startswith(("time", "train/time"))}
        for line in run.read_metrics()
    ]


def same(one, other):
    assert numbers(one) == numbers(other)
    first, second = (load_file(run.policy_path / "model.safetensors") for run in (one, other))
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


@pytest.mark.parametrize("source", ["file", "sampled"])
def test_a_run_that_stopped_goes_on_to_the_same_end(tmp_path, random_model, table, source):
    pairs = {"type": "file", "path": str(table)} if source == "file" else {"type": "sampled", "at_least": 0.0}
    trl = {"per_device_train_batch_size": 4}  # so that epochs end in the middle of the run
    whole = go(begin(tmp_path / "whole"), environment(), random_model, pairs, trl=trl)
    broken = environment()
    searches = 3 if source == "file" else 4  # the validation after the second step
    broken.retriever = Failing(broken.retriever, raised=[searches])
    run = begin(tmp_path / "run")
    with pytest.raises(EngineError, match="no connection"):
        go(run, broken, random_model, pairs, trl={**trl, "save_strategy": "no"})
    run.finish("failed")
    assert list(Checkpoints(run.path / "checkpoints").steps()) == [2]
    same(whole, go(Run.resume(run.path, {}), environment(), random_model, pairs, trl=trl))


def test_pairs_are_sampled_once(tmp_path):
    run = sampled(tmp_path)
    before, again = kept(run), begin(tmp_path / "again")
    (again.path / "pairs.jsonl").write_text((run.path / "pairs.jsonl").read_text())
    env = environment()
    env.retriever = Failing(env.retriever)
    go(again, env, "tiny-shopper", {"type": "sampled"}, steps=2)
    assert kept(again) == before
    assert env.retriever.calls == 3  # references and two validations; none for pairs


# options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "trainer.pairs: missing: sft needs it"),
        ({"pairs": {"type": "fil", "path": "x"}}, "trainer.pairs.type: no 'fil' here; did you mean 'file'?"),
        ({"pairs": {"type": "sampled", "per_need": 0}}, "trainer.pairs.per_need: must be an integer >= 1, got 0"),
        ({"pairs": {"type": "sampled", "keep": 9}}, "trainer.pairs.keep: 9 of 8 completions: raise per_need"),
        ({"pairs": {"type": "sampled", "at_least": math.inf}}, "trainer.pairs.at_least: must be a number, got inf"),
        ({"pairs": {"type": "sampled", "needs": 0}}, "trainer.pairs.needs: must be an integer >= 1, or null, got 0"),
        ({"pairs": {"type": "sampled"}, "trl": {"packing": True}}, "trainer.trl.packing: not here: each pair is a row"),
        (
            {"pairs": {"type": "sampled"}, "trl": {"num_generations": 8}},
            "trainer.trl.num_generations: SFTConfig has no",
        ),
        ({"pairs": {"type": "sampled"}, "trl": {"max_length": 8}}, "trainer.trl.max_length: not here: nothing is cut"),
    ],
)
def test_what_is_wrong_shows_before_anything_loads(options, problem):
    found = [str(found) for found in check_part("trainer", {"type": "sft", "steps": 2, **options}, "trainer")]
    assert any(line.startswith(problem) for line in found), found


def test_a_file_is_read_before_anything_loads():
    with pytest.raises((DataError, OptionError), match=r"nowhere.tsv: no such file"):
        SFT(steps=1, pairs={"type": "file", "path": "nowhere.tsv"})
