"""Recipes: reading, overrides, every mistake at once, and writing."""

from __future__ import annotations

import re

import pytest

from recr1.config.build import EvaluationSpec, Part
from recr1.config.shipped import find_recipe, shipped_recipes
from recr1.errors import RecipeError, UserError
from recr1.recipe import load_recipe

GOOD = """\
seed: 3
task: {type: tests.recr1.config.parts:Store}
retriever: {type: tests.recr1.config.parts:Scan, boost: 2.0}
k: 10
rewards:
  - {type: tests.recr1.config.parts:Pay, weight: 0.5}
  - {type: tests.recr1.config.parts:Pay, name: nDCG@10, cutoff: 10}
policy: {type: tests.recr1.config.parts:Speak, model: tiny}
trainer:
  type: tests.recr1.config.parts:Climb
  steps: 5
  engine: {rate: 1e-5}
evaluate: {split: train, measures: [nDCG@10, R@5], every: 7, needs: 20}
"""


@pytest.fixture
def write(tmp_path):
    def written(content: str | bytes = GOOD):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture
def problems(write):
    """The problems of a recipe, without the folder of its file."""

    def found(content: str | bytes = GOOD, *overrides: str) -> list[str]:
        path = write(content)
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, overrides)
        return [problem.replace(f"{path}", "mine.yaml") for problem in caught.value.problems]

    return found


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


# --- reading


def test_a_recipe_holds_what_the_file_says(write):
    recipe = load_recipe(write())
    here = "tests.recr1.config.parts"
    assert (recipe.seed, recipe.k) == (3, 10)
    assert recipe.retriever == Part(f"{here}:Scan", {"boost": 2.0})
    assert recipe.rewards == ((Part(f"{here}:Pay"), 0.5), (Part(f"{here}:Pay", {"name": "nDCG@10", "cutoff": 10}), 1.0))
    assert recipe.trainer == Part(f"{here}:Climb", {"steps": 5, "engine": {"rate": 1e-5}})
    assert recipe.evaluate == EvaluationSpec(split="train", measures=("nDCG@10", "R@5"), every=7, needs=20)
    assert recipe.log == ()


def test_a_number_with_an_exponent_and_no_point_is_a_float(write):
    recipe = load_recipe(write())
    assert isinstance(recipe.trainer.options["engine"]["rate"], float)


def test_no_is_a_text_and_no_bool(write):
    recipe = load_recipe(write(changed("model: tiny", "model: no")))
    assert recipe.policy.options == {"model": "no"}


def test_trainer_evaluate_log_and_seed_may_be_left_out(write):
    short = "".join(
        line for line in GOOD.splitlines(keepends=True) if not re.match("seed|trainer|  [tse]|evaluate", line)
    )
    recipe = load_recipe(write(short))
    assert (recipe.seed, recipe.trainer, recipe.evaluate, recipe.log) == (0, None, EvaluationSpec(), ())


def test_a_byte_order_mark_does_not_matter(write):
    assert load_recipe(write(b"\xef\xbb\xbf" + GOOD.encode())).seed == 3


# --- what is wrong with the file


