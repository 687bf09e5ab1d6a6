"""The task of titles of reviews: what does a person write above what they said?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from recr1.tasks.behaviour.answered import AnsweredTask
from recr1.tasks.behaviour.source import Past, Review
from retrievers.options import PositiveInt, checked


@checked
class ReviewTitleTask(AnsweredTask):
    """A review with its stars and its item: the answer is its title.

    `RougeL` measures. Floors are the title that most reviews of training have, and the text of the review.

    Args:
        source: behaviour with reviews that have titles, a part of kind "source": {type: people}.
        template: "seen" takes two prompt templates by turns, "held_out" a third one.
        fields: fields of the catalog that the policy reads of an item; null for its title.
        words: words of an item, at most.
        format: prompt and parser, `{type: answer}` by default.
    """

    templates = (
        "{stars} stars for {item}: {review}\ntitle of this review?",
        "a person says of {item}: {review} they give {stars} stars. what is the title?",
        "write a title. stars: {stars}. item: {item}. review: {review}",
    )
    lacking = "it has no reviews with a title: choose a source with some"

    def __init__(
        self,
        *,
        source: dict[str, Any],
        template: Literal["seen", "held_out"] = "seen",
        fields: list[str] | None = None,
        words: PositiveInt = 12,
        format: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(source=source, template=template, fields=fields, words=words, format=format)

    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The title of the review."""
        return review.title.strip() or None if review and review.text.strip() else None

    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """The most usual title, and the text of the review."""
        review = self._source.reviews[past.user, row]
        return {"most used title": self._usual, "text of the review": review.text}

    @cached_property
    def _usual(self) -> str:
        return Counter(review.title for review in self.train_reviews).most_common(1)[0][0]
