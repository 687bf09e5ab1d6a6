"""Pairs of a need and an answer to it, which `sft` teaches a policy: their sources, and what they are in tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from recr1.env import Environment
from recr1.errors import DataError, UserError
from recr1.formats import Format, WritesQueries
from recr1.policies import Policy
from recr1.policies.prompts import prompt_ids
from recr1.runs import Run
from recr1.tasks.base import splits_of
from recr1.tasks.cells import MISSING, text_of
from recr1.tasks.disk import encoding_problem
from recr1.tasks.readers import records
from recr1.tasks.shop.language import shopper_pairs
from recr1.tasks.shop.lexicon import load_lexicon
from recr1.tasks.splits import group_key
from recr1.trainers.launch import FailureBudget, Ranks
from retrievers.options import PositiveInt, Share, checked
from retrievers.store import expanded
from rewards.base import Chat, Need

BUILTIN = {
    "answered": "recr1.trainers.pairs.answered:AnsweredPairs",
    "copy": "recr1.trainers.pairs.edited:CopyPairs",
    "edits": "recr1.trainers.pairs.edited:EditPairs",
    "file": "recr1.trainers.pairs.pairs:FilePairs",
    "listed": "recr1.trainers.pairs.listed:ListedPairs",
    "sampled": "recr1.trainers.pairs.sampled:SampledPairs",
    "searched": "recr1.trainers.pairs.searched:SearchedPairs",
    "shopper": "recr1.trainers.pairs.pairs:ShopperPairs",
    "written": "recr1.trainers.pairs.written:WrittenPairs",
}
"""Sources of pairs by the name that a recipe uses; the classes are imported when they are asked for."""


class Pair(NamedTuple):
    """A need, and a completion that answers it well."""

    need: Need
    completion: str
    place: str
    """Where it comes from, for messages: "pairs.tsv:7"."""


@runtime_checkable
class Pairs(Protocol):
    """A source of pairs. Built as `cls(*, options)`, before anything heavy is loaded."""

    def pairs(self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget) -> Sequence[Pair]:
        """At least one pair, the same on every rank and each time that a run asks.

        Args:
            env: needs, format and rewards.
            policy: the policy before training.
            run: its folder keeps what would not be the same a second time.
            ranks: the processes of this launch; every one comes here.
            budget: how many searches may stay without an answer.
        """
        ...


@checked
class FilePairs:
    """Needs and queries of a table: what people wrote, what a log of searches or a larger model says.

    Each query is taught as the completion that asks for it in the format of the task. A need of the validation or test
    split is refused.

    Args:
        path: a file that ends in .jsonl, .tsv, .csv (each also with .gz) or .parquet.
        need: the column with the text of the need.
        query: the column with the query.
        encoding: the encoding of a text file that is not UTF-8, such as cp1252.
        missing: the texts that mean a missing value, as in the task `files`.
    """

    def __init__(
        self,
        *,
        path: str,
        need: str = "need",
        query: str = "query",
        encoding: str | None = None,
        missing: list[str] | None = None,
    ) -> None:
        self.path = expanded(path)
        words = frozenset(MISSING if missing is None else missing)
        self._rows = [
            (line, text_of(self.path, line, row, need, words), text_of(self.path, line, row, query, words))
            for line, row in records(self.path, "pairs", encoding)
        ]

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the name of the encoding."""
        problem = encoding_problem(options["encoding"]) if options.get("encoding") is not None else None
        return [f"encoding: {problem}"] if problem else []

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """A pair for each row, in their order; raises `DataError` with the line of one that cannot be taught."""
        write = writer_of(env.format)
        held_out = held_out_texts(env)
        found = []
        for line, text, query in self._rows:
            if split := held_out.get(group_key(text)):
                raise DataError(self.path, line, f"the need is in the split '{split}': leave it out")
            place = f"{self.path}:{line}"
            try:
                found.append(Pair(Need(place, text), write(query), place))
            except ValueError as error:
                raise DataError(self.path, line, str(error)) from error
        return found


def writer_of(answer_format: Format) -> Callable[[str], str]:
    """From a query to the completion that asks for it; raises `UserError` for a format that does not say how."""
    if not isinstance(answer_format, WritesQueries):
        raise UserError(
            f"task.format: {type(answer_format).__name__} cannot be taught queries: it has no method 'write', which "
            "says how one is asked for"
        )
    return answer_format.write


def held_out_texts(env: Environment) -> dict[str, str]:
    """The texts of needs that only evaluation may use, each as its `group_key`, with its split."""
    return {
        group_key(need.text): split
        for split, needs in splits_of(env.task).items()
        if split != "train"
        for need in needs
    }


IGNORED = -100
"""The label of a token that no loss is computed for."""


def answer_ids(tokenizer: Any, completion: str) -> list[int]:
    """The tokens of a completion and its end: what a policy that writes it generates."""
    ids: list[int] = tokenizer(completion, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def example(tokenizer: Any, prompt: Chat, completion: str) -> dict[str, list[int]]:
    """Token ids of prompt and answer, and labels that leave the prompt out."""
    (read,) = prompt_ids(tokenizer, [prompt])
    answer = answer_ids(tokenizer, completion)
    return {"input_ids": [*read, *answer], "labels": [*[IGNORED] * len(read), *answer]}


@checked
class ShopperPairs:
    """Needs of the generated shop's shoppers, each with a query in words that people, and dialects, have for it.

    They know language alone: they depend on no catalog, answer key or retriever, so a warm start on them
    favours no shop. A need that is in the validation or test split is left out.

    Args:
        count: how many pairs.
        private: the share of a query's words that are private words, of both dialects alike.
        seed: draws the pairs.
    """

    def __init__(self, *, count: PositiveInt, private: Share = 0.0, seed: int = 0) -> None:
        self.count, self.private, self.seed = count, private, seed

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """The pairs, in their order; raises `UserError` where the task's format cannot be taught."""
        write = writer_of(env.format)
        held_out = held_out_texts(env)
        found = []
        drawn = enumerate(shopper_pairs(load_lexicon(), self.seed, self.private))
        for number, (text, query) in islice(drawn, self.count):
            if group_key(text) not in held_out:
                place = f"shopper pair {number}"
                found.append(Pair(Need(place, text), write(query), place))
        return found
