"""Policies, formats and trainers with a fault each, which only a loaded model shows."""

from __future__ import annotations

import json
import shutil

from recr1.config.build import Part, build
from recr1.doctor import Setup
from recr1.doctor.policy import PolicySetup
from recr1.env import Environment
from recr1.formats import Plain
from recr1.recipe import Recipe
from recr1.trainers.grpo import GRPO
from recr1.trainers.trl.additions import Addition
from rewards.base import Search
from tests.recr1.doctor import faults

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""A template with roles and a generation prompt."""


def model(source, folder, *, template=None, config=None, generation=None, tokenizer=None):
    """A copy of a model's folder with other files."""
    shutil.copytree(source, folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    for name, changes in (("config", config), ("generation_config", generation), ("tokenizer_config", tokenizer)):
        if changes:
            file = folder / f"{name}.json"
            whole = json.loads(file.read_text()) | changes
            file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
    return folder


def opened(folder, *, retriever=faults.Sound, form=None, stages=(), **policy):
    """The toy task with this model as the policy."""
    task = build("task", Part("toy", {"format": form} if form else {}))
    options = {"model": str(folder), "max_new_tokens": 12, **policy}
    recipe = Recipe(0, Part("toy"), Part("bm25"), 10, (), Part("transformers", options), tuple(stages))
    said = []
    return PolicySetup(Setup(Environment(task, retriever(task.catalog), [], k=10), group=4), recipe, said.append)


class Says:
    """A loaded policy that says its lines, in tokens, with an end after each if it ends at all."""

    def __init__(self, policy, line, *, ends=True):
        self.policy, self.line, self.ends = policy, line, ends

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def continued(self, chats, n, **_):
        import torch

        rows = [self.line(chat, at) for chat in chats for at in range(max(n, 1))]
        ids = [self.tokenizer(row, add_special_tokens=False)["input_ids"] for row in rows]
        width = max(map(len, ids)) + 1
        fill = self.tokenizer.eos_token_id if self.ends else ids[0][0]
        return torch.ones(len(chats), 1), torch.tensor([[0, *row, *[fill] * (width - len(row))] for row in ids])


class Forgets(Plain):
    """Its parser drops the first word."""

    def parse(self, completion):
        action = super().parse(completion)
        words = action.query.split()[1:] if isinstance(action, Search) else []
        return Search(" ".join(words)) if words else action


class Mute:
    """A format that does not say how a query is written."""

    def render(self, need):
        return [{"role": "user", "content": need.text}]

    def parse(self, completion):
        return Search(completion)


class _Shifted(Addition):
    def around_log_probabilities(self, compute, *given, **more):
        logps, *others = compute(*given, **more)
        return logps - 0.25, *others


class Shifted(GRPO):
    """Its updates see other log-probabilities."""

    def _additions(self, learner, monitor):
        return [_Shifted(), *super()._additions(learner, monitor)]


class _Misread(Addition):
    def token_generator(self, model, generate):
        def unmasked(*, input_ids, attention_mask, **options):
            return generate(
                input_ids=input_ids, attention_mask=attention_mask.new_ones(attention_mask.shape), **options
            )

        return unmasked


class Misread(GRPO):
    """Its generation reads padding as text."""

    def _additions(self, learner, monitor):
        return [*super()._additions(learner, monitor), _Misread()]
