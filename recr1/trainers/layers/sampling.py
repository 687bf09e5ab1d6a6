"""Stops a run whose policy gives no probabilities: weights that grew too large give inf or nan for each token.

torch reports it in words of its own, and on a GPU in a way that ends the process; so the scores are checked before a
token is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor


class NotFiniteError(ArithmeticError):
    """The policy's scores of the next token are not finite."""


class FiniteCheck(Addition):
    """Raises `NotFiniteError` where there are no probabilities to draw a token from."""

    def token_generator(self, model: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with a look at the scores of each token."""
        return partial(generate, logits_processor=[finite])


def finite(input_ids: Tensor, scores_BV: Tensor) -> Tensor:
    """The scores of the next token as they are.

    Raises `NotFiniteError` where a row has no finite largest one: nan and inf come through a maximum, and a row of
    -inf alone has no token to draw.
    """
    if not bool(scores_BV.amax(-1).isfinite().all()):
        raise NotFiniteError("no probabilities to draw the next token from")
    return scores_BV
