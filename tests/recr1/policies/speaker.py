"""Policies that write what they are told to."""

from __future__ import annotations


class Speaker:
    """Says its lines in turn: the first when greedy, the first n (from the beginning again) as n samples."""

    def __init__(self, *, lines: list[str]) -> None:
        self.lines = lines
        self.read = []

    def generate(self, chats, n):
        self.read += chats
        return [[self.lines[place % len(self.lines)] for place in range(max(n, 1))] for _ in chats]


class Obedient:
    """Says the need in brackets where its instructions hold the word, and something else where they do not."""

    def __init__(self, *, word: str, otherwise: str) -> None:
        self.word, self.otherwise = word, otherwise
        self.written = 0

    def generate(self, chats, n):
        self.written += len(chats) * max(n, 1)
        return [[self._answer(chat)] * max(n, 1) for chat in chats]

    def _answer(self, chat):
        return f"[{chat[-1]['content']}]" if self.word in chat[0]["content"] else self.otherwise
