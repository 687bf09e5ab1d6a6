"""A text that stands in every item, and so in no prompt of a policy that is shown no item."""

from __future__ import annotations

from dataclasses import dataclass

from recr1.errors import LeakError, UserError
from recr1.tasks.base import HasCanary, Task
from rewards.base import Chat, Need


@dataclass(frozen=True)
class Canary:
    """What no prompt may hold; the empty text, where a task declares none."""

    text: str

    @classmethod
    def of(cls, task: Task) -> Canary:
        """The canary of a task, its attribute `canary`; raises `UserError` where some item does not hold it."""
        text = task.canary if isinstance(task, HasCanary) else ""
        catalog = task.catalog
        without = next((row for row, item in enumerate(catalog.texts) if text not in item), None) if text else None
        if without is not None:
            raise UserError(
                f"the canary {text!r} does not stand in the text of item '{catalog.ids[without]}': in prompts it would "
                "show a leak of some items alone; plant it in all of them"
            )
        return cls(text)

    def look(self, need: Need, prompt: Chat) -> None:
        """Raise `LeakError` where the prompt holds the canary."""
        if self.text and any(self.text in message["content"] for message in prompt):
            raise LeakError(
                f"the prompt of need '{need.id}' holds the canary {self.text!r}: the policy is shown the text of an "
                "item; look at task.format, and at what else writes into prompts"
            )
