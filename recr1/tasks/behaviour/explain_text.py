"""The task of explanations: what will this person say they like or dislike of the next item?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from recr1.tasks.behaviour.answered import AnsweredTask
from recr1.tasks.behaviour.source import Past, Review


class ExplainTextTask(AnsweredTask):
    """A person's last items with their ratings, and an item: the answer names the features that they will mention.

    Gold are the feature words of the person's review, and `FeatureF1` measures. Floors are the two feature words that
    reviews of training mention most, and all that is shown of the item.

    Args:
        source: behaviour with reviews that have feature words, a part of kind "source": {type: people}.
        template: "seen" takes two prompt templates by turns, "held_out" a third one.
        last: how many of the person's last items are shown, with their ratings.
        fields: fields of the catalog that the policy reads of an item; null for its title.
        words: words of an item, at most.
        format: prompt and parser, `{type: answer}` by default.
    """

    templates = (
        "rated before:\n{past}\nwhat matters to them in {item}?",
        "a person gave these stars:\n{past}\nnow they buy {item}. what will they mention?",
        "stars so far:\n{past}\nwhich features of {item} count for them?",
    )
    lacking = "it has no reviews with feature words: choose a source with some"

    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The feature words of the review."""
        return ", ".join(review.features) if review and review.features else None

    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """The most used words, and the item as it is shown."""
        return {"most used words": self._usual, "words of the item": self.shown(row)}

    @cached_property
    def _usual(self) -> str:
        counts = Counter(word for review in self.train_reviews for word in review.features)
        return ", ".join(word for word, _ in counts.most_common(2))
