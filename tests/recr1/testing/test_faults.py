"""The contracts are worth what they catch: each of these objects is wrong in one way, and one test says so."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import random
from functools import partial

import numpy as np
import pytest

from recr1.formats import Plain
from recr1.loggers.jsonl import JsonlLogger
from recr1.policies.base import Likely, Spent
from recr1.tasks import SPLITS
from recr1.tasks.toy import ToyTask
from recr1.testing import FormatContract, LoggerContract, PolicyContract, TaskContract
from rewards.base import Invalid, Need, Qrels, Recommend, Search


def contract(kind, cls, **methods):
    """The contract of a kind for objects that `cls()` makes."""
    build = (lambda self, run: cls()) if kind is LoggerContract else (lambda self: cls())
    return type(f"Contract{cls.__name__}", (kind,), {"build": build, **methods})()


def caught(kind, right, wrong, test, message, *args, **methods):
    """The test passes for what is right and fails with the message for what is wrong."""
    getattr(contract(kind, right, **methods), f"test_{test}")(*(argument / "right" for argument in args))
    with pytest.raises(AssertionError, match=message):
        getattr(contract(kind, wrong, **methods), f"test_{test}")(*(argument / "wrong" for argument in args))


# Tasks


class Toy(ToyTask):
    """A correct task for a subclass to spoil."""

    def __init__(self):
        super().__init__()
        self.qrels = dict(self.qrels)
        self.splits = {split: list(super(Toy, self).needs(split)) for split in SPLITS}
        self.spoil()

    def spoil(self):
        pass

    def needs(self, split):
        return self.splits[split] if split in self.splits else super().needs(split)


class Silent(Toy):
    def needs(self, split):
        return self.splits.get(split, [])


class WithoutCatalog(Toy):
    def spoil(self):
        self.catalog = self.catalog.texts


class WithoutTest(Toy):
    def spoil(self):
        self.splits["test"] = []


class CountsNothing(Toy):
    def spoil(self):
        self.counts = {"no positive grade": 0}


class RepeatsAnId(Toy):
    def spoil(self):
        self.splits["train"] += self.splits["train"][:1]


class SharesAnId(Toy):
    def spoil(self):
        self.splits["test"].append(Need(self.splits["train"][0].id, "another text"))


class SharesAText(Toy):
    def spoil(self):
        self.splits["test"].append(Need("new", self.splits["train"][0].text.upper() + "!"))


class LacksAKey(Toy):
    def spoil(self):
        del self.qrels[self.splits["train"][0].id]


class HasAPlainKey(Toy):
    def spoil(self):
        self.qrels[self.splits["train"][0].id] = {0: 1}


class CannotBeMet(Toy):
    def spoil(self):
        self.qrels[self.splits["train"][0].id] = Qrels({0: 0})


class GradesNoItem(Toy):
    def spoil(self):
        self.qrels[self.splits["train"][0].id] = Qrels({30: 1})


COUNT = itertools.count()


class ShufflesNeeds(Toy):
    def spoil(self):
        random.Random(next(COUNT)).shuffle(self.splits["train"])


class DrawsGrades(Toy):
    def spoil(self):
        self.qrels[self.splits["train"][0].id] = Qrels({0: 1 + next(COUNT)})


class EndsWithASystemMessage(Toy):
    def spoil(self):
        self.format = copy.copy(self.format)
        self.format.render = lambda need: [{"role": "system", "content": need.text}]


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (WithoutCatalog, "it_has_its_parts_and_needs_in_every_split", "task.catalog must be a Catalog"),
        (WithoutTest, "it_has_its_parts_and_needs_in_every_split", "split 'test' has no needs"),
        (CountsNothing, "it_has_its_parts_and_needs_in_every_split", "counts must be above 0"),
        (Silent, "a_split_that_does_not_exist_is_refused", "split 'nowhere' was accepted"),
        (RepeatsAnId, "splits_have_no_need_in_common", "an id appears more than once in split 'train'"),
        (SharesAnId, "splits_have_no_need_in_common", "'train' and 'test' both have a need with the id"),
        (SharesAText, "splits_have_no_need_in_common", "'train' and 'test' both have a need with the text"),
        (LacksAKey, "every_need_has_an_answer_key_for_the_catalog", "must have Qrels, got None"),
        (HasAPlainKey, "every_need_has_an_answer_key_for_the_catalog", "must have Qrels, got {0: 1}"),
        (CannotBeMet, "every_need_has_an_answer_key_for_the_catalog", "has no grade above 0: leave it out"),
        (GradesNoItem, "every_need_has_an_answer_key_for_the_catalog", "has a grade for row 30, which is no item"),
        (ShufflesNeeds, "opened_again_it_is_the_same", "the needs differ"),
        (DrawsGrades, "opened_again_it_is_the_same", "the qrels of need .* differ"),
        (EndsWithASystemMessage, "no_prompt_shows_an_item", "must end with a message from the user"),
    ],
)
def test_a_wrong_task_is_caught(wrong, test, message):
    caught(TaskContract, Toy, wrong, test, message)


def test_a_prompt_with_the_canary_is_caught():
    class ShowsAnItem(Toy):
        canary = "lamp"

        def spoil(self):
            self.catalog = copy.copy(self.catalog)
            object.__setattr__(self.catalog, "texts", tuple(f"{text} lamp" for text in self.catalog.texts))
            self.splits["test"].append(Need("new", "a lamp"))

    with pytest.raises(ValueError, match="the prompt of need 'new' holds the canary 'lamp'"):
        contract(TaskContract, ShowsAnItem).test_no_prompt_shows_an_item()


# Formats


class RaisesOnBrackets(Plain):
    def parse(self, completion):
        if isinstance(completion, str) and completion.startswith("{"):
            json.loads(completion)
        return super().parse(completion)


class ReturnsText(Plain):
    def parse(self, completion):
        return completion if completion == "" else super().parse(completion)


class SearchesNothing(Plain):
    def parse(self, completion):
        return Search(" ") if completion == "" else super().parse(completion)


class KeepsSurrogates(Plain):
    def parse(self, completion):
        return Search(completion) if str(completion).strip() else super().parse(completion)


class QuotesTheCompletion(Plain):
    def parse(self, completion):
        action = super().parse(completion)
        return Invalid(f"no query in {completion!r}") if len(str(completion)) > 20 else action


class ListsTwice(Plain):
    def parse(self, completion):
        return Recommend((3, 3)) if completion == "" else super().parse(completion)


class LosesCase(Plain):
    def parse(self, completion):
        return super().parse(completion.lower() if isinstance(completion, str) else completion)


class WritesTwoWays(Plain):
    def write(self, query):
        self.written = getattr(self, "written", 0) + 1
        return super().write(query) + " " * self.written


class WritesWhatItCannotRead(Plain):
    def write(self, query):
        return query


class RefusesToWrite(Plain):
    def write(self, query):
        raise ValueError("no")


class ShowsTheId(Plain):
    def render(self, need):
        return [{"role": "user", "content": f"{need.id}: {need.text}"}]


class FillsBraces(Plain):
    def render(self, need):
        return [{"role": "user", "content": need.text.replace("{", "(")}]


class HandsOutItsOwnMessage(Plain):
    def render(self, need):
        self.kept = getattr(self, "kept", {})
        return self.kept.setdefault(need.text, super().render(need))


class AddsAKey(Plain):
    def render(self, need):
        return [{**super().render(need)[0], "name": "shopper"}]


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (LosesCase, "right_answers_are_read", "'Red tent' was read as Search"),
        (RaisesOnBrackets, "every_completion_is_an_answer_or_invalid", "raises JSONDecodeError"),
        (ReturnsText, "every_completion_is_an_answer_or_invalid", "'' was read as ''"),
        (SearchesNothing, "every_completion_is_an_answer_or_invalid", "'' was read as an empty query"),
        (ListsTwice, "every_completion_is_an_answer_or_invalid", r"'' was read as the rows \(3, 3\)"),
        (KeepsSurrogates, "every_completion_is_an_answer_or_invalid", "raises UnicodeEncodeError"),
        (QuotesTheCompletion, "every_completion_is_an_answer_or_invalid", "reasons, such as .*: a log counts each"),
        (WritesTwoWays, "what_it_writes_it_reads_back", "is written in more than one way"),
        (WritesWhatItCannotRead, "what_it_writes_it_reads_back", "is written"),
        (RefusesToWrite, "what_it_writes_it_reads_back", "write refuses 'Red tent', though a completion asks for it"),
        (ShowsTheId, "the_prompt_shows_the_text_of_the_need_and_not_its_id", "the prompt depends on the id"),
        (FillsBraces, "the_prompt_shows_the_text_of_the_need_and_not_its_id", "the prompt lacks the need's text"),
        (HandsOutItsOwnMessage, "the_prompt_shows_the_text_of_the_need_and_not_its_id", "shows in the next"),
        (AddsAKey, "the_prompt_shows_the_text_of_the_need_and_not_its_id", "a message must have a role and a text"),
    ],
)
def test_a_wrong_format_is_caught(wrong, test, message):
    caught(FormatContract, Plain, wrong, test, message, answers=lambda self: {"Red tent": "Red tent"})


# Policies


class Drawing:
    """A correct policy for a subclass to spoil: greedy it says the need, sampled some of its words."""

    seed = 0

    def __init__(self):
        self.rng, self.spent = random.Random(self.seed), Spent()
        self.layer = Layer()

    def generate(self, chats, n):
        words = sum(len(chat[-1]["content"].split()) for chat in chats)
        self.spent = Spent(self.spent.read + words, self.spent.written + len(chats) * max(n, 1))
        return [[self.said(chat, n) for _ in range(max(n, 1))] for chat in chats]

    def said(self, chat, n):
        words = chat[-1]["content"].split()
        return self.rng.choice(words) if n else " ".join(words)


class Layer:
    """As a torch module switches between training and evaluation."""

    training = False

    def train(self, mode):
        self.training = mode

    def eval(self):
        self.train(False)


class WritesOneForAll(Drawing):
    def generate(self, chats, n):
        return super().generate(chats, 0)


class FailsWithoutChats(Drawing):
    def generate(self, chats, n):
        return super().generate(chats, n) if chats else [[""]]


class WritesTokens(Drawing):
    def said(self, chat, n):
        return list(super().said(chat, n))


class SortsChats(Drawing):
    def generate(self, chats, n):
        return super().generate(sorted(chats, key=lambda chat: chat[-1]["content"]), n)


class PopsMessages(Drawing):
    def said(self, chat, n):
        return chat.pop()["content"] if len(chat) > 1 else super().said(chat, n)


class SeesItsBatch(Drawing):
    def generate(self, chats, n):
        return [[f"{text} {len(chats)}" for text in texts] for texts in super().generate(chats, n)]


class NeverGreedy(Drawing):
    def said(self, chat, n):
        return super().said(chat, 1)


class DrawsItsSeed(Drawing):
    @property
    def seed(self):
        return next(COUNT)


class SamplesAlike(Drawing):
    def said(self, chat, n):
        return super().said(chat, 0)


class SeedsTheWorld(Drawing):
    def said(self, chat, n):
        random.seed(0)
        return super().said(chat, n)


class SeedsNumpy(Drawing):
    def said(self, chat, n):
        np.random.seed(0)
        return super().said(chat, n)


class StaysInEvaluation(Drawing):
    def said(self, chat, n):
        self.layer.eval()
        return super().said(chat, n)


class DropsOut(Drawing):
    def said(self, chat, n):
        return super().said(chat, n) + "?" * self.layer.training


class CountsPromptsPerCompletion(Drawing):
    def generate(self, chats, n):
        self.spent = Spent(self.spent.read + 10 * n, self.spent.written)
        return super().generate(chats, n)


class CountsInANumber(Drawing):
    def generate(self, chats, n):
        return Drawing.generate(copy.copy(self), chats, n) if isinstance(self.spent, Spent) else [[""]] * len(chats)

    def __init__(self):
        super().__init__()
        self.spent = 0


class Likes(Drawing):
    """It has `greedy` too, and what it says of its completions is right."""

    def greedy(self, chats):
        return [Likely(text, -float(len(text))) for [text] in self.generate(chats, 0)]


class LikesOtherTexts(Likes):
    def greedy(self, chats):
        return [one._replace(text=one.text.upper()) for one in super().greedy(chats)]


class LikesInBatches(Likes):
    def greedy(self, chats):
        return [one._replace(likelihood=one.likelihood / len(chats)) for one in super().greedy(chats)]


class LikesWithoutLogarithm(Likes):
    def greedy(self, chats):
        return [one._replace(likelihood=0.5) for one in super().greedy(chats)]


class SeesInVain(Drawing):
    sees = ("hits",)


class SeesTheFuture(Drawing):
    sees = ("the test",)

    def prepare(self, env):
        pass


class HasATemplate(Drawing):
    format = "{need}"


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (WritesOneForAll, "there_are_n_completions_of_each_chat", "n = 3, 13 chats: got"),
        (FailsWithoutChats, "there_are_n_completions_of_each_chat", "no chats must give no completions"),
        (WritesTokens, "there_are_n_completions_of_each_chat", "a completion is not text"),
        (PopsMessages, "there_are_n_completions_of_each_chat", "generate changed the chats"),
        (SortsChats, "greedy_completions_depend_on_their_chat_alone", "not in the order of the chats"),
        (SeesItsBatch, "greedy_completions_depend_on_their_chat_alone", "one by one: "),
        (NeverGreedy, "greedy_completions_depend_on_their_chat_alone", "differ from call to call"),
        (DrawsItsSeed, "samples_follow_the_seed", "two policies with the same options write different samples"),
        (SamplesAlike, "samples_follow_the_seed", "samples_differ is True, and it is False"),
        (SeedsTheWorld, "generating_leaves_random_numbers_and_modes_alone", "changed global random numbers"),
        (SeedsNumpy, "generating_leaves_random_numbers_and_modes_alone", "changed global random numbers"),
        (StaysInEvaluation, "generating_leaves_random_numbers_and_modes_alone", "changed the mode of a model"),
        (DropsOut, "generating_leaves_random_numbers_and_modes_alone", "a model in training mode writes something"),
        (CountsPromptsPerCompletion, "tokens_are_counted_once", "tokens of prompts must not depend on n"),
        (CountsInANumber, "tokens_are_counted_once", "spent must be a Spent, got 0"),
        (LikesOtherTexts, "likelihoods_belong_to_greedy_completions", "greedy writes something else than generate"),
        (LikesInBatches, "likelihoods_belong_to_greedy_completions", "one by one: "),
        (LikesWithoutLogarithm, "likelihoods_belong_to_greedy_completions", "at most 0, got 0.5"),
        (SeesInVain, "what_it_looks_at_is_declared", "the policy has sees alone"),
        (SeesTheFuture, "what_it_looks_at_is_declared", r"sees must be some of .*, got \('the test',\)"),
        (HasATemplate, "what_it_looks_at_is_declared", "policy.format must be a Format, got '{need}'"),
    ],
)
def test_a_wrong_policy_is_caught(wrong, test, message):
    caught(PolicyContract, Drawing, wrong, test, message)


def test_right_likelihoods_pass():
    class Right(PolicyContract):
        def build(self):
            return Likes()

    Right().test_likelihoods_belong_to_greedy_completions()


def test_torch_is_seeded_in_a_fork_alone():
    torch = pytest.importorskip("torch")

    class SeedsTorch(Drawing):
        def said(self, chat, n):
            torch.manual_seed(0)
            return super().said(chat, n)

    caught(PolicyContract, Drawing, SeedsTorch, "generating_leaves_random_numbers_and_modes_alone", "global random")


def test_what_is_declared_of_samples_is_tested_as_declared():
    contract(PolicyContract, SamplesAlike, samples_differ=False).test_samples_follow_the_seed()
    contract(PolicyContract, NeverGreedy, greedy=False).test_greedy_completions_depend_on_their_chat_alone()
    with pytest.raises(AssertionError, match="samples_differ is False, and it is True"):
        contract(PolicyContract, Drawing, samples_differ=False).test_samples_follow_the_seed()
    with pytest.raises(AssertionError, match="samples for n = 0 do not follow the seed"):
        wrong = type("Wrong", (NeverGreedy, DrawsItsSeed), {})
        contract(PolicyContract, wrong, greedy=False).test_greedy_completions_depend_on_their_chat_alone()


# Loggers


class LosesTheLastStep(JsonlLogger):
    waiting = None

    def log(self, step, metrics):
        if self.waiting:
            super().log(*self.waiting)
        self.waiting = (step, metrics)


class RenamesMetrics(JsonlLogger):
    def log(self, step, metrics):
        super().log(step, {name.replace("(", "_"): value for name, value in metrics.items()})


class Rounds(JsonlLogger):
    def log(self, step, metrics):
        super().log(step, {name: round(value, 2) for name, value in metrics.items()})


class TakesZeroForNaN(JsonlLogger):
    def log(self, step, metrics):
        super().log(step, {name: 0.0 if math.isnan(value) else value for name, value in metrics.items()})


class LogsTheEnd(JsonlLogger):
    def finish(self, status):
        self.log(0, {"done": 1.0})
        super().finish(status)


class StartsAgain(JsonlLogger):
    def resume(self, step, lines):
        pass


class NotesTheEnvironment(JsonlLogger):
    def start(self, run_path, config):
        super().start(run_path, {**config, "environment": dict(os.environ)})


def numbers(self, run):
    lines = [json.loads(line) for line in (run / "log.jsonl").open()]
    return [(line["step"], line["numbers"]) for line in lines if line["kind"] == "numbers"]


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (LosesTheLastStep, "it_has_the_numbers_of_every_step", "got the steps .*18]"),
        (
            RenamesMetrics,
            "it_has_the_numbers_of_every_step",
            r"expected \['eval/test/nDCG\(gain=task\)@10', 'train/rew",
        ),
        (Rounds, "it_has_the_numbers_of_every_step", "train/reward is 0.14285714285714285, got 0.14"),
        (
            TakesZeroForNaN,
            "it_takes_every_kind_of_record",
            r"expected \['train/reward'\], got \['train/odd', 'train/rew",
        ),
        (LogsTheEnd, "a_run_may_end_before_its_first_number", r"got the steps \[0\]"),
        (StartsAgain, "a_resumed_run_is_one_run", r"got the steps \[0, 1, 2, 3, 4, 3, 4, 5, 6\]"),
        (NotesTheEnvironment, "no_secret_is_written", "has the value of an environment variable"),
    ],
)
def test_a_wrong_logger_is_caught(wrong, test, message, tmp_path):
    caught(LoggerContract, JsonlLogger, wrong, test, message, tmp_path, numbers=numbers)


def test_a_logger_that_does_not_resume_must_have_every_step_all_the_same(tmp_path):
    class Simple:
        """A logger with the three methods alone."""

        def start(self, run_path, config):
            self.file = (run_path / "numbers.jsonl").open("a")

        def log(self, step, metrics):
            self.file.write(json.dumps([step, metrics]) + "\n")

        def finish(self, status):
            self.file.close()

    class Overwrites(Simple):
        def start(self, run_path, config):
            self.file = (run_path / "numbers.jsonl").open("w")

    def read(self, run):
        return [json.loads(line) for line in (run / "numbers.jsonl").open()]

    test = partial(
        caught, LoggerContract, Simple, Overwrites, "a_resumed_run_is_one_run", r"got the steps \[3, 4, 5, 6\]"
    )
    test(tmp_path, numbers=read)


# All


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        (TaskContract, ["TaskContract.build must return the task"]),
        (FormatContract, ["FormatContract.build must return the format", "FormatContract.answers must return"]),
        (PolicyContract, ["PolicyContract.build must return the policy"]),
        (LoggerContract, ["LoggerContract.build must return the logger", "LoggerContract.numbers must read back"]),
    ],
)
def test_a_contract_without_its_methods_says_what_is_missing(kind, messages, tmp_path):
    for message in messages:
        method, *args = message.split()[0].split(".")[1], *([tmp_path] if kind is LoggerContract else [])
        with pytest.raises(NotImplementedError, match=message):
            getattr(kind(), method)(*args)


def test_a_format_without_an_answer_is_not_tested():
    with pytest.raises(AssertionError, match=r"answers\(\) is empty"):
        contract(FormatContract, Plain, answers=lambda self: {}).test_right_answers_are_read()


@pytest.mark.parametrize("kind", [TaskContract, FormatContract, PolicyContract, LoggerContract])
def test_every_test_of_a_contract_has_something_that_fails_it(kind, request):
    wrong = {
        TaskContract: test_a_wrong_task_is_caught,
        FormatContract: test_a_wrong_format_is_caught,
        PolicyContract: test_a_wrong_policy_is_caught,
        LoggerContract: test_a_wrong_logger_is_caught,
    }[kind]
    planted = {f"test_{test}" for _, test, _ in wrong.pytestmark[0].args[1]}
    assert {name for name in vars(kind) if name.startswith("test_")} == planted
