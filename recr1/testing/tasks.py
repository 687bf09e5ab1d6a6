"""What every task and every format must do."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from reprlib import repr as _short
from typing import Any, ClassVar

from recr1.env import Environment
from recr1.errors import UserError
from recr1.formats import Format, WritesQueries, parsed
from recr1.tasks import SPLITS, Task
from recr1.tasks.splits import group_key
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.base import Answer, Chat, Invalid, Need, Qrels, Recommend, Search

TAGS = ("<query>", "</query>", "<think>", "</think>", "<answer>", "</answer>")
PIECES = (
    *TAGS, "<query", "query>", "</", "<QUERY>", "<query/>", "<answer >", "<|im_end|>", "{need}", "%s", "{}",
    "\x00", "\ud800", "\udfff", "\U0001f600", "\u202e", "\ufeff", "\u2028", "\u0301", "\u00e9", "\x1b[2J", "\r", "\n\n",
    "\t", '"', "'", "\\", "\\u", "\\ud83d", "\\ud83d\\ude00", "{", "}", "[", "]", ":", ",", "null", "NaN", "-Infinity",
    "1e999", "0" * 50, "9" * 5000, "[" * 5000, '{"a":' * 3000, '"query"', '"query": ', '{"query": "x"}', "```json",
    "a" * 1500, "x y " * 400, " " * 2000,
)  # fmt: skip
"""Text that breaks parsers."""


class TaskContract:
    """Inherit, and write `build`."""

    splits: ClassVar[Sequence[str]] = SPLITS
    """The splits that the task has."""

    def build(self) -> Task:
        """The task, opened anew with the same options each time."""
        raise NotImplementedError(f"{type(self).__name__}.build must return the task")

    def test_it_has_its_parts_and_needs_in_every_split(self) -> None:
        """`counts` says how much was left out, merged or missing, by what it is."""
        task = self.build()
        for name, kind in {"catalog": Catalog, "format": Format, "qrels": Mapping, "counts": Mapping}.items():
            assert isinstance(getattr(task, name, None), kind), f"task.{name} must be a {kind.__name__}"
        assert all(count > 0 for count in task.counts.values()), f"counts must be above 0, got {task.counts}"
        for split in self.splits:
            assert len(task.needs(split)) > 0, f"split {split!r} has no needs"

    def test_a_split_that_does_not_exist_is_refused(self) -> None:
        """With a `UserError` that names it, not with an empty list."""
        for split in {*SPLITS, "nowhere"} - {*self.splits}:
            try:
                self.build().needs(split)
            except UserError as error:
                assert split in str(error), f"the message does not name {split!r}: {error}"
            else:
                raise AssertionError(f"split {split!r} was accepted")

    def test_splits_have_no_need_in_common(self) -> None:
        """Neither its id nor its text, apart from case and punctuation; an id appears once in a split."""
        task = self.build()
        ids = {split: [need.id for need in task.needs(split)] for split in self.splits}
        texts = {split: [group_key(need.text) for need in task.needs(split)] for split in self.splits}
        for split, found in ids.items():
            assert len(set(found)) == len(found), f"an id appears more than once in split {split!r}"
        for name, found_in in (("id", ids), ("text", texts)):
            for one, other in combinations(self.splits, 2):
                shared = set(found_in[one]) & set(found_in[other])
                assert not shared, f"{one!r} and {other!r} both have a need with the {name} {min(shared)!r}"

    def test_every_need_has_an_answer_key_for_the_catalog(self) -> None:
        """`Qrels` with a grade above 0, whose rows are rows of the catalog."""
        task = self.build()
        for need in self._needs(task):
            qrels = task.qrels.get(need.id)
            assert isinstance(qrels, Qrels), f"need {need.id!r} must have Qrels, got {_short(qrels)}"
            assert qrels.positives, f"need {need.id!r} has no grade above 0: leave it out and count it in `counts`"
            last = max(qrels)
            assert last < len(task.catalog), f"need {need.id!r} has a grade for row {last}, which is no item"

    def test_opened_again_it_is_the_same(self) -> None:
        """Catalog, needs and qrels, in the same order: a resumed run and an evaluation open the task anew."""
        one, other = self.build(), self.build()
        assert one.catalog.fingerprint == other.catalog.fingerprint, "the second catalog differs from the first"
        assert self._needs(one) == self._needs(one) == self._needs(other), "the needs differ from call to call"
        for need in self._needs(one):
            assert dict(one.qrels[need.id]) == dict(other.qrels[need.id]), f"the qrels of need {need.id!r} differ"

    def test_no_prompt_shows_an_item(self) -> None:
        """Where the task declares a `canary`, a text of every item, no prompt has it; every prompt is a chat."""
        task = self.build()
        for chat in Environment(task, BM25(task.catalog), [], k=1).prompts(self._needs(task)):
            check_chat(chat)

    def _needs(self, task: Task) -> list[Need]:
        return [need for split in self.splits for need in task.needs(split)]


class FormatContract:
    """Inherit, and write `build` and `answers`."""

    def build(self) -> Format:
        """The format, with the same options each time."""
        raise NotImplementedError(f"{type(self).__name__}.build must return the format")

    def answers(self) -> Mapping[str, str | tuple[int, ...]]:
        """Right completions, and the query, the rows or the answer in text that each means; at least one."""
        raise NotImplementedError(f"{type(self).__name__}.answers must return a completion with its query")

    def need(self) -> Need:
        """The need that is answered. Override it to give it candidates."""
        return Need("id-7f3a", "a lamp")

    def test_right_answers_are_read(self) -> None:
        """As the queries, rows or answers that `answers` gives."""
        assert self.answers(), "answers() is empty: a format without one right answer is not tested"
        for completion, meant in self.answers().items():
            found = parsed(self.build(), self.need(), completion)
            read = [getattr(found, name, None) for name in ("query", "rows", "text")]
            assert meant in read, f"{completion!r} was read as {found}"

    def test_every_completion_is_an_answer_or_invalid(self) -> None:
        """Damaged answers, noise, a megabyte, what is not text: no error, no empty query, few different reasons.

        A list names candidates of the need, each once.
        """
        form, rng, answers = self.build(), random.Random(0), list(self.answers())
        damaged = [hostile(rng, lambda rng: rng.choice(answers)) for _ in range(3000)]
        long = [piece * (1_000_000 // len(piece)) for piece in (*PIECES[:12], *answers)]
        reasons = set()
        completions: list[Any] = [*damaged, *long, "", None, b"red", ["red"]]
        for completion in completions:
            try:
                action = parsed(form, self.need(), completion)
                str(getattr(action, "query", "")).encode()  # raises for half of a surrogate pair, which no engine takes
            except Exception as error:
                raise AssertionError(f"{_short(completion)} raises {error!r}") from error
            if isinstance(action, Invalid):
                reasons.add(action.reason)
            elif isinstance(action, Recommend):
                rows, shown = action.rows, {one.row for one in self.need().candidates}
                assert 0 < len(set(rows)) == len(rows), f"{_short(completion)} was read as the rows {rows}"
                assert not shown or set(rows) <= shown, f"{_short(completion)} names items that are no candidates"
            elif isinstance(action, Answer):
                assert action.text.strip(), f"{_short(completion)} was read as an empty answer"
                action.text.encode()
            else:
                assert isinstance(action, Search), f"{_short(completion)} was read as {_short(action)}"
                assert str(action.query).strip(), f"{_short(completion)} was read as an empty query"
        assert len(reasons) <= 50, f"{len(reasons)} reasons, such as {_short(min(reasons))}: a log counts each"

    def test_what_it_writes_it_reads_back(self) -> None:
        """If it is `WritesQueries`: `write` returns the completion that asks for a query, or raises `ValueError`."""
        form, rng = self.build(), random.Random(1)
        known = [query for query in self.answers().values() if isinstance(query, str)]
        if not isinstance(form, WritesQueries):
            return
        for query in [*known, *(hostile(rng, lambda rng: rng.choice(known)) for _ in range(500))]:
            try:
                completion = form.write(query)
            except ValueError:
                assert query not in known, f"write refuses {query!r}, though a completion asks for it"
                continue
            action = form.parse(completion)
            assert isinstance(action, Search), f"{query!r} is written as {completion!r}, and read as {action}"
            assert action.query == query or query not in known, f"{query!r} is written and read as {action.query!r}"
            assert form.write(str(action.query)) == completion, f"{action.query!r} is written in more than one way"

    def test_the_prompt_shows_the_text_of_the_need_and_not_its_id(self) -> None:
        """Unchanged, also where it has braces; the same need has the same prompt, whatever a caller did with it."""
        form = self.build()
        for text in ("a lamp for {camping} nights, 100% dark", "{need} {0} %s", "na\u00efve \u9774\n two lines"):
            chat = form.render(Need("id-7f3a", text))
            check_chat(chat)
            assert any(text in message["content"] for message in chat), f"the prompt lacks the need's text: {chat}"
            assert form.render(Need("other", text)) == chat, "the prompt depends on the id of the need"
            before, first = copy.deepcopy(chat), chat[0]
            first["content"] = ""
            assert form.render(Need("id-7f3a", text)) == before, "a change of one prompt shows in the next"
        prompt = str(form.render(self.need()))
        assert all(one.text in prompt for one in self.need().candidates), f"the prompt lacks a candidate: {prompt}"


def check_chat(chat: Chat) -> None:
    """Asserts that a prompt is messages with a role and a text, the last of them from the user."""
    for message in chat:
        is_message = set(message) == {"role", "content"} and isinstance(message["content"], str)
        assert is_message, f"a message must have a role and a text, got {message}"
        assert message["role"] in ("system", "user", "assistant"), f"unknown role {message['role']!r}"
    assert chat and chat[-1]["role"] == "user", f"a prompt must end with a message from the user: {chat}"


def hostile(rng: random.Random, answer: Callable[[random.Random], str]) -> str:
    """A completion that a policy may write: mostly an answer, damaged in up to six places; sometimes noise."""
    if rng.random() < 0.15:
        letters = (chr(rng.randrange(0x110000)) for _ in range(rng.randint(0, 60)))
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 12)) if rng.random() < 0.5 else letters)
    else:
        text = answer(rng)
    for _ in range(rng.randint(1, 6) if rng.random() < 0.9 else 0):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.randint(0, 12))
        damaged = (
            text[:start] + rng.choice(PIECES) + text[start:],
            text[:start] + rng.choice(PIECES) + text[end:],
            text[:start] + text[end:],
            text[:start],
            text[start:],
            text[:end] + text[start:],
            text.replace(rng.choice(TAGS), rng.choice([*TAGS, ""]), rng.choice([1, -1])),
            text.swapcase() if rng.random() < 0.2 else text[:start] + text[start:end][::-1] + text[end:],
        )
        text = rng.choice(damaged)
    return text
