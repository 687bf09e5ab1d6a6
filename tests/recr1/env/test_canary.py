"""A text that stands in every item ends a run as soon as a prompt holds it."""

import pytest

from recr1.env import Environment, chat_with
from recr1.errors import LeakError, UserError
from recr1.tasks.shop.task import ShopTask
from retrievers.bm25.bm25 import BM25

CANARY = "kestrel-7"


def opened(task):
    return Environment(task, BM25(task.catalog), [], k=5)


def shop(**options):
    return ShopTask(items=120, train=20, validation=5, test=5, canary=CANARY, **options)


class Leaks:
    """Shows the policy an item of the catalog."""

    def __init__(self, task):
        self._task = task

    def render(self, need):
        return [{"role": "user", "content": f"{self._task.catalog.texts[3]}\n{need.text}"}]

    def parse(self, completion):
        return self._task.format.parse(completion)


def test_prompts_without_the_canary_pass():
    env = opened(shop())
    needs = env.task.needs("train")[:3]
    env.step(needs, [chat_with(prompt, "sofa") for prompt in env.prompts(needs)])


def test_a_prompt_that_shows_an_item_is_refused_before_the_policy_reads_it():
    task = shop()
    env = opened(task).with_format(Leaks(task))
    with pytest.raises(LeakError, match=r"the prompt of need 'train-00000' holds the canary 'kestrel-7'.*task.format"):
        env.prompts(task.needs("train"))


def test_a_prompt_that_came_another_way_is_refused_where_it_is_answered():
    env = opened(shop())
    need = env.task.needs("train")[0]
    chat = [
        {"role": "system", "content": f"such as: {env.task.catalog.texts[0]}"},
        {"role": "user", "content": need.text},
    ]
    with pytest.raises(LeakError, match="holds the canary"):
        env.step([need], [chat_with(chat, "sofa")])


def test_a_policy_may_write_what_it_likes():
    env = opened(shop())
    need = env.task.needs("train")[0]
    env.step([need], [chat_with(env.prompts([need])[0], CANARY)])


def test_a_canary_that_some_item_lacks_is_refused():
    task = shop()
    task.canary = "elsewhere"
    with pytest.raises(UserError, match="the canary 'elsewhere' is not in the text of item"):
        opened(task)
