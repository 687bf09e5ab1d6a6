"""The tasks about reviews: what will a person like or dislike of the next item, and what do they write above it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from recr1.tasks.behaviour.answered import AnsweredTask, PastTask
from recr1.tasks.behaviour.source import Past, Review
from retrievers.options import checked
from rewards.guards.words import words_of
from rewards.measures.answers import number_of


class _OfReviews(AnsweredTask):
    """A need has an answer where the person's review has one that is not just a number, which would be a rating."""

    @cached_property
    def _train_reviews(self) -> list[Review]:
        """The reviews of events to learn from, and of training needs."""
        events = self.catalog.interactions
        assert events is not None
        pairs = zip(events["user"].tolist(), events["row"].tolist(), strict=True)
        asked = ((past.user, row) for past in self._source.all_pasts.get("train", ()) for row in past.targets)
        return [self._source.reviews[pair] for pair in (*pairs, *asked) if pair in self._source.reviews]


def _in_words(text: str) -> str | None:
    return text if words_of(text) and number_of(text) is None else None


@checked
class ExplainTextTask(_OfReviews, PastTask):
    """A person's last items with their ratings, and an item: the answer names the features that they will mention.

    Gold are the feature words of the person's review, and `FeatureF1` measures. Floors are the two feature words that
    reviews of training mention most, and all that is shown of the item.
    """

    templates = (
        "rated before:\n{past}\nwhat matters to them in {item}?",
        "a person gave these stars:\n{past}\nnow they buy {item}. what will they mention?",
        "stars so far:\n{past}\nwhich features of {item} count for them?",
    )
    lacking = "it has no reviews with feature words: choose a source with some"

    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The feature words of the review."""
        return _in_words(", ".join(review.features)) if review else None

    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """The most used words, and the item as it is shown."""
        return {"most used words": self._usual, "words of the item": self.shown(row)}

    @cached_property
    def _usual(self) -> str:
        return ", ".join(_most([word for review in self._train_reviews for word in review.features], 2))


@checked
class ReviewTitleTask(_OfReviews):
    """A review with its stars and its item: the answer is its title.

    `RougeL` measures. Floors are the title that most reviews of training have, and the text of the review. A review
    without a text, or whose title has no word or is a number, is left out and counted.
    """

    templates = (
        "{stars} stars for {item}: {review}\ntitle of this review?",
        "a person says of {item}: {review} they give {stars} stars. what is the title?",
        "write a title. stars: {stars}. item: {item}. review: {review}",
    )
    lacking = "it has no reviews with a title: choose a source with some"

    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The title of the review."""
        return _in_words(review.title.strip()) if review and review.text.strip() else None

    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """The most usual title, and the text of the review."""
        titles = _most([review.title for review in self._train_reviews], 1)
        return {"most used title": "".join(titles), "text of the review": self._source.reviews[past.user, row].text}


def _most(said: Sequence[str], count: int) -> list[str]:
    return [text for text, _ in Counter(said).most_common(count)]