def test_a_file_of_data_in_the_place_of_a_recipe_is_refused_unread(write):
    path = write('{"_id": "1", "title": "mug"}\n' * 100_000)
    with pytest.raises(UserError, match=r"mine.yaml has 3 MB: is it a recipe\?"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "mine.yaml: a recipe is a mapping with the keys seed, task,"),
        ("- 1\n", "mine.yaml: a recipe is a mapping with the keys"),
        ("seed: 1\nk: [1,\n", "mine.yaml:3: not YAML: while parsing a flow node"),
        ("seed: 1\n\tk: 1\n", "mine.yaml:2: not YAML: while scanning for the next token: found character '\\t'"),
        ("seed: 1\nk: \x07\n", "mine.yaml:2: not YAML: the character '\\x07' is not allowed"),
        ("seed: 1\n---\nseed: 2\n", "mine.yaml:2: not YAML: expected a single document"),
        (b"seed: 1\n\n# caf\xe9\n", "mine.yaml:3: byte 0xe9 is not UTF-8: save the file in that encoding"),
        ("task: &a {type: x}\npolicy: *a\n", "mine.yaml:2: a recipe has no aliases (*name): write the value out"),
        (
            "seed: !!python/name:os.system 1\n",
            "mine.yaml:1: a recipe has no tags (tag:yaml.org,2002:python/name:os.system)",
        ),
        ("k: " + "[" * 5000, "mine.yaml:1: not a recipe: brackets are nested too deep"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_line(problems, content, problem):
    (found,) = problems(content)
    assert found.startswith(problem)


def test_a_key_that_stands_twice_is_refused_with_both_lines(problems):
    found = problems(changed("  steps: 5\n", "  steps: 5\n  steps: 6\n"))
    assert found == ["mine.yaml:12: trainer.steps: the key appears twice, first in line 11"]


def test_a_key_that_is_no_name_is_refused(problems):
    what = "a key must be a string or an integer: put quotes around it if you mean it"
    assert problems(GOOD + "1.5: 2\n") == [f"mine.yaml:14: {what}"]


def test_every_mistake_is_told_at_once_with_its_line(problems):
    found = problems(
        """\
sed: 3
task: {type: tests.recr1.config.parts:Store, format: {type: tga}}
retriever: {type: bm52}
k: ten
rewards:
  - {type: tests.recr1.config.parts:Pay, weight: heavy}
  - {type: tests.recr1.config.parts:Pay, cutoff: 0}
policy:
  type: tests.recr1.config.parts:Speak
  modle: tiny
trainer: {type: tests.recr1.config.parts:Climb, steps: 5.5}
evaluate: {split: tset, measures: [nDCG@10, nDGC@5], evry: 7}
log: [{type: wandbb}]
"""
    )
    expected = [
        "mine.yaml:1: sed: a recipe has no 'sed'; did you mean 'seed'?",
        "mine.yaml:2: task.format.type: no 'tga' here; did you mean 'tag'?",
        "mine.yaml:3: retriever.type: no 'bm52' here; did you mean 'bm25'?",
        "mine.yaml:4: k: must be an integer between 1 and 2147483647, got 'ten'",
        "mine.yaml:6: rewards.0.weight: must be a number, got 'heavy'",
        "mine.yaml:7: rewards.1.cutoff: must be at least 1, got 0",
        "mine.yaml:10: policy.modle: tests.recr1.config.parts:Speak has no option 'modle'; did you mean 'model'?",
        "mine.yaml:8: policy.model: missing: tests.recr1.config.parts:Speak needs it (a string)",
        "mine.yaml:11: trainer.steps: must be an integer, got 5.5",
        "mine.yaml:12: evaluate.evry: evaluate has no option 'evry'; did you mean 'every'?",
        "mine.yaml:12: evaluate.split: no split 'tset'; did you mean 'test'?",
        "mine.yaml:12: evaluate.measures.1: no measure 'nDGC@5'; did you mean 'nDCG@5'?",
        "mine.yaml:13: log.0.type: no 'wandbb' here; did you mean 'wandb'?",
    ]
    assert [problem[: len(start)] for problem, start in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("name", ["task", "retriever", "k", "rewards", "policy"])
def test_a_missing_section_is_named(problems, name):
    found = problems(re.sub(rf"(?m)^{name}:.*\n(  .*\n)*", "", GOOD))
    assert [problem.startswith(f"mine.yaml: {name}: missing: a recipe needs") for problem in found] == [True]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("seed: 3", "seed: true", "mine.yaml:1: seed: must be an integer between 0 and 4294967295, got True"),
        ("seed: 3", "seed: -1", "mine.yaml:1: seed: must be an integer between 0 and 4294967295, got -1"),
        ("k: 10", "k: 0", "mine.yaml:4: k: must be an integer between 1 and 2147483647, got 0"),
        ("weight: 0.5", "weight: .nan", "mine.yaml:6: rewards.0.weight: must be a number, got nan"),
        ("weight: 0.5", "weight: true", "mine.yaml:6: rewards.0.weight: must be a number, got True"),
        ("every: 7", "every: 0", "mine.yaml:13: evaluate.every: must be an integer >= 1, got 0"),
        (
            "[nDCG@10, R@5]",
            "[]",
            "mine.yaml:13: evaluate.measures: must be a list of strings with at least 1 item",
        ),
        (
            "[nDCG@10, R@5]",
            "R@5",
            "mine.yaml:13: evaluate.measures: must be a list of strings with at least 1 item, got 'R@5'",
        ),
        ("[nDCG@10, R@5]", "[nDCG]", "mine.yaml:13: evaluate.measures.0: no measure 'nDCG'; did you mean 'nDCG@10'?"),
        ("{rate: 1e-5}", "{rat: 1e-5}", "mine.yaml:12: trainer.engine.rat: the engine has no field 'rat'"),
    ],
)
def test_a_wrong_value_is_told_with_its_line_and_what_is_expected(problems, old, new, problem):
    (found,) = problems(changed(old, new))
    assert found.startswith(problem)


def test_a_mapping_where_a_list_belongs_is_refused(problems):
    found = problems(GOOD + "log: {type: wandb}\n")
    assert found == ["mine.yaml:14: log: must be a list: begin each item with '- ', got {'type': 'wandb'}"]


def test_a_text_where_the_evaluate_section_belongs_is_refused(problems):
    (found,) = problems(re.sub("(?m)^evaluate:.*", "evaluate: test", GOOD))
    expected = "split, measures, every, needs, keep, patience, min_gain, alarm, accept_leaks, second_opinion"
    assert found == f"mine.yaml:13: evaluate: must be a mapping with the keys {expected}, got 'test'"


# --- what does not fit together


