"""Reason first, then write the query on a last line: a format in a file of your own."""

from __future__ import annotations

from recr1.testing import FormatContract
from rewards.base import Action, Invalid, Message, Need, Search


class LastLine:
    """The answer ends with a line `Query: ...`; what comes before it is free.

    Args:
        shop: What the shop sells, for the prompt.
    """

    def __init__(self, *, shop: str = "everything") -> None:
        self.shop = shop

    def render(self, need: Need) -> list[Message]:
        """A system message about the shop, and the need with how to answer."""
        asked = f"{need.text}\n\nThink about what would find it. End with one line: Query: your query"
        return [
            {"role": "system", "content": f"You search a shop for {self.shop}."},
            {"role": "user", "content": asked},
        ]

    def parse(self, completion: str) -> Action:
        """The query of the last line. Whatever the model wrote: `Search` or `Invalid`, never an error."""
        if not isinstance(completion, str):
            return Invalid("completion is not text")
        reasoning, mark, query = completion.strip().rpartition("Query:")
        if not mark or "\n" in query or (reasoning and not reasoning.endswith("\n")):
            return Invalid("no last line with the query")
        query = " ".join(query.encode(errors="ignore").decode().split())
        return Search(query) if query else Invalid("empty query")

    def write(self, query: str) -> str:
        """The completion that asks for a query, for a warm start from pairs; `ValueError` where there is none."""
        completion = f"Query: {' '.join(query.encode(errors='ignore').decode().split())}"
        if isinstance(self.parse(completion), Invalid) or "Query:" in query:
            raise ValueError(f"no completion asks for {query!r}")
        return completion


class TestLastLine(FormatContract):
    def build(self) -> LastLine:
        return LastLine(shop="outdoor gear")

    def answers(self) -> dict[str, str]:
        return {"They hike, so a light one.\nQuery: red  tent": "red tent", "Query: mug\n": "mug"}
