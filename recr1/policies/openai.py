"""A server with OpenAI's API as a policy: vLLM, SGLang or llama.cpp, on machines that the user runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

from recr1.errors import MissingLibrary
from recr1.policies.base import Likely, Spent
from retrievers.errors import PermanentError, shown
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, checked
from retrievers.remote.address import connection_problems, header_problems, proxy_problems
from retrievers.remote.client import EngineClient
from retrievers.remote.session import Session
from rewards.base import Chat


class Written(NamedTuple):
    """One completion of the server."""

    text: str
    likelihood: float
    """NaN where the server gives no logprobs."""
    spent: Spent


@checked
class OpenAI:
    """A model behind `/v1/chat/completions`, such as vLLM, SGLang and llama.cpp serve; the server renders the chat.

    One request per completion, several at a time. A server that does not answer raises `EngineError`: a fault is never
    a completion. It can be evaluated and served, and not trained. Proxies of the environment are used.

    Args:
        url: where the API is, such as http://127.0.0.1:8000/v1. `${NAME}` in it is read from the environment.
        model: the name by which the server knows the model.
        api_key: what the server wants, as `${NAME}`, which is read from the environment; null sends none.
        max_new_tokens: tokens per completion.
        temperature: of samples.
        concurrency: requests at the same time.
        timeout: seconds for one request and its whole answer.
        attempts: how often a request is sent before its error is raised, with growing pauses.
        cooldown: seconds without requests after three in a row failed in every attempt.
        seed: of samples.
        ca_file: the certificates to trust, in PEM form; null trusts the usual ones.
    """

    filled: ClassVar[tuple[str, ...]] = ("url", "api_key")

    def __init__(
        self,
        *,
        url: str,
        model: str,
        api_key: str | None = None,
        max_new_tokens: PositiveInt = 128,
        temperature: PositiveFloat = 1.0,
        concurrency: PositiveInt = 16,
        timeout: PositiveFloat = 60.0,
        attempts: PositiveInt = 6,
        cooldown: PositiveFloat = 30.0,
        seed: NonNegativeInt = 0,
        ca_file: str | None = None,
    ) -> None:
        for missing in self.missing_libraries({}):
            raise missing
        self._asked = {"model": model, "max_tokens": max_new_tokens}
        self._temperature, self._next_seed = temperature, seed
        self.spent = Spent()
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = Session(url.rstrip("/"), headers, timeout, concurrency, ca_file)
        pace: dict[str, Any] = {"attempts": attempts, "rate": None, "threads": concurrency, "cooldown": cooldown}
        self._engine = EngineClient("openai", url, **pace)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        problems = connection_problems(options, cls.filled)
        if not problems:
            problems += [f"url: {what}" for what in proxy_problems(str(options["url"]))]
            key = {"authorization": options.get("api_key") or ""}
            problems += [f"api_key: {what}" for _, what in header_problems(key)]
        return problems

    @staticmethod
    def missing_libraries(_: Mapping[str, Any]) -> list[MissingLibrary]:
        """What it needs that is not installed; nothing is imported."""
        needed = [name for name in ("httpx", "tenacity", "pybreaker") if find_spec(name) is None]
        return [MissingLibrary(name, "remote", "policy.type: openai") for name in needed]

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        texts = [written.text for written in self._written(chats, n)]
        return [texts[place * max(n, 1) :][: max(n, 1)] for place in range(len(chats))]

    def greedy(self, chats: Sequence[Chat]) -> list[Likely]:
        """The greedy completion of each chat, and how likely it is; NaN where the server gives no logprobs."""
        return [Likely(written.text, written.likelihood) for written in self._written(chats, 0, logprobs=True)]

    def _written(self, chats: Sequence[Chat], n: int, **more: Any) -> list[Written]:
        """The completions of all chats, one after the other."""
        asked = []
        for chat in chats:
            for place in range(max(n, 1)):
                how = {"temperature": self._temperature, "seed": self._next_seed + place} if n else {"temperature": 0}
                asked.append({"messages": list(chat), **self._asked, **how, **more})
            self._next_seed += n
        written = self._engine.ask_all(self._ask, asked)
        read = sum(one.spent.read for one in written[:: max(n, 1)])
        new = sum(one.spent.written for one in written)
        self.spent = Spent(self.spent.read + read, self.spent.written + new)
        return written

    def _ask(self, body: Mapping[str, Any]) -> Written:
        answer = self._session.answer("POST", "/chat/completions", {}, body)
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            listed = (choice.get("logprobs") or {}).get("content") or []
            likely = [float(token["logprob"]) for token in listed]
            spent = Spent(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
            text = choice["message"]["content"] or ""  # null for none
            if not isinstance(text, str):
                raise TypeError(f"content must be a text, got {shown(text)}")
            return Written(text, sum(likely) / len(likely) if likely else math.nan, spent)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = "its answer has not the form of /v1/chat/completions"
            raise PermanentError(f"{what} ({type(error).__name__}: {error}): {shown(answer)}") from error
