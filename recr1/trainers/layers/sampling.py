"""Nothing is drawn from a policy that gives no probabilities: weights that grew too large say inf or nan of each token.

torch says so in words of its own, and on a GPU in a way that takes the process with it; so it is asked before the draw.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_Trainer: Any = object
"""Stands for the class of TRL that comes behind `Sampled`; it is not imported before it is used."""


class NotSampledError(ArithmeticError):
    """What the policy says of the next token is not finite."""


class Sampled(_Trainer):  # type: ignore[misc]
    """What is laid before a trainer of TRL that generates with the model itself."""

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        model = self.accelerator.unwrap_model(self.model)
        others = vars(model).get("generate")  # where somebody else put one in front of the class's
        model.generate = partial(model.generate, logits_processor=[finite])
        try:
            return super()._generate_single_turn(*args, **kwargs)
        finally:
            if others is None:
                del model.generate
            else:
                model.generate = others


def sampled(trainer_class: Any) -> Any:
    """TRL's trainer class, which raises `NotSampledError` where there are no probabilities to draw from."""
    return type(trainer_class.__name__, (Sampled, trainer_class), {})


def finite(input_ids: Tensor, scores_BV: Tensor) -> Tensor:
    """The scores of the next token as they are.

    Raises `NotSampledError` where a row has no finite largest one: nan and inf come through a maximum, and a row of
    -inf alone has no token to draw.
    """
    if not bool(scores_BV.amax(-1).isfinite().all()):
        raise NotSampledError("no probabilities to draw the next token from")
    return scores_BV