def test_a_reward_and_a_measure_beyond_k_are_refused_with_the_remedy(problems):
    remedy = "needs k >= 10, got k=7: set k to 10 or more, or lower the cutoff"
    assert problems(changed("k: 10", "k: 7")) == [
        f"mine.yaml:7: rewards.1: nDCG@10 {remedy}",
        f"mine.yaml:13: evaluate.measures.0: nDCG@10 {remedy}",
    ]


def test_two_rewards_of_one_name_are_refused(problems):
    found = problems(changed("name: nDCG@10, cutoff: 10", "cutoff: 10"))
    assert found == ["mine.yaml:7: rewards.1: the reward 'pay' is already rewards.0: add their weights into one"]


def test_a_recipe_that_trains_with_weights_of_0_alone_is_refused(problems, write):
    zero = ["rewards.0.weight=0", "rewards.1.weight=0"]
    assert problems(GOOD, *zero) == ["mine.yaml:5: rewards: every weight is 0: there is nothing to learn from"]
    assert load_recipe(write(), [*zero, "trainer=null"]).rewards[0][1] == 0
    pairs = "trainer={type: sft, steps: 1, pairs: {type: shopper, count: 9}}"  # learns from no reward
    assert load_recipe("quickstart", [pairs, "rewards.0.weight=0", "rewards.1.weight=0"]).rewards[0][1] == 0


# --- overrides


def test_overrides_change_values_and_the_last_one_wins(write):
    overrides = ["retriever.boost=3", "rewards.0.weight=2", "trainer.engine.rate=2e-6", "seed=8", "seed=9"]
    recipe = load_recipe(write(), overrides)
    assert recipe.retriever.options == {"boost": 3}
    assert recipe.rewards[0][1] == 2.0
    assert recipe.trainer.options["engine"] == {"rate": 2e-6}
    assert recipe.seed == 9


def test_an_override_makes_the_section_that_it_needs(write):
    recipe = load_recipe(write(changed("  engine: {rate: 1e-5}\n", "")), ["trainer.engine.rate=1"])
    assert recipe.trainer.options == {"steps": 5, "engine": {"rate": 1}}


def test_an_override_may_take_a_section_away_or_put_another_one_in_its_place(write):
    recipe = load_recipe(write(), ["trainer=null", "policy={type: echo}", "evaluate.measures=[R@3]"])
    assert (recipe.trainer, recipe.policy, recipe.evaluate.measures) == (None, Part("echo"), ("R@3",))


def test_another_type_keeps_the_options_and_so_tells_which_do_not_fit(problems):
    (found,) = problems(GOOD, "policy.type=echo")
    assert found == "mine.yaml:8: policy.model: echo has no option 'model' (it has none)"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("retreiver.boost=1", "retreiver: a recipe has no 'retreiver'; did you mean 'retriever'?"),
        (
            "retriever.bost=1",
            "retriever.bost: tests.recr1.config.parts:Scan has no option 'bost'; did you mean 'boost'?",
        ),
        ("retriever.boost=high", "retriever.boost: must be a number, got 'high'"),
        ("retriever.boost", "retriever.boost: must be section.key=value, such as retriever.k1=1.2"),
        ("=3", ": must be section.key=value"),
        ("retriever..boost=3", "retriever..boost: must be section.key=value"),
        ("retriever.boost=[1", "retriever.boost: the value is not YAML: while parsing a flow sequence"),
        ("rewards.2.weight=1", "rewards.2.weight: 'rewards' is a list with the items rewards.0, rewards.1"),
        ("rewards.pay.weight=1", "rewards.pay.weight: 'rewards' is a list with the items rewards.0, rewards.1"),
        ("k.deep=1", "k.deep: 'k' is 10, not a mapping or a list"),
    ],
)
def test_an_override_that_does_not_fit_is_told_as_it_was_written(problems, override, problem):
    (found,) = problems(GOOD, override)
    assert found.startswith(f"override '{override}': {problem}")


# --- writing


def test_the_written_recipe_is_equal_to_the_one_that_was_read(write, tmp_path):
    recipe = load_recipe(write(GOOD + "log: [{type: tests.recr1.config.parts:Speak, model: '1e-5'}]\n"), ["seed=4"])
    recipe.dump(tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_a_recipe_without_trainer_and_log_is_written_without_them(write):
    recipe = load_recipe(write(), ["trainer=null"])
    assert list(recipe.to_dict()) == ["seed", "task", "retriever", "k", "rewards", "policy", "evaluate"]


# --- finding


def test_a_shipped_recipe_is_found_by_its_name():
    assert find_recipe("toy/echo") == shipped_recipes()["toy/echo"]


@pytest.mark.parametrize("name", ["toy/ecko", "recipes/toy/echo.yml", "toy/echos.yaml"])
def test_an_unknown_recipe_is_refused_with_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no recipe '{name}'; did you mean 'toy/echo'"):
        find_recipe(name)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(UserError, match="is a folder: name a recipe file"):
        find_recipe(tmp_path)
